"""Failure: a task has used up the deliveries that its subscription allows (push from the dead-letter topic).

A plain HTTP function, not a CloudEvent one: it takes the push request as Pub/Sub sends it, and answers 204.
"""

from __future__ import annotations

import flask
import functions_framework

from functions.services import acknowledging_the_unreadable, delivery, for_callers_only, services, start
from speechpipe.contract import wire
from speechpipe.observe import spans
from speechpipe.pipeline import give_up as verb

start()


@functions_framework.http
@for_callers_only
@acknowledging_the_unreadable
def give_up(request: flask.Request) -> tuple[str, int]:
    """End its stage as a Failure, or publish it again if no attempt has failed."""
    letter = wire.dead_letter_from_push(request.get_data())
    service = services()
    task = letter.task
    cause = spans.parse_traceparent(task.traceparent)
    with service.tracing.verb("give_up", task.recording_id, parent=cause, stage=task.stage, delivery=delivery()):
        verb.give_up(task, service.world)
    return "", 204
