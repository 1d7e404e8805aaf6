"""Where traces go, by SPEECHPIPE_TRACES. Import this module only when tracing is on: it loads OpenTelemetry's SDK.

A failing exporter never fails the work. It drops the spans, logs a warning and pauses for a minute, so that no response
waits for a collector that is down.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from speechpipe import __version__
from speechpipe.observe import spans
from speechpipe.observe.spans import Tracing

log = logging.getLogger(__name__)

#: Google's endpoint for OTLP (https://docs.cloud.google.com/stackdriver/docs/reference/telemetry/v1.traces.post).
CLOUD_ENDPOINT = "https://telemetry.googleapis.com/v1/traces"
CLOUD_SCOPE = "https://www.googleapis.com/auth/trace.append"
EXPORT_SECONDS = 5.0  #: how long a function may delay its response to export its spans
PAUSE_SECONDS = 60.0  #: after a failed export


def tracing_to(traces: str, service: str, *, flush_each: bool = False) -> Tracing:
    """Set up tracing to `cloud`, `otlp`, `console` or the file of this path. Call it once per process, after any fork.

    If that fails, for lack of credentials or of a writable path, log a warning and return a Tracing that is off.
    """
    try:
        processor = _processor(traces)
    except Exception as error:
        _warn_lost(type(error).__name__)
        return spans.OFF
    provider = TracerProvider(resource=_resource(service), id_generator=_DerivedIds(), shutdown_on_exit=True)
    provider.add_span_processor(processor)
    return Tracing(provider, flush_each=flush_each)


def _resource(service: str) -> Resource:
    attributes: dict[str, str] = {
        "service.name": f"speechpipe-{service}",
        "service.version": __version__,
        "service.instance.id": f"{socket.gethostname()}/{os.getpid()}",
    }
    if project := os.environ.get("GOOGLE_CLOUD_PROJECT"):
        attributes["gcp.project_id"] = project
    if name := os.environ.get("K_SERVICE"):  # https://opentelemetry.io/docs/specs/semconv/resource/faas/
        attributes |= {"cloud.provider": "gcp", "cloud.platform": "gcp_cloud_run", "faas.name": name}
        attributes["faas.version"] = os.environ.get("K_REVISION", "")
    return Resource.create(attributes)


def _processor(traces: str) -> SpanProcessor:
    if traces == "console":
        return SimpleSpanProcessor(BestEffortExporter(JsonLinesExporter(2)))
    if traces not in ("cloud", "otlp"):
        path = Path(traces)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Each line is a single write to a file opened for appending, so lines of several processes do not mix.
        return SimpleSpanProcessor(
            BestEffortExporter(JsonLinesExporter(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)))
        )
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    # This exporter logs an error for every failed export; BestEffortExporter logs one warning instead.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    exporter = OTLPSpanExporter(timeout=EXPORT_SECONDS) if traces == "otlp" else _cloud()
    return BatchSpanProcessor(BestEffortExporter(exporter))


def _cloud() -> SpanExporter:
    import google.auth
    from google.auth.transport.requests import AuthorizedSession
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    credentials, _ = google.auth.default(scopes=[CLOUD_SCOPE])
    session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
    return OTLPSpanExporter(endpoint=CLOUD_ENDPOINT, session=session, timeout=EXPORT_SECONDS)


def _warn_lost(reason: str) -> None:
    log.warning("traces are being dropped: %s", reason, extra={"action": "traces_lost"})


class _DerivedIds(RandomIdGenerator):
    """Random ids, except for spans whose ids are derived."""

    def generate_span_id(self) -> int:
        """The next span's id."""
        ids = spans.next_span_ids.get()
        return ids.span_id if ids else super().generate_span_id()

    def generate_trace_id(self) -> int:
        """The next span's trace id."""
        ids = spans.next_span_ids.get()
        return ids.trace_id if ids else super().generate_trace_id()


class BestEffortExporter(SpanExporter):
    """Wraps an exporter: never raises, and after a failure drops spans for PAUSE_SECONDS instead of exporting them."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._paused_until = 0.0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export the spans or drop them."""
        if time.monotonic() < self._paused_until:
            return SpanExportResult.FAILURE
        try:
            if self._exporter.export(spans) is SpanExportResult.SUCCESS:
                return SpanExportResult.SUCCESS
            reason = "refused"
        except Exception as error:
            reason = type(error).__name__
        self._paused_until = time.monotonic() + PAUSE_SECONDS
        _warn_lost(reason)
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown()


class JsonLinesExporter(SpanExporter):
    """Writes spans as JSON lines, each with a single write."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write each span as a line."""
        for span in spans:
            os.write(self._descriptor, json.dumps(_line(span), ensure_ascii=False).encode() + b"\n")
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Close the file, but never stdout or stderr."""
        if self._descriptor > 2:
            os.close(self._descriptor)
            self._descriptor = -1  # the number may be reused for another file


def _line(span: ReadableSpan) -> dict[str, Any]:
    """The fields that `waterfall` reads. Times are in seconds since 1970."""
    assert span.context
    return {
        "trace_id": f"{span.context.trace_id:032x}",
        "span_id": f"{span.context.span_id:016x}",
        "parent_id": f"{span.parent.span_id:016x}" if span.parent else None,
        "name": span.name,
        "service": span.resource.attributes.get("service.name"),
        "process": span.resource.attributes.get("service.instance.id"),
        "kind": span.kind.name.lower(),
        "start": (span.start_time or 0) / 1e9,
        "end": (span.end_time or 0) / 1e9,
        "error": span.status.description,
        "attributes": dict(span.attributes or {}),
        "links": [f"{link.context.trace_id:032x}/{link.context.span_id:016x}" for link in span.links],
    }
