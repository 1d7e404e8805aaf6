"""Failure: once a day, ingest the uploads of the last days whose event was lost (Cloud Scheduler, plain HTTP)."""

from __future__ import annotations

import time

import flask
import functions_framework

from functions.services import for_callers_only, services, start
from speechpipe.pipeline import reconcile as verb

start()

#: A listing of a million objects takes a few minutes (decision 27); `infra/functions.tf` allows a request longer.
SECONDS = 1500.0


@functions_framework.http
@for_callers_only
def reconcile(request: flask.Request) -> tuple[str, int, dict[str, str]]:
    """Reconcile once; the report as JSON, with status 500 if an upload could not be looked at or not be ingested."""
    del request  # the call is all there is to say
    service = services()
    until = time.monotonic() + SECONDS
    with service.tracing.active():
        since = service.world.clock() - verb.LOOK_BACK
        report = verb.reconcile(service.world, since, out_of_time=lambda: time.monotonic() > until)
    status = 200 if report.complete and not report.failed else 500
    return report.model_dump_json(), status, {"content-type": "application/json"}
