"""Hop 1: an object was finalized in the uploads bucket (Eventarc, `google.cloud.storage.object.v1.finalized`)."""

from __future__ import annotations

import functions_framework
from cloudevents.http import CloudEvent

from functions.services import acknowledging_the_unreadable, delivery, for_callers_only, services, start
from speechpipe.contract import wire
from speechpipe.pipeline import ingest as verb

start()


@functions_framework.cloud_event
@for_callers_only
@acknowledging_the_unreadable
def ingest(event: CloudEvent) -> None:
    """Create the recording and publish its tasks. Ignores folder placeholders and objects outside the prefix."""
    source = wire.source_from_event(event.get_data())
    service = services()
    with service.tracing.verb("ingest", source.recording_id, delivery=delivery()):
        verb.ingest(source, service.world)
