"""Traces: one trace per recording, whichever processes work on it and however often.

The ids of a trace, and of the spans that others continue from, are derived from the recording's id, just as that id is
derived from the object. So a repeated event, a redelivered task, a join triggered by a document and a sweep all
continue the same trace without looking anything up (`docs/decisions/0009-telemetry.md`).

Attributes are ids, numbers and words from our own vocabulary: never content, an object's name, or the message of an
exception, which may quote either. This module needs only OpenTelemetry's API; `exporters` loads the SDK.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Protocol

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from speechpipe.contract import Stage, Task
from speechpipe.contract.errors import Busy, Rejected
from speechpipe.observe import log

AttributeValue = str | int | float | bool

#: Name of the span at the root of a trace.
ROOT = "upload"

_PROPAGATOR = TraceContextTextMapPropagator()
_NOOP_TRACER = trace.NoOpTracer()
_tracer: ContextVar[trace.Tracer] = ContextVar("tracer", default=_NOOP_TRACER)
_published: ContextVar[tuple[datetime, SpanContext] | None] = ContextVar("published", default=None)
#: The ids for the next span; the id generator in `exporters` reads them.
next_span_ids: ContextVar[SpanContext | None] = ContextVar("next_span_ids", default=None)


# ------------------------------------------------------------------------------------------------- contexts


def root_context(recording_id: str) -> SpanContext:
    """Context of the root span of a recording's trace: its upload."""
    return _derived(recording_id, ROOT)


def creation_context(recording_id: str, stage: Stage, revision: int, part: int | None = None) -> SpanContext:
    """Context of the span that created a partial, and so triggered a join."""
    return _derived(recording_id, f"{stage.value}.r{revision}" + ("" if part is None else f".p{part}"))


def attempt_context(recording_id: str, holder: str) -> SpanContext:
    """Context of a worker's attempt; `holder` is the holder of its lease, a different one for every attempt."""
    return _derived(recording_id, holder)


def _derived(recording_id: str, what: str) -> SpanContext:
    trace_id = hashlib.sha256(recording_id.encode()).digest()[:16]
    span_id = hashlib.sha256(f"{recording_id}/{what}".encode()).digest()[:8]
    return SpanContext(
        int.from_bytes(trace_id), int.from_bytes(span_id), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )


def traceparent(context: SpanContext) -> str | None:
    """The context in W3C Trace Context format (https://www.w3.org/TR/trace-context/); None if it is invalid."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, context=trace.set_span_in_context(NonRecordingSpan(context), Context()))
    return carrier.get("traceparent")


def parse_traceparent(text: str | None) -> SpanContext | None:
    """The context in a traceparent; None if the text is not a valid one."""
    context = _PROPAGATOR.extract({"traceparent": text or ""}, context=Context())
    found = trace.get_current_span(context).get_span_context()
    return found if found.is_valid else None


# ---------------------------------------------------------------------------------------------------- spans


@contextmanager
def span(
    name: str,
    *,
    parent: SpanContext | None = None,
    ids: SpanContext | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    links: Sequence[SpanContext] = (),
    attributes: dict[str, AttributeValue] | None = None,
) -> Iterator[Span]:
    """A span round a piece of work, as a child of `parent` or of the current span; a no-op outside a verb.

    `ids` are the span's own ids where they are derived. For an exception the span keeps the class, never the message.
    """
    token = next_span_ids.set(ids)
    try:
        opened = _tracer.get().start_span(
            name, _parent_context(parent), kind, attributes, [Link(each) for each in links], record_exception=False
        )
    finally:
        next_span_ids.reset(token)
    with trace.use_span(opened, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield opened
        except BaseException as error:
            record_failure(error)
            raise


def record_span(
    name: str,
    start: datetime | int,
    end: datetime | int | None = None,
    *,
    parent: SpanContext | None = None,
    ids: SpanContext | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    links: Sequence[SpanContext] = (),
    error: str | None = None,
    attributes: dict[str, AttributeValue] | None = None,
) -> None:
    """Record a span that began in the past, as a child of `parent` or of the current span; a root span has no parent.

    Times are datetimes or nanoseconds; `end` defaults to now.
    """
    started = _nanoseconds(start)
    context = Context() if name == ROOT else _parent_context(parent)
    token = next_span_ids.set(ids)
    try:
        opened = _tracer.get().start_span(name, context, kind, attributes, [Link(each) for each in links], started)
    finally:
        next_span_ids.reset(token)
    if error:
        _set_error(opened, error)
    opened.end(max(started, time.time_ns() if end is None else _nanoseconds(end)))


def _parent_context(parent: SpanContext | None) -> Context | None:
    return trace.set_span_in_context(NonRecordingSpan(parent)) if parent else None


def record_failure(error: BaseException) -> None:
    """Set the current span's error; Busy is an outcome, not an error."""
    current = trace.get_current_span()
    if isinstance(error, Busy):
        current.set_attribute("speechpipe.outcome", "busy")
        return
    _set_error(current, type(error).__name__)
    if isinstance(error, Rejected):
        current.set_attribute("speechpipe.code", error.code.value)


def _set_error(opened: Span, error: str) -> None:
    opened.set_attribute("error.type", error)
    opened.set_status(Status(StatusCode.ERROR, error))


def _nanoseconds(moment: datetime | int) -> int:
    return moment if isinstance(moment, int) else round(moment.timestamp() * 1e6) * 1000


def published() -> tuple[datetime, SpanContext] | None:
    """When the current task was published, and the context of the span that published it."""
    return _published.get()


# -------------------------------------------------------------------------------------------------- tracing


class Provider(Protocol):
    """The part of the SDK's TracerProvider that we use."""

    def get_tracer(self, instrumenting_module_name: str) -> trace.Tracer:
        """A tracer for this module."""
        ...

    def force_flush(self, timeout_millis: int = ...) -> bool:
        """Export the spans that have ended."""
        ...

    def shutdown(self) -> None:
        """Export the spans that have ended, then shut down."""
        ...


class Tracing:
    """A process's tracing; off without a provider.

    We do not set OpenTelemetry's global provider: libraries that trace themselves (Google's do) would add spans that
    name objects. `flush_each` exports at the end of each verb, for functions, which have no CPU after their response.
    """

    def __init__(self, provider: Provider | None = None, *, flush_each: bool = False) -> None:
        self._provider = provider
        self._flush_each = flush_each
        self._own = provider.get_tracer("speechpipe") if provider else _NOOP_TRACER

    @property
    def on(self) -> bool:
        """Whether spans are exported."""
        return self._provider is not None

    @contextmanager
    def active(self) -> Iterator[None]:
        """Trace the work in this block, each recording in its own trace. Opens no span itself."""
        token = _tracer.set(self._own)
        try:
            yield
        finally:
            _tracer.reset(token)
            if self._flush_each:
                self.flush()

    @contextmanager
    def verb(
        self,
        name: str,
        recording_id: str,
        *,
        parent: SpanContext | None = None,
        ids: SpanContext | None = None,
        stage: Stage | None = None,
        delivery: str | None = None,
        attributes: dict[str, AttributeValue] | None = None,
    ) -> Iterator[None]:
        """Run one verb for one recording inside a span, with the recording's id on every log line.

        `delivery` is the traceparent of the incoming request. The platform made it for this one delivery and samples
        only a few, so the span links to it instead of continuing it. With tracing off, log lines carry it.
        """
        request = parse_traceparent(delivery)
        above = (parent or root_context(recording_id)) if self.on else request
        fields: dict[str, AttributeValue] = {"speechpipe.recording_id": recording_id, **(attributes or {})}
        if stage:
            fields["speechpipe.stage"] = stage.value
        links = [request] if request and self.on else []
        with (
            self.active(),
            log.bound_fields(recording_id=recording_id, stage=stage.value if stage else None),
            span(name, parent=above, ids=ids, kind=SpanKind.CONSUMER, links=links, attributes=fields),
        ):
            yield

    @contextmanager
    def perform(self, task: Task, holder: str, *, delivery: str | None = None) -> Iterator[None]:
        """`verb` for a delivery of a task; its span continues from the one that published the task."""
        above = parse_traceparent(task.traceparent) or root_context(task.recording_id)
        token = _published.set((task.queued_at, above))
        try:
            with self.verb(
                f"perform {task.stage.value}",
                task.recording_id,
                parent=above,
                ids=attempt_context(task.recording_id, holder),
                stage=task.stage,
                delivery=delivery,
                attributes={"speechpipe.revision": task.revision},
            ):
                yield
        finally:
            _published.reset(token)

    def flush(self) -> None:
        """Export the spans that have ended."""
        if self._provider:
            self._provider.force_flush()

    def shutdown(self) -> None:
        """Export the spans that have ended, then shut down."""
        if self._provider:
            self._provider.shutdown()


#: No tracing.
OFF = Tracing()
