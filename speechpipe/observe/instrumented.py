"""Instrumented ports: a span for each call of a backend, named after the method, and trace context in what it writes.

The pipeline's verbs know nothing of tracing. A call that writes or publishes always belongs to its recording's trace,
whoever makes it; a call that reads gets a span only inside a verb for that recording.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast

from opentelemetry import trace
from opentelemetry.trace import SpanContext, SpanKind

from speechpipe.backends.ports import Backend, Bus, Results, Store, Uploads
from speechpipe.contract import Completion, Lease, Partial, Recording, Stage, Task
from speechpipe.observe import spans
from speechpipe.observe.spans import AttributeValue, Tracing, record_span, span

#: Calls that do no I/O (`uri`), or are so frequent that their spans would hide the others (`progress`, `extend`).
_UNINSTRUMENTED = frozenset({"uri", "progress", "extend"})
_READS = frozenset(
    {
        "recording",
        "recordings",
        "known",
        "unfinished",
        "count_unfinished",
        "changes",
        "lease",
        "partials",
        "read",
        "find",
        "download",
    }
)


@dataclass(frozen=True)
class Systems:
    """The systems behind the ports, by their OpenTelemetry names (https://opentelemetry.io/docs/specs/semconv/)."""

    database: str
    messaging: str
    storage: str


GOOGLE = Systems("gcp.firestore", "gcp_pubsub", "gcs")
EMBEDDED = Systems("sqlite", "sqlite", "folder")


def instrument(backend: Backend, tracing: Tracing, systems: Systems) -> Backend:
    """The backend with a span for each call; the backend itself if tracing is off."""
    if not tracing.on:
        return backend
    storage: dict[str, AttributeValue] = {"speechpipe.storage": systems.storage}
    return replace(
        backend,
        store=cast(Store, _InstrumentedStore(backend.store, "store", {"db.system.name": systems.database})),
        bus=cast(Bus, _InstrumentedBus(backend.bus, systems.messaging)),
        uploads=cast(Uploads, _InstrumentedPort(backend.uploads, "uploads", storage)),
        results=cast(Results, _InstrumentedPort(backend.results, "results", storage)),
    )


class _InstrumentedPort:
    """A port with a span for each call."""

    def __init__(self, port: object, name: str, attributes: Mapping[str, AttributeValue]) -> None:
        self._port, self._name, self._attributes = port, name, attributes

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if name in _UNINSTRUMENTED or not callable(method):
            return method

        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            recording_id = next((found for each in args if (found := _recording_id(each))), None)
            relations = _relations(recording_id)
            if relations is None or (relations.parent and name in _READS):
                return method(*args, **kwargs)
            attributes = {**self._attributes, **_artifact(self._name, args)}
            with span(
                f"{self._name}.{name}",
                kind=SpanKind.CLIENT,
                parent=relations.parent,
                links=relations.links,
                attributes=attributes,
            ):
                return method(*args, **kwargs)

        return call


class _InstrumentedStore(_InstrumentedPort):
    """A store that also writes the trace context that later verbs continue from."""

    def create_recording(self, recording: Recording) -> bool:
        """Create the recording with its trace context in it; whoever creates it also records the root span."""
        root = spans.root_context(recording.id)
        recording = recording.model_copy(update={"traceparent": spans.traceparent(root)})
        created: bool = self.__getattr__("create_recording")(recording)
        if created:
            attributes: dict[str, AttributeValue] = {
                "speechpipe.recording_id": recording.id,
                "speechpipe.bytes": recording.source.size,
            }
            record_span(spans.ROOT, recording.source.created_at, recording.queued_at, ids=root, attributes=attributes)
        return created

    def create_partial(self, partial: Partial) -> bool:
        """Create the partial. Only the call that really creates it gets the derived ids: the join has one parent."""
        number = partial.part.number if partial.part else None
        ids = spans.creation_context(partial.recording_id, partial.stage, partial.revision, number)
        relations = _relations(partial.recording_id) or _Relations()
        began = time.time_ns()
        partial = partial.model_copy(update={"traceparent": spans.traceparent(ids)})
        created: bool = cast(Store, self._port).create_partial(partial)
        record_span(
            "store.create_partial",
            began,
            ids=ids if created else None,
            kind=SpanKind.CLIENT,
            parent=relations.parent,
            links=relations.links,
            attributes={**self._attributes, "speechpipe.stage": partial.stage.value, "speechpipe.created": created},
        )
        return created

    def claim(self, recording_id: str, stage: Stage, revision: int, part: int | None = None, **times: Any) -> Lease:
        """Claim; then record the time in the queue, and the previous attempt if its worker died before it could."""
        lease: Lease = self.__getattr__("claim")(recording_id, stage, revision, part, **times)
        *before, this = lease.attempts
        trace.get_current_span().set_attribute("speechpipe.attempt", this.number)
        published = spans.published()
        if published is None:
            return lease
        queued_at, publisher = published
        last = before[-1] if before else None
        if last and last.outcome == "expired":
            record_span(
                f"perform {stage.value}",
                last.started_at,
                last.ended_at,
                parent=publisher,
                ids=spans.attempt_context(recording_id, last.holder),
                kind=SpanKind.CONSUMER,
                error="WorkerLost",
                attributes={"speechpipe.recording_id": recording_id, "speechpipe.attempt": last.number},
            )
        waiting_since = max(filter(None, (queued_at, last.ended_at if last else None)))
        _record_queue_span(stage, waiting_since, this.started_at, publisher, this.number)
        return lease


def _record_queue_span(stage: Stage, since: datetime, until: datetime, publisher: SpanContext, attempt: int) -> None:
    record_span(
        f"queue {stage.value}",
        min(since, until),
        until,
        parent=publisher,
        attributes={"speechpipe.stage": stage.value, "speechpipe.attempt": attempt},
    )


class _InstrumentedBus:
    """A bus that puts the trace context into each message."""

    def __init__(self, port: Bus, system: str) -> None:
        self._port = port
        self._attributes: dict[str, AttributeValue] = {
            "messaging.system": system,
            "messaging.operation.type": "send",
            "messaging.operation.name": "publish",
        }

    def publish_task(self, task: Task) -> None:
        """Publish; the worker's span becomes a child of the publishing one."""
        relations = _relations(task.recording_id) or _Relations()
        attributes = {**self._attributes, "speechpipe.stage": task.stage.value}
        with span(
            f"publish {task.stage.value}",
            kind=SpanKind.PRODUCER,
            parent=relations.parent,
            links=relations.links,
            attributes=attributes,
        ) as opened:
            context = spans.traceparent(opened.get_span_context())
            self._port.publish_task(task.model_copy(update={"traceparent": context}))

    def publish_completion(self, completion: Completion) -> None:
        """Publish with the root span as the context: it is the same whenever the event is repeated."""
        recording_id = completion.data.recording_id
        relations = _relations(recording_id) or _Relations()
        context = spans.traceparent(spans.root_context(recording_id))
        with span(
            "publish completion",
            kind=SpanKind.PRODUCER,
            parent=relations.parent,
            links=relations.links,
            attributes={**self._attributes, "speechpipe.status": completion.data.status.value},
        ):
            self._port.publish_completion(completion.model_copy(update={"traceparent": context}))


@dataclass(frozen=True)
class _Relations:
    """A span's parent and links; without a parent it is a child of the current span."""

    parent: SpanContext | None = None
    links: tuple[SpanContext, ...] = ()


def _relations(recording_id: str | None) -> _Relations | None:
    """The parent and links of a call's span; None if the call belongs to no trace."""
    current = trace.get_current_span().get_span_context()
    if recording_id is None:
        return _Relations() if current.is_valid else None
    root = spans.root_context(recording_id)
    if current.trace_id == root.trace_id:
        return _Relations()
    return _Relations(root, (current,) if current.is_valid else ())


def _recording_id(argument: object) -> str | None:
    """The recording that an argument refers to: an id, a path that begins with one, or an object that has one."""
    if isinstance(argument, str):
        return argument.partition("/")[0] if argument.startswith("rec_") else None
    if isinstance(argument, Recording):
        return argument.id
    found = getattr(argument, "recording_id", None)
    return found if isinstance(found, str) else None


def _artifact(port: str, args: tuple[Any, ...]) -> dict[str, AttributeValue]:
    """The name of a file that we write; never an object's name, which the uploader chose."""
    if port != "results" or not args or not isinstance(args[0], str):
        return {}
    return {"speechpipe.artifact": args[0].rsplit("/", 1)[-1]}
