"""The supervisor: starts every process, waits until it is ready, reports its status and stops it."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

from speechpipe.contract import Stage, Status, resources
from speechpipe.contract.resources import Service, Subscription
from speechpipe.emulators import callers, find
from speechpipe.emulators.deliver import Deliverer
from speechpipe.emulators.figures import Figures
from speechpipe.emulators.front import Front
from speechpipe.emulators.logs import Logs
from speechpipe.emulators.processes import Processes, answering, free_ports, inherited, listening
from speechpipe.emulators.push import Pusher
from speechpipe.emulators.relay import Relay
from speechpipe.emulators.setup import MAX_DELIVERY_ATTEMPTS, make_topics, make_trigger
from speechpipe.observe.counters import Counters

log = logging.getLogger(__name__)

EMULATOR_SECONDS = 90.0  #: two JVMs on two busy cores
WORKER_SECONDS = 600.0  #: a model may have to be downloaded first
SCHEDULED_SECONDS = 60.0  #: the longest that a call of sweep or reconcile may take
REVIVE_SECONDS = 2.0  #: how often to restart services that exited
#: Shorter than in production: deliveries come a second apart, and each one that finds a killed worker's lease still
#: held is a wasted attempt.
LEASE_SECONDS = 10
#: Each of the two workers has as many threads as there are cores. By default an OpenMP thread that waits for the others
#: spins and blocks its core, and an analysis may take twice as long (docs/surprises.md).
CPU = {"OMP_WAIT_POLICY": "PASSIVE"}
LOOPBACK = "127.0.0.1,localhost"


@dataclass(frozen=True)
class Ids:
    """Names in the local cloud."""

    project: str = "speechpipe-local"
    uploads: str = "uploads"
    results: str = "results"


@dataclass(frozen=True)
class Ports:
    """The ports that everything listens on, all on the loopback interface."""

    pubsub: int
    firestore: int
    storage: int
    relay: int
    services: Mapping[Service, int]

    @classmethod
    def choose(cls) -> Ports:
        """Choose free ports."""
        pubsub, firestore, storage, relay, *rest = free_ports(4 + len(Service))
        return cls(pubsub, firestore, storage, relay, dict(zip(Service, rest, strict=True)))


@dataclass(frozen=True)
class Snapshot:
    """The status of the local cloud at one moment."""

    processes: dict[str, bool]
    recordings: dict[Status, int]
    events_pending: int  #: Firestore events that `join` has not acknowledged
    queue_age: float | None  #: seconds that the oldest queued half has waited for a worker; None if none is queued
    counters: Counters  #: of all log lines so far


@dataclass
class LocalCloud:
    """The whole system on this machine, from `start` to `stop`; also a context manager.

    For tests: `workers` returns the command of a stage's worker, `functions` is the folder with the functions' files,
    `copies` is how often each event is delivered, and `subscriptions` says how messages are pushed.
    """

    ids: Ids = field(default_factory=Ids)
    state: Path | None = None  #: folder for logs and traces; a temporary one by default
    max_attempts: int = MAX_DELIVERY_ATTEMPTS  #: deliveries of a task before it is dead-lettered
    workers: Callable[[Stage], Sequence[str]] = lambda stage: (sys.executable, "-m", "workers")
    functions: Path | None = None
    settings: Mapping[str, str] = field(default_factory=dict)  #: more environment variables for functions and workers
    sweep_seconds: float = resources.SCHEDULES[Service.SWEEP].seconds
    reconcile_seconds: float = resources.SCHEDULES[Service.RECONCILE].seconds
    copies: int = 1
    patient: bool = False  #: a message waits after a failed push as long as its subscription says, not a second
    subscriptions: Sequence[Subscription] = resources.SUBSCRIPTIONS
    serve: bool = True  #: False: only the emulators, without functions, workers, pushes or triggers
    report: Callable[[str], None] | None = None  #: called with the name of each process once it is ready

    def __post_init__(self) -> None:
        """Choose ports and create the folder for logs."""
        self.ports = Ports.choose()
        root = self.state or Path(tempfile.mkdtemp(prefix="speechpipe-up-"))
        self.logs = root / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.traces = root / "traces.jsonl"
        self._lines = Logs(self.logs)
        self._figures = Figures(self.ids.project, self.ports.firestore)
        self._counters = Counters()
        self._processes = Processes(self.logs)
        self._deliverer: Deliverer | None = None
        self._relay: Relay | None = None
        self._pusher: Pusher | None = None
        self._front = Front(self.ports.services)
        self._stopping = threading.Event()
        self._scheduler: threading.Thread | None = None

    def __enter__(self) -> LocalCloud:
        """Start."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop."""
        self.stop()

    def environment(self) -> dict[str, str]:
        """The variables with which speechpipe and any Google client library connect to this cloud."""
        return {
            "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{self.ports.pubsub}",
            "FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{self.ports.firestore}",
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{self.ports.storage}",
            "GOOGLE_CLOUD_PROJECT": self.ids.project,
            "SPEECHPIPE_UPLOADS_BUCKET": self.ids.uploads,
            "SPEECHPIPE_RESULTS_BUCKET": self.ids.results,
            "SPEECHPIPE_TRACES": str(self.traces),
            # Otherwise gRPC and requests would send even loopback traffic through a proxy.
            "NO_PROXY": ",".join(filter(None, (os.environ.get("NO_PROXY"), LOOPBACK))),
            "no_proxy": ",".join(filter(None, (os.environ.get("no_proxy"), LOOPBACK))),
        }

    # ------------------------------------------------------------------------------------------- start, stop

    def start(self) -> None:
        """Start everything and wait until it is ready.

        Raises EmulatorsMissing or StartFailed, after stopping whatever it had started.
        """
        emulators = find.find()
        try:
            self._start_emulators(emulators)
            if self.serve:
                self._start_services()
            self._processes.wait(EMULATOR_SECONDS, "pubsub", "firestore", "storage", report=self.report)
            make_topics(self.ids.project, self.ports.pubsub, self.max_attempts)
            if self.serve:
                self._pusher = Pusher(
                    self.ids.project, self.ports.pubsub, self._front, self.subscriptions, patient=self.patient
                )
                make_trigger(self.ids.project, self.ports.firestore)
                functions = (name.value for name in resources.FUNCTIONS)
                self._processes.wait(EMULATOR_SECONDS, *functions, report=self.report)
                self._processes.wait(WORKER_SECONDS, report=self.report)
                self._scheduler = threading.Thread(target=self._schedule, name="scheduler", daemon=True)
                self._scheduler.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything. May be called more than once, and before `start`."""
        self._stopping.set()
        if self._deliverer:
            self._deliverer.stop()
        if self._pusher:
            self._pusher.stop()
        self._processes.stop()  # before the scheduler, so that a running call of sweep ends
        if self._scheduler:
            self._scheduler.join()
            self._scheduler = None
            self._processes.stop()  # whatever the scheduler restarted in the meantime
        if self._pusher:
            self._pusher.join()
            self._pusher = None
        if self._relay:
            self._relay.stop()
            self._relay = None

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a service or an emulator; a service that exits is restarted. For tests."""
        self._processes.send(name, number)

    def losing(self, service: Service) -> AbstractContextManager[set[str]]:
        """Lose the messages to a service during this block; gives the ids of those lost so far. For tests."""
        if self._pusher is None:
            raise RuntimeError("nothing is pushed: the local cloud is not running")
        return self._pusher.losing(service)

    def _start_emulators(self, emulators: find.Emulators) -> None:
        ports, plain = self.ports, inherited()
        self._deliverer = Deliverer(self._front, copies=self.copies)
        self._relay = Relay(ports.relay, resources.FIRESTORE_TRIGGER.service, self._deliverer)
        self._processes.start("pubsub", emulators.pubsub(ports.pubsub), plain, listening(ports.pubsub))
        firestore = emulators.firestore(ports.firestore, ports.relay)
        self._processes.start("firestore", firestore, plain, answering(ports.firestore, "/"))
        command = [sys.executable, "-m", "speechpipe.emulators.storage", f"--port={ports.storage}"]
        command += [f"--uploads={self.ids.uploads}", f"--results={self.ids.results}", f"--copies={self.copies}"]
        command += [f"--project={self.ids.project}", f"--pubsub-port={ports.pubsub}"]
        self._processes.start("storage", command, plain, answering(ports.storage, "/"))

    def _start_services(self) -> None:
        folder = self.functions or _functions_folder()
        for service in resources.FUNCTIONS:
            port, name = self.ports.services[service], service.value
            command = [sys.executable, "-m", "functions_framework", f"--source={folder / name}.py", f"--target={name}"]
            command += ["--host=127.0.0.1", f"--port={port}"]
            self._processes.start(name, command, self._environment(service), listening(port))
        for stage in Stage:
            self._start_worker(stage)

    def _start_worker(self, stage: Stage) -> None:
        service = resources.WORKERS[stage]
        port = self.ports.services[service]
        own = {"SPEECHPIPE_CONCURRENCY": "2", "SPEECHPIPE_LEASE_SECONDS": str(LEASE_SECONDS), **CPU, **self.settings}
        own |= {"SPEECHPIPE_STAGE": stage.value, "PORT": str(port), "SPEECHPIPE_HOST": "127.0.0.1"}
        environment = self._environment(service) | own
        self._processes.start(service.value, self.workers(stage), environment, answering(port, resources.READY_PATH))

    def _environment(self, service: Service) -> dict[str, str]:
        cloud = {**self.environment(), **callers.variables(service)}
        return inherited(**cloud, SPEECHPIPE_LOG_FORMAT="json") | dict(self.settings)

    def _schedule(self) -> None:
        """Stand in for Cloud Scheduler and for Cloud Run's restarts; a failed call of sweep is not retried."""
        services = [service.value for service in Service]
        sweep_at, reconcile_at = time.monotonic() + self.sweep_seconds, time.monotonic() + self.reconcile_seconds
        while not self._stopping.wait(min(self.sweep_seconds, REVIVE_SECONDS)):
            for name in self._processes.revive(*services):
                log.warning("%s exited and was restarted", name, extra={"action": "revived"})
            if time.monotonic() >= sweep_at:
                self.sweep()
                sweep_at = time.monotonic() + self.sweep_seconds
            if time.monotonic() >= reconcile_at:
                self.call(Service.RECONCILE)
                reconcile_at = time.monotonic() + self.reconcile_seconds

    def sweep(self) -> bool:
        """Call the sweep function once. Returns whether it answered 200."""
        return self.call(Service.SWEEP)

    def call(self, service: Service) -> bool:
        """Call a scheduled function once. Returns whether it answered 200."""
        return self._front.post(service, {}, b"", SCHEDULED_SECONDS) == HTTPStatus.OK

    # ------------------------------------------------------------------------------------------------ status

    def running(self) -> dict[str, bool]:
        """Each process, and whether it is running."""
        return self._processes.up()

    def status(self) -> Snapshot:
        """Processes, recordings by state, pending events and counters."""
        for line in self._lines.new():
            self._counters.add(line)
        processes = self.running()
        alive = processes.get("firestore")
        return Snapshot(
            processes=processes,
            recordings=self._figures.by_status() if alive else dict.fromkeys(Status, 0),
            events_pending=self._deliverer.pending if self._deliverer else 0,
            queue_age=self._figures.queue_age() if alive else None,
            counters=self._counters,
        )


def _functions_folder() -> Path:
    """The folder with the functions' files. Does not import the package, because that would configure logging."""
    spec = find_spec("functions")
    if spec is None or spec.origin is None:
        raise find.EmulatorsMissing("Not found: the package `functions`, which comes with speechpipe.")
    return Path(spec.origin).parent
