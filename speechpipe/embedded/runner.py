"""The embedded pipeline: threads that watch the folder, take messages and run the verbs.

They stand in for Eventarc, Pub/Sub push and Cloud Scheduler. If the process is killed, the next one continues where it
was: messages stay until they are acknowledged, and results are written before that.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from speechpipe.backends.local import STATE_FOLDER, TRACES_FILE, open_state
from speechpipe.backends.local.bus import (
    FINALIZED,
    PARTIAL_CREATED,
    LocalBus,
    LocalCompletions,
    LocalDeadLetters,
    Message,
    task_topic,
)
from speechpipe.backends.local.disk import check_room
from speechpipe.backends.local.folder import FolderUploads
from speechpipe.backends.local.results import FolderResults
from speechpipe.backends.local.store import SqliteStore
from speechpipe.backends.ports import Analyse, Backend
from speechpipe.contract import Source, Stage
from speechpipe.embedded.arrivals import Arrivals
from speechpipe.embedded.consumer import Consumer, Performer
from speechpipe.embedded.crew import Crew
from speechpipe.embedded.leftovers import SCRATCH, STAGING, tidy
from speechpipe.observe import instrumented, spans
from speechpipe.observe.spans import OFF
from speechpipe.pipeline.ingest import ingest
from speechpipe.pipeline.join import join
from speechpipe.pipeline.sweep import sweep
from speechpipe.pipeline.world import World, utc_now
from speechpipe.settings import Limits

log = logging.getLogger(__name__)
LoadEngine = Callable[[], Analyse]

SCAN_SECONDS = 0.5
SETTLE_SECONDS = 5.0  #: a file that has not changed for this long is whole
SWEEP_SECONDS = 60.0


class AlreadyRunning(Exception):
    """Another process is working on this folder."""


class Runner:
    """Works on one folder until stopped; a context manager. Raises AlreadyRunning if another process works on it.

    Raises FolderUnusable if the folder's disk is full or read-only. If it becomes so later, the work waits.
    `engines` finds the models and returns what loads each stage's engine. That runs in the stage's own thread, so
    whichever stage is ready begins. `traces` takes the values of SPEECHPIPE_TRACES; if empty, traces go to a file
    beside the folder's state. A file is taken once it has not changed for `settle_seconds`, by default SETTLE_SECONDS.
    With more than one of `workers`, so many processes perform the tasks, with engines of their own, and `environ` has
    their settings.
    """

    def __init__(
        self,
        directory: Path,
        engines: Callable[[], Mapping[Stage, LoadEngine]],
        limits: Limits,
        *,
        traces: str = "",
        settle_seconds: float | None = None,
        workers: int = 1,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory.resolve()
        state = self.directory / STATE_FOLDER
        self._database = open_state(state)
        self._lock_path = state / "runner.lock"
        self._lock: IO[str] | None = None
        self.store = SqliteStore(self._database)
        self.bus = LocalBus(self._database)
        self.uploads = FolderUploads(self.directory, state / "uploading", self.bus.finalized)
        self._scratch, self._staging, self._state = state / SCRATCH, state / STAGING, state
        self.results = FolderResults(state / "results", self._staging)
        self._engines = engines
        self._workers, self._environ = workers, os.environ if environ is None else environ
        self._crew: Crew | None = None
        # As many parts as workers: none waits in the queue, so a short recording waits for the part in hand at most.
        self._limits = limits.model_copy(update={"parts_in_flight": min(limits.parts_in_flight, workers)})
        self._traces = traces or str(state / TRACES_FILE)
        self._tracing = OFF
        completions, letters = LocalCompletions(self.bus), LocalDeadLetters(self._database)
        self._backend = Backend(self.store, self.bus, self.uploads, self.results, completions, letters)
        self._world: World
        self._failure: Exception | None = None
        self._stopping = threading.Event()
        self._consumer = Consumer(self.bus, self._stopping)
        self._threads: list[threading.Thread] = []
        self._scanned = threading.Event()
        self._arrivals = Arrivals(self.uploads, SETTLE_SECONDS if settle_seconds is None else settle_seconds)
        self._growing = 0
        self._holder = f"{socket.gethostname()}-{os.getpid()}"

    def __enter__(self) -> Self:
        """Take the folder and start the threads."""
        self._lock = self._lock_path.open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise AlreadyRunning(f"another speechpipe process is working on {self.directory}") from None
        try:
            engines = self._engines()  # under the lock, so that two processes never load them at the same time
        except BaseException:
            self._lock.close()
            raise
        try:
            tidy(self._state)
            self._scratch.mkdir(exist_ok=True)
            for written in (self._staging, self.results.root):
                check_room(written)
        except BaseException:
            self._lock.close()
            raise
        backend = self._backend
        if self._traces != "off":
            from speechpipe.observe import exporters

            self._tracing = exporters.tracing_to(self._traces, "run")
            backend = instrumented.instrument(backend, self._tracing, instrumented.EMBEDDED)
        self._world = World.over(backend, self._limits, utc_now)
        self.store.free_leases()
        self.bus.recover()
        self._spawn("scan", self._scan_forever)
        self._spawn("sweep", self._sweep_forever)
        self._spawn("functions", partial(self._consumer.serve, {FINALIZED: self._ingest, PARTIAL_CREATED: self._join}))
        if self._workers > 1:
            self._crew = Crew(
                self.directory,
                self._workers,
                self.bus,
                self.store,
                environ={**self._environ, "SPEECHPIPE_PARTS_IN_FLIGHT": str(self._limits.parts_in_flight)},
                traces=self._traces,
                failed=self._fail,
            )
            return self
        for stage, load in engines.items():
            self._spawn(stage.value, partial(self._analyse, stage, load))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop soon; unfinished work stays for the next start."""
        self._stopping.set()
        if self._crew:
            self._crew.stop()
        for thread in self._threads:
            thread.join()
        self._tracing.shutdown()
        self._database.close()
        if self._lock:
            self._lock.close()

    def _fail(self, reason: Exception) -> None:
        self._failure = reason

    def check(self) -> None:
        """Raise what kept an engine from loading, so that its stage never begins."""
        if self._failure:
            raise self._failure

    def idle(self) -> bool:
        """Whether everything in the folder is finished and announced. Raises as `check`.

        The order of the checks matters: work enters the next of these places before it leaves the one before.
        """
        self.check()
        return (
            self._scanned.is_set()
            and not self._growing
            and not self.bus.backlog()
            and not self.store.unfinished(limit=1)
        )

    def running(self) -> dict[str, bool]:
        """The name of each thread, and whether it is alive."""
        return {thread.name.removeprefix("speechpipe-"): thread.is_alive() for thread in self._threads}

    def _spawn(self, name: str, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=f"speechpipe-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    # ------------------------------------------------------------------------------------- the uploads "event"

    def _scan_forever(self) -> None:
        while not self._stopping.is_set():
            try:
                self._scan()
                self._scanned.set()
            except Exception:
                log.exception("the folder could not be scanned", extra={"action": "scan_failed"})
            self._stopping.wait(SCAN_SECONDS)

    def _scan(self) -> None:
        """Publish `finalized` once for each object generation whose file is whole."""
        rows = self._database.read().execute("SELECT name, generation FROM objects")
        whole, growing = self._arrivals.look({(row["name"], row["generation"]) for row in rows})
        for source in whole:
            self.bus.finalized(source)
        self._growing = growing

    # --------------------------------------------------------------------------------------------- the messages

    def _analyse(self, stage: Stage, load: LoadEngine) -> None:
        """Load a stage's engine, then perform its tasks."""
        try:
            engine = load()
        except Exception as error:
            self._failure = error
            return
        performer = Performer(
            engine,
            self._world,
            self.bus,
            holder=self._holder,
            scratch=self._scratch,
            stopping=self._stopping,
            tracing=self._tracing,
        )
        self._consumer.serve({task_topic(stage): performer})

    def _ingest(self, message: Message) -> None:
        source = Source.model_validate_json(message.body)
        with self._tracing.verb("ingest", source.recording_id):
            ingest(source, self._world)

    def _join(self, message: Message) -> None:
        body = json.loads(message.body)
        recording_id, revision = body["recording_id"], body["revision"]
        cause = spans.creation_context(recording_id, Stage(body["stage"]), revision) if "stage" in body else None
        with self._tracing.verb("join", recording_id, parent=cause):
            join(recording_id, revision, self._world)

    def _sweep_forever(self) -> None:
        while not self._stopping.wait(SWEEP_SECONDS):
            try:
                with self._tracing.active():
                    sweep(self._world)
            except Exception:
                log.exception("the sweep failed", extra={"action": "sweep_failed"})
