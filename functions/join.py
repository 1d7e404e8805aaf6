"""Hop 3: a partial was created (Eventarc, `google.cloud.firestore.document.v1.created`)."""

from __future__ import annotations

import functions_framework
from cloudevents.http import CloudEvent

from functions.services import acknowledging_the_unreadable, delivery, for_callers_only, services, start
from speechpipe.contract import wire
from speechpipe.observe import spans
from speechpipe.pipeline import join as verb

start()


@functions_framework.cloud_event
@for_callers_only
@acknowledging_the_unreadable
def join(event: CloudEvent) -> None:
    """Assemble the record if every half is there.

    Only the event's path is used. Its body, the new document as a protocol buffer, is not read: the store is the truth.
    """
    path = wire.partial_from_path(event.get("document") or event.get("subject"))
    service = services()
    cause = spans.creation_context(*path)
    with service.tracing.verb("join", path.recording_id, parent=cause, delivery=delivery()):
        verb.join(path.recording_id, path.revision, service.world)
