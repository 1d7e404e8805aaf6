"""The whole system in one thread, on the embedded backend in memory.

A test delivers the messages by hand, in any order and any number of times, and can crash the process at any write.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from speechpipe.backends.local.bus import (
    COMPLETIONS,
    FINALIZED,
    PARTIAL_CREATED,
    LocalBus,
    LocalCompletions,
    LocalDeadLetters,
    task_topic,
)
from speechpipe.backends.local.database import Database
from speechpipe.backends.local.store import SqliteStore
from speechpipe.contract import Completion, Recording, Retained, Source, Stage, Task, wire
from speechpipe.contract.errors import Busy, ErrorCode, NotFound, Rejected, Unreadable
from speechpipe.pipeline.ingest import ingest
from speechpipe.pipeline.join import join
from speechpipe.pipeline.perform import perform
from speechpipe.pipeline.sweep import SweepReport, sweep
from speechpipe.pipeline.world import World
from speechpipe.settings import Limits
from tests.doubles import FixedEngine, SteppedClock

#: The worker's cap, which may differ from that of ingest.
WORKER_MAX_BYTES = 10**9


class Crash(BaseException):
    """The process died here. A BaseException, so that no handler of Exception catches it."""


class MemoryUploads:
    """The uploads bucket; an object's content is its entry in `bodies`, or else its own name."""

    def __init__(self) -> None:
        self.gone: set[str] = set()
        self.bodies: dict[str, bytes] = {}
        self.retained: dict[str, Retained] = {}
        self.listed: list[Source] = []
        self.metadata: dict[str, dict[str, str]] = {}  #: of objects whose metadata was changed after the upload
        self.opened = 0

    def download(self, source: Source, into: Path) -> None:
        if source.name in self.gone:
            raise Rejected(ErrorCode.OBJECT_GONE, "gone")
        into.write_bytes(self.bodies.get(source.name, source.name.encode()))

    @contextmanager
    def open(self, source: Source) -> Iterator[BinaryIO]:
        self.opened += 1
        if source.name in self.gone:
            raise Rejected(ErrorCode.OBJECT_GONE, "gone")
        yield BytesIO(self.bodies.get(source.name, source.name.encode()))

    def upload(self, path: Path, name: str, metadata: dict[str, str]) -> Source:
        raise NotImplementedError

    @property
    def sessions_at(self) -> str | None:
        raise NotImplementedError

    def session(self, name: str, metadata: dict[str, str], *, size: int, content_type: str, origin: str) -> str | None:
        raise NotImplementedError

    def find(self, name: str) -> Source | None:
        raise NotImplementedError

    def current(self, source: Source) -> Source:
        if source.name in self.gone:
            raise Rejected(ErrorCode.OBJECT_GONE, "gone")
        return source.model_copy(update={"metadata": self.metadata.get(source.name, source.metadata)})

    def objects(self, prefix: str = "") -> Iterator[Source]:
        yield from (source for source in self.listed if source.name.startswith(prefix))

    def delete(self, source: Source) -> Retained | None:
        if source.name not in self.retained:
            self.gone.add(source.name)
        return self.retained.get(source.name)


class MemoryResults:
    """The results bucket; records every attempt to overwrite an object with other bytes."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.conflicts: list[str] = []

    def uri(self, path: str) -> str:
        return f"gs://results/{path}"

    def create(self, path: str, body: bytes, content_type: str) -> str:
        if self.objects.setdefault(self.uri(path), body) != body:
            self.conflicts.append(path)
        return self.uri(path)

    def read(self, uri: str) -> bytes:
        if uri not in self.objects:
            raise NotFound(uri)
        return self.objects[uri]

    def delete(self, folder: str) -> None:
        for uri in [uri for uri in self.objects if uri.startswith(self.uri(f"{folder}/"))]:
            del self.objects[uri]


class CrashingPort:
    """A port whose writes are counted, and which raises Crash before or after the chosen one."""

    STORE_READS = (
        "recording",
        "recordings",
        "known",
        "unfinished",
        "count_unfinished",
        "lease",
        "partials",
        "parts",
        "part_numbers",
    )
    READS = (*STORE_READS, "read", "uri", "find", "current", "objects", "download", "open")

    def __init__(self, port: object, simulation: Simulation) -> None:
        self._port, self._simulation = port, simulation

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if name in self.READS:
            return method

        def write(*args: Any, **kwargs: Any) -> Any:
            self._simulation.crash_if("before")
            result = method(*args, **kwargs)
            self._simulation.crash_if("after")
            return result

        return write


class Simulation:
    """One pipeline. `crash_at` counts writes: (3, "after") crashes right after the fourth.

    The state is in memory, and each thread sees a separate one. Tests with a heartbeat, which is a thread, need a file.
    """

    def __init__(
        self, crash_at: tuple[int, str] | None = None, limits: Limits | None = None, file: Path = Path(":memory:")
    ) -> None:
        self.limits = limits or Limits()
        self.clock = SteppedClock()
        self.database = Database(file)
        self.store, self.bus = SqliteStore(self.database), LocalBus(self.database)
        self.uploads, self.results = MemoryUploads(), MemoryResults()
        self.engines: dict[Stage, Any] = {stage: FixedEngine(stage) for stage in Stage}
        self.length: Callable[[Path], float | None] | None = None  #: what the decoder says of a file
        self.crash_at = crash_at
        self.crashes = 0
        self._writes = -1

    def crash_if(self, when: str) -> None:
        self._writes += when == "before"
        if self.crash_at == (self._writes, when):
            self.crash_at = None
            self.crashes += 1
            raise Crash

    @property
    def world(self) -> World:
        """What the verbs are given; every port may crash."""
        ports: dict[str, Any] = {
            n: CrashingPort(getattr(self, n), self) for n in ("store", "bus", "uploads", "results")
        }
        completions, letters = LocalCompletions(self.bus), LocalDeadLetters(self.database)
        return World(**ports, completions=completions, dead_letters=letters, limits=self.limits, clock=self.clock)

    def arrive(self, source: Source) -> None:
        self.bus._publish(FINALIZED, source.model_dump_json())

    def pending(self) -> list[tuple[int, str, str]]:
        """Unacknowledged messages: (id, topic, body)."""
        rows = self.database.read().execute("SELECT id, topic, body FROM messages WHERE topic != ?", (COMPLETIONS,))
        return [(row["id"], row["topic"], row["body"]) for row in rows]

    def deliver(self, message: tuple[int, str, str], *, acknowledge: bool = True) -> None:
        """Deliver once. After a crash, Busy or an error the message stays; a crash leaves its lease to expire."""
        number, topic, body = message
        try:
            self._handle(topic, body)
        except Crash:
            # Nobody released the lease, so let time pass until it has expired.
            self.clock.pass_time(seconds=700)
            return
        except Busy:
            return
        except Unreadable:
            pass
        if acknowledge:
            with self.database.write() as connection:
                connection.execute("DELETE FROM messages WHERE id = ?", (number,))

    def _handle(self, topic: str, body: str) -> None:
        handlers: dict[str, Callable[[], object]] = {
            FINALIZED: lambda: ingest(Source.model_validate_json(body), self.world),
            PARTIAL_CREATED: lambda: self.join(**json.loads(body)),
        }
        for stage in Stage:
            handlers[task_topic(stage)] = lambda: self.perform(Task.model_validate_json(body))
        handlers[topic]()

    def join(self, recording_id: str, revision: int, stage: str) -> None:
        join(recording_id, revision, self.world)

    def perform(
        self, task: Task, holder: str = "worker", *, lease_seconds: float = 600, longest_seconds: float | None = None
    ) -> bool:
        limits = self.limits.model_copy(update={"max_bytes": WORKER_MAX_BYTES})
        world = replace(self.world, limits=limits).attempt(
            self.engines[task.stage],
            holder=holder,
            lease_seconds=lease_seconds,
            longest_seconds=longest_seconds,
            length=self.length,
        )
        return perform(task, world)

    def sweep(self) -> SweepReport:
        return sweep(self.world)

    def lose_messages(self) -> None:
        """Lose everything that is in a queue."""
        with self.database.write() as connection:
            connection.execute("DELETE FROM messages")

    def settle(self) -> None:
        """Deliver everything, oldest first, until no messages are left."""
        for _ in range(100):
            messages = self.pending()
            if not messages:
                return
            for message in messages:
                self.deliver(message)
        raise AssertionError(f"never settles: {self.pending()}")

    def completions(self) -> list[Completion]:
        rows = self.database.read().execute("SELECT body FROM messages WHERE topic = ? ORDER BY id", (COMPLETIONS,))
        bodies = [json.loads(row["body"]) for row in rows]
        return [wire.completion_from_message(b["data"].encode(), b["attributes"]) for b in bodies]

    def only(self) -> Recording:
        (listed,) = self.store.recordings()
        recording = self.store.recording(listed.id)
        assert recording is not None
        return recording
