"""Traces: one recording is one trace, whoever works on it, wherever and however often.

Ids of traces and of the spans that others continue from are derived from the recording's id, as that is from the
object: a repeated event, a redelivered task, a join that was triggered by a document and a sweep that finds what was
left all go on in the same trace without asking anybody (`docs/decisions/0009-telemetry.md`).

Attributes are ids, numbers and words of our own vocabulary. Never content, an object's name, or the message of an
exception, which may quote either. Only OpenTelemetry's API is needed here; `exporters` brings the SDK.
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
#: The ids that the next span has to get; read by the id generator in `exporters`.
next_span_ids: ContextVar[SpanContext | None] = ContextVar("next_span_ids", default=None)


# ------------------------------------------------------------------------------------------------- contexts


def root_context(recording_id: str) -> SpanContext:
    """The span at the root of a recording's trace: its upload."""
    return _derived(recording_id, ROOT)


def creation_context(recording_id: str, stage: Stage, revision: int) -> SpanContext:
    """The span that created a partial, and so triggered a join."""
    return _derived(recording_id, f"{stage.value}.r{revision}")


def attempt_context(recording_id: str, holder: str) -> SpanContext:
    """The span of a worker's attempt, by the holder of its lease, who is another each time."""
    return _derived(recording_id, holder)


def _derived(recording_id: str, what: str) -> SpanContext:
    trace_id = hashlib.sha256(recording_id.encode()).digest()[:16]
    span_id = hashlib.sha256(f"{recording_id}/{what}".encode()).digest()[:8]
    return SpanContext(
        int.from_bytes(trace_id), int.from_bytes(span_id), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )


def traceparent(context: SpanContext) -> str | None:
    """As W3C Trace Context writes it (https://www.w3.org/TR/trace-context/); None where there is no trace."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, context=trace.set_span_in_context(NonRecordingSpan(context), Context()))
    return carrier.get("traceparent")


def parse_traceparent(text: str | None) -> SpanContext | None:
    """Read a traceparent; None if it is none."""
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
    """A span round a piece of work, under `parent` or the current span; does nothing while no verb runs.

    `ids` are the span's own, where they are derived. Of an exception the class is kept, never the message.
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
    """A span of what is over, under `parent` or the current span; the root of a trace is under nothing.

    Times are datetimes or nanoseconds; without `end` it ends now.
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
    """Say on the current span that it ended so; Busy is no error."""
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
    """When the task in hand was published, and the span that did."""
    return _published.get()


# -------------------------------------------------------------------------------------------------- tracing


class Provider(Protocol):
    """What of the SDK's TracerProvider is used."""

    def get_tracer(self, instrumenting_module_name: str) -> trace.Tracer:
        """Give a tracer."""
        ...

    def force_flush(self, timeout_millis: int = ...) -> bool:
        """Export what has ended."""
        ...

    def shutdown(self) -> None:
        """Export what has ended, and stop."""
        ...


class Tracing:
    """Where a process' spans go; without a provider, nowhere.

    Not OpenTelemetry's global provider: libraries that trace themselves (Google's do) would add spans of theirs, with
    names of objects in them. `flush_each`: export at the end of each verb, for a function whose CPU is taken away
    after its answer.
    """

    def __init__(self, provider: Provider | None = None, *, flush_each: bool = False) -> None:
        self._provider = provider
        self._flush_each = flush_each
        self._own = provider.get_tracer("speechpipe") if provider else _NOOP_TRACER

    @property
    def on(self) -> bool:
        """Whether anything is traced."""
        return self._provider is not None

    @contextmanager
    def active(self) -> Iterator[None]:
        """Trace what is done for recordings inside, each in its own trace; there is no span round it."""
        token = _tracer.set(self._own)
        try:
            yield
        finally:
            _tracer.reset(token)
            if self._flush_each:
                self.flush()

    @contextmanager
    def step(
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
        """A span and log fields round one verb for one recording.

        `delivery` is the traceparent of the request that brought the work. The platform made it for this one delivery
        and samples few of them, so it is linked to and not continued; with tracing off, log lines carry it.
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
        """`verb` for a delivery of a task: it goes on from what published the task."""
        above = parse_traceparent(task.traceparent) or root_context(task.recording_id)
        token = _published.set((task.queued_at, above))
        try:
            with self.step(
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
        """Export what has ended."""
        if self._provider:
            self._provider.force_flush()

    def shutdown(self) -> None:
        """Export what has ended, and stop."""
        if self._provider:
            self._provider.shutdown()


#: Nothing is traced.
OFF = Tracing()
