"""The embedded pipeline at work: threads that watch the folder, take messages and run the verbs.

What Eventarc, Pub/Sub push and Cloud Scheduler are in the cloud. Killed at any moment and started again it goes on
where it was: messages stay until they are acknowledged, and everything done was written before that.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

from speechpipe.backends.local import STATE_FOLDER, TRACES_FILE
from speechpipe.backends.local.bus import (
    FINALIZED,
    PARTIAL_CREATED,
    LocalBus,
    LocalCompletions,
    LocalDeadLetters,
    Message,
    task_topic,
)
from speechpipe.backends.local.database import Database
from speechpipe.backends.local.folder import FolderResults, FolderUploads
from speechpipe.backends.local.store import SqliteStore
from speechpipe.backends.ports import Analyse, Backend
from speechpipe.contract import Source, Stage, Task
from speechpipe.contract.errors import Busy, ErrorCode, Unreadable
from speechpipe.observe import instrumented, spans
from speechpipe.observe.spans import OFF, parse_traceparent
from speechpipe.pipeline import steps
from speechpipe.pipeline.interruptible import Interruptible
from speechpipe.settings import Limits

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_ATTEMPTS = 5  #: failures of a task before it is given up
MAX_CRASHES = 20  #: ends of the process during a task before it is given up: somebody may just be impatient
LEASE_SECONDS = 60.0  #: extended while the engine works; a killed runner's leases are freed at the next start
SCAN_SECONDS = 0.5
IDLE_SECONDS = 0.05
SWEEP_SECONDS = 60.0
MAX_BACKOFF_SECONDS = 60.0
MOST_TRACES = 64 << 20  #: bytes; at a start with more, a new file of traces is begun and the last one kept beside it
ABANDONED_SECONDS = 24 * 3600.0  #: an upload that nobody has written to for so long was killed
UNUSABLE_SECONDS = 1.0  #: after the folder's state could not be written: a full disk, say


class AlreadyRunning(Exception):
    """Another process works on this folder."""


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class Runner:
    """Works on one folder until stopped; a context manager. Raises AlreadyRunning if another process does.

    `traces` is as SPEECHPIPE_TRACES; when empty, they go to a file beside the folder's state.
    """

    def __init__(
        self, directory: Path, engines: Callable[[], Mapping[Stage, Analyse]], limits: Limits, *, traces: str = ""
    ) -> None:
        self.directory = directory.resolve()
        state = self.directory / STATE_FOLDER
        state.mkdir(exist_ok=True)
        self._lock_path = state / "runner.lock"
        self._lock: IO[str] | None = None
        self._database = Database(state / "state.sqlite3")
        self.store = SqliteStore(self._database)
        self.bus = LocalBus(self._database)
        self.uploads = FolderUploads(self.directory, state / "uploading", self.bus.finalized)
        self._scratch, self._staging, self._state = state / "scratch", state / "staging", state
        self.results = FolderResults(state / "results", self._staging)
        self._engines = engines
        self._limits = limits
        self._traces = traces or str(state / TRACES_FILE)
        self._tracing = OFF
        completions, letters = LocalCompletions(self.bus), LocalDeadLetters(self._database)
        self._ports = Backend(self.store, self.bus, self.uploads, self.results, completions, letters)
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._scanned = threading.Event()
        self._seen: dict[str, tuple[str, int]] = {}  # name -> generation and size at the last scan
        self._growing = 0
        self._holder = f"{socket.gethostname()}-{os.getpid()}"

    def __enter__(self) -> Self:
        """Take the folder and start the threads."""
        self._lock = self._lock_path.open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise AlreadyRunning(f"another speechpipe process works on {self.directory}") from None
        try:
            engines = self._engines()  # under the lock: two processes need not both load them
        except BaseException:
            self._lock.close()
            raise
        self._tidy()
        if self._traces != "off":
            from speechpipe.observe import exporters

            self._tracing = exporters.tracing_to(self._traces, "run")
            self._ports = instrumented.instrument(self._ports, self._tracing, instrumented.EMBEDDED)
        self.store.free_leases()
        self.bus.recover()
        self._spawn("scan", self._scan_forever)
        self._spawn("sweep", self._sweep_forever)
        self._spawn("functions", partial(self._serve, {FINALIZED: self._ingest, PARTIAL_CREATED: self._join}))
        for stage, engine in engines.items():
            self._spawn(stage.value, partial(self._serve, {task_topic(stage): self._performer(engine)}))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop soon; what is not done stays for the next start."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._tracing.shutdown()
        self._database.close()
        if self._lock:
            self._lock.close()

    def idle(self) -> bool:
        """Whether the folder holds nothing that is not finished and announced.

        The order matters: what leaves one of these places has entered the next before that.
        """
        return (
            self._scanned.is_set()
            and not self._growing
            and not self.bus.backlog()
            and not self.store.unfinished(limit=1)
        )

    def running(self) -> dict[str, bool]:
        """Its parts, and whether each is at work."""
        return {thread.name.removeprefix("speechpipe-"): thread.is_alive() for thread in self._threads}

    def _spawn(self, name: str, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=f"speechpipe-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    # ------------------------------------------------------------------------------------- the uploads "event"

    def _tidy(self) -> None:
        """Clear away what killed processes had begun; nobody but uploads writes there now."""
        for begun in (self._scratch, self._staging):
            shutil.rmtree(begun, ignore_errors=True)
        self._scratch.mkdir(exist_ok=True)
        for upload in (self._state / "uploading").glob("*"):
            with suppress(FileNotFoundError):  # one that has just ended
                if time.time() - upload.stat().st_mtime > ABANDONED_SECONDS:
                    upload.unlink()
        traces = self._state / TRACES_FILE
        if traces.exists() and traces.stat().st_size > MOST_TRACES:
            traces.replace(traces.with_suffix(".1.jsonl"))

    def _scan_forever(self) -> None:
        while not self._stopping.is_set():
            try:
                self._scan()
                self._scanned.set()
            except Exception:
                log.exception("the folder could not be looked through", extra={"action": "scan_failed"})
            self._stopping.wait(SCAN_SECONDS)

    def _scan(self) -> None:
        """Publish `finalized` once for each object generation that has stopped growing."""
        rows = self._database.read().execute("SELECT name, generation FROM objects")
        known = {(row["name"], row["generation"]) for row in rows}
        before, self._seen, growing = self._seen, {}, 0
        for source in self.uploads.objects():
            if (source.name, source.generation) in known:
                continue
            state = self._seen[source.name] = (source.generation, source.size)
            age = time.time_ns() - int(source.generation)
            if age < 2e9 * SCAN_SECONDS and before.get(source.name) != state:
                growing += 1
                continue
            self.bus.finalized(source)
        self._growing = growing

    # --------------------------------------------------------------------------------------------- the messages

    def _serve(self, handlers: Mapping[str, Callable[[Message], None]]) -> None:
        while not self._stopping.is_set():
            idle = True
            for topic, handle in handlers.items():
                message = self._insist(partial(self.bus.take, topic))
                if message:
                    idle = False
                    self._deliver(message, handle)
            if idle:
                self._stopping.wait(IDLE_SECONDS)

    def _insist(self, call: Callable[[], T]) -> T | None:
        """Call until it works, or until there is a stop: a disk may be full for an hour, and the thread is needed."""
        while True:
            try:
                return call()
            except Exception:
                log.exception("the folder's state could not be written", extra={"action": "state_failed"})
                if self._stopping.wait(UNUSABLE_SECONDS):
                    return None

    def _deliver(self, message: Message, handle: Callable[[Message], None]) -> None:
        """Run a handler; its exception's type decides what becomes of the message (see errors.py)."""
        try:
            handle(message)
        except Unreadable as error:
            log.error("dropped a message: %s", error, extra={"action": "unreadable"})
        except Busy:
            self._insist(partial(self.bus.refuse, message, 1.0, spend=False))
            return
        except Exception:
            log.exception("attempt %d failed", message.attempts, extra={"action": "attempt_failed"})
            delay = min(2.0 ** (message.attempts - 1), MAX_BACKOFF_SECONDS)
            self._insist(partial(self.bus.refuse, message, delay))
            return
        self._insist(partial(self.bus.acknowledge, message))

    def _ingest(self, message: Message) -> None:
        source = Source.model_validate_json(message.body)
        ports = self._ports
        with self._tracing.verb("ingest", source.recording_id):
            steps.ingest(
                source,
                store=ports.store,
                bus=ports.bus,
                uploads=ports.uploads,
                results=ports.results,
                limits=self._limits,
                clock=utc_now,
            )

    def _join(self, message: Message) -> None:
        body = json.loads(message.body)
        recording_id, revision = body["recording_id"], body["revision"]
        cause = spans.creation_context(recording_id, Stage(body["stage"]), revision) if "stage" in body else None
        with self._tracing.verb("join", recording_id, parent=cause):
            steps.join(recording_id, revision, **self._joining)

    @property
    def _joining(self) -> dict[str, Any]:
        """What `join` and `sweep` take."""
        ports = self._ports
        return {
            "store": ports.store,
            "bus": ports.bus,
            "uploads": ports.uploads,
            "results": ports.results,
            "clock": utc_now,
            "embed_bytes": self._limits.embed_bytes,
        }

    def _performer(self, engine: Analyse) -> Callable[[Message], None]:
        def perform(message: Message) -> None:
            task = Task.model_validate_json(message.body)
            if message.attempts > MAX_ATTEMPTS or message.crashes >= MAX_CRASHES:
                self.bus.bury(task, message.attempts + message.crashes - 1)  # first: a letter twice does no harm
                self._give_up(task)
                return
            holder = f"{self._holder}-{secrets.token_hex(4)}"  # each delivery is another
            with self._tracing.perform(task, holder):
                steps.perform(
                    task,
                    store=self._ports.store,
                    uploads=self._ports.uploads,
                    results=self._ports.results,
                    analyse=Interruptible(engine, self._stopping),
                    clock=utc_now,
                    holder=holder,
                    lease_seconds=LEASE_SECONDS,
                    max_bytes=self._limits.max_bytes,
                    prices=self._limits.prices,
                    scratch=self._scratch,
                )

        return perform

    def _give_up(self, task: Task) -> None:
        reason = f"{task.stage.value} failed"
        with self._tracing.verb(
            "give_up", task.recording_id, parent=parse_traceparent(task.traceparent), stage=task.stage
        ):
            steps.give_up(task, store=self._ports.store, clock=utc_now, code=ErrorCode.MODEL_ERROR, reason=reason)

    def _sweep_forever(self) -> None:
        while not self._stopping.wait(SWEEP_SECONDS):
            try:
                with self._tracing.active():
                    steps.sweep(**self._joining)
            except Exception:
                log.exception("the sweep failed", extra={"action": "sweep_failed"})
