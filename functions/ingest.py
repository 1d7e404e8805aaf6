"""Hop 1: an object was finalized in the uploads bucket (a Cloud Storage notification, pushed from its topic).

A plain HTTP function, not a CloudEvent one: it takes the push request as Pub/Sub sends it, and answers 204.
"""

from __future__ import annotations

import flask
import functions_framework

from functions.services import acknowledging_the_unreadable, delivery, for_callers_only, services, start
from speechpipe.contract import wire
from speechpipe.pipeline import ingest as verb

start()


@functions_framework.http
@for_callers_only
@acknowledging_the_unreadable
def ingest(request: flask.Request) -> tuple[str, int]:
    """Create the recording and publish its tasks. Ignores folder placeholders and objects outside the prefix."""
    source = wire.source_from_push(request.get_data())
    service = services()
    with service.tracing.verb("ingest", source.recording_id, delivery=delivery()):
        verb.ingest(source, service.world)
    return "", 204
