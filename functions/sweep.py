"""Failure: every minute, move stuck recordings forward (Cloud Scheduler, plain HTTP)."""

from __future__ import annotations

import flask
import functions_framework

from functions.services import for_callers_only, services, start
from speechpipe.pipeline import sweep as verb

start()


@functions_framework.http
@for_callers_only
def sweep(request: flask.Request) -> tuple[str, int, dict[str, str]]:
    """Sweep once; the report as JSON, with status 500 if a recording could not be moved forward."""
    del request  # the call is all there is to say
    service = services()
    with service.tracing.active():
        report = verb.sweep(service.world)
    return report.model_dump_json(), 500 if report.failed else 200, {"content-type": "application/json"}
