"""Chaos on the emulators: real processes and HTTP, and every process is killed or stopped now and then.

Functions and workers are killed with -9, and the local cloud restarts them. The emulators of Firestore and Cloud
Storage keep everything in memory, so restarting one would lose it all; they are stopped (SIGSTOP) for seconds instead,
which looks like an outage to their clients. Pub/Sub is really killed and restarted once, losing all messages: reconcile
finds the uploads whose event was among them, sweep publishes the tasks again, and `replay` the events that had not been
received yet.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import requests
from google.api_core.exceptions import GoogleAPICallError, RetryError

from speechpipe.backends import gcp
from speechpipe.backends.gcp.documents import from_document
from speechpipe.backends.ports import Backend
from speechpipe.contract import Analysis, Completion, Lease, Partial, Record, Recording, recording_id
from speechpipe.contract.errors import NotFound
from speechpipe.contract.resources import Service
from speechpipe.emulators import LocalCloud
from speechpipe.emulators.setup import exported, make_topics
from speechpipe.pipeline import operations
from speechpipe.pipeline.world import World
from speechpipe.settings import ClientSettings, Limits, read
from tests.chaos import left
from tests.chaos.books import LEASE_SECONDS, Inventory, Key, digest, held
from tests.chaos.counters import Counters
from tests.chaos.disturbed import COUNTERS, SEED
from tests.chaos.embedded import NotSettled
from tests.chaos.people import requests as requests_of_people
from tests.chaos.plan import PART_SECONDS, Plan

ERRORS = (GoogleAPICallError, RetryError, requests.RequestException, ConnectionError)
FUNCTIONS = Path(__file__).parent / "functions"
EMULATORS = ("pubsub", "firestore", "storage")
BACKLOG = 60
KILL_EVERY, STOP_EVERY, STOP_SECONDS = (5.0, 10.0), (12.0, 25.0), (1.0, 4.0)
WITNESS_SECONDS = 5.0
START_SECONDS = 300.0  #: for an emulator to start, on a busy machine
QUIET_SECONDS = 5.0  #: without an event, before a run counts as settled


@dataclass
class Cloud:
    """The local cloud and its observers: of events, and of every partial when it first appears."""

    local: LocalCloud
    backend: Backend
    firestore: Any
    bucket: Any
    results: Any
    events: list[Completion] = field(default_factory=list)
    first: dict[Key, str] = field(default_factory=dict)
    last_event: float = 0.0
    looks: int = 0  #: how often `witness` has read all partials

    def upload(self, name: str, body: bytes, metadata: dict[str, str]) -> str:
        """Upload a file. Returns the recording's id."""
        blob = self.bucket.blob(name)
        blob.metadata = metadata
        blob.upload_from_string(body, content_type="audio/x-wav")
        return recording_id(self.bucket.name, name, str(blob.generation))

    def collect(self, stopping: threading.Event) -> None:
        """Receive events as a subscriber until told to stop."""
        while not stopping.is_set():
            with suppress(*ERRORS):
                for event in self.backend.completions.receive(0.5):
                    self.events.append(event)
                    self.last_event = time.monotonic()

    def witness(self, stopping: threading.Event) -> None:
        """Read all partials every WITNESS_SECONDS until told to stop."""
        while not stopping.wait(WITNESS_SECONDS):
            with suppress(*ERRORS):
                for partial in self.partials():
                    self.first.setdefault((partial.recording_id, partial.stage, partial.revision), digest(partial))
                self.looks += 1

    def partials(self) -> Iterator[Partial]:
        """All partials in Firestore."""
        for found in self.firestore.collection_group("partials").stream():
            yield from_document(Partial, found.to_dict())

    def leases(self) -> Iterator[Lease]:
        """All leases in Firestore."""
        for found in self.firestore.collection_group("leases").stream():
            yield from_document(Lease, found.to_dict())


@contextmanager
def running(
    root: Path, *, seed: int | None = None, lease_seconds: int = LEASE_SECONDS, copies: int = 1, **more: Any
) -> Iterator[Cloud]:
    """A local cloud with the chaos engine; with a seed, its functions and workers have faults."""
    from google.cloud import firestore, storage

    settings = {
        "SPEECHPIPE_TRACES": "off",
        "SPEECHPIPE_LEASE_SECONDS": str(lease_seconds),
        "SPEECHPIPE_PART_SECONDS": str(PART_SECONDS),
        "SPEECHPIPE_PARTS_IN_FLIGHT": "3",
        COUNTERS: str(root / "counters"),
        SEED: "" if seed is None else str(seed),
    }
    local = LocalCloud(
        state=root,
        workers=lambda stage: (sys.executable, "-m", "tests.chaos.cloud_worker"),
        functions=None if seed is None else FUNCTIONS,
        settings=settings,
        sweep_seconds=5,
        reconcile_seconds=15,
        copies=copies,
        **more,
    )
    stopping = threading.Event()
    threads: list[threading.Thread] = []
    try:
        with patch("speechpipe.emulators.cloud.EMULATOR_SECONDS", START_SECONDS):
            local.start()
        with exported(**local.environment()):
            client = storage.Client()
            documents = firestore.Client()
            backend = gcp.connect(read(ClientSettings))
            _ = backend.completions._subscriber  # type: ignore[attr-defined]  # create it while the variables are set
            _ = backend.bus._publisher  # type: ignore[attr-defined]
            uploads, results = client.bucket(local.ids.uploads), client.bucket(local.ids.results)
            cloud = Cloud(local, backend, documents, uploads, results)
        for target in (cloud.collect, cloud.witness):
            threads.append(threading.Thread(target=target, args=[stopping], daemon=True))
            threads[-1].start()
        yield cloud
    finally:
        stopping.set()
        for name in EMULATORS:
            local.send(name, signal.SIGCONT)
        for thread in threads:
            thread.join(30)
        local.stop()


@dataclass
class Run:
    """One disturbed run of a plan."""

    plan: Plan
    root: Path
    max_attempts: int = 60  #: deliveries of a task, a second apart, before its stage is given up
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    ids: dict[int, str] = field(default_factory=dict)

    def work(self, limit_seconds: float) -> Inventory:
        """Run until everything has settled. Returns what exists then."""
        scratch = self.root / "tmp"
        with left.marked(scratch) as mark:
            with running(self.root / "cloud", seed=self.plan.seed, copies=2, max_attempts=self.max_attempts) as cloud:
                began = time.monotonic()
                self._disturb(cloud, began + limit_seconds)
                self.seconds = time.monotonic() - began
                inventory = self._inventory(cloud)
            inventory.processes = left.processes(mark)
            inventory.litter = left.litter(scratch) + [
                f"{path} was left" for path in (self.root / "cloud").rglob("*.tmp")
            ]
        self.counts |= Counters(self.root / "cloud" / "counters" / "faults").all()
        return inventory

    def _disturb(self, cloud: Cloud, deadline: float) -> None:
        stopping = threading.Event()
        breaker = threading.Thread(target=self._break, args=[cloud, stopping])
        breaker.start()
        asked = requests_of_people(self.plan, cloud.backend, self.ids.get, ERRORS)
        feeding = self.plan.files[::-1]
        try:
            while feeding or asked or self._unfinished(cloud):
                if time.monotonic() > deadline:
                    raise NotSettled(f"seed {self.plan.seed}: not settled in time")
                ended = len({event.data.recording_id for event in cloud.events})
                while feeding and len(self.ids) - ended < BACKLOG:
                    file = feeding[-1]
                    try:
                        self.ids[file.number] = cloud.upload(file.name, file.body, file.metadata)
                    except ERRORS:
                        break
                    feeding.pop()
                    time.sleep(0.1)
                asked = [request for request in asked if not request()]
                time.sleep(0.5)
        finally:
            stopping.set()
            breaker.join()
        self._settle(cloud, deadline)

    def _unfinished(self, cloud: Cloud) -> bool:
        with suppress(*ERRORS):
            known = sum(1 for _ in cloud.firestore.collection("recordings").select([]).stream())
            return known < self.plan.count or bool(cloud.backend.store.unfinished(limit=1))
        return True

    def _settle(self, cloud: Cloud, deadline: float) -> None:
        """Wait until nothing changes any more; replay the events that Pub/Sub lost."""

        def settled() -> bool:
            with suppress(*ERRORS):
                still = self._unfinished(cloud) or cloud.local.status().events_pending
                recently = time.monotonic() - cloud.last_event < QUIET_SECONDS
                return not (still or recently or any(map(held, cloud.leases())))
            return False

        self._wait_until(settled, deadline)
        backend, world = cloud.backend, World.over(cloud.backend, Limits())
        announced = {(each.id, each.revision) for each in backend.store.recordings(limit=10_000)}
        for lost, _ in announced - _received(cloud):
            operations.replay(lost, world)
            self._count("events lost with Pub/Sub, replayed")
        looks, cloud.last_event = cloud.looks, time.monotonic()

        def observed() -> bool:
            """Every event has been received, and every partial read once from beginning to end.

            A killed worker whose clock was ahead left a lease that counts as free until its end is near; wait for it.
            """
            quiet = time.monotonic() - cloud.last_event >= QUIET_SECONDS
            leased = any(map(held, cloud.leases()))
            return quiet and announced <= _received(cloud) and cloud.looks >= looks + 2 and not leased

        self._wait_until(observed, deadline)

    def _wait_until(self, condition: Callable[[], bool], deadline: float) -> None:
        while not condition():
            if time.monotonic() > deadline:
                raise NotSettled(f"seed {self.plan.seed}: does not settle")
            time.sleep(0.5)

    def _break(self, cloud: Cloud, stopping: threading.Event) -> None:
        """Kill services, stop emulators, and once lose all of Pub/Sub's messages."""
        rng, now = self.plan.rng("breaker"), time.monotonic()
        kill_at, stop_at = now + rng.uniform(*KILL_EVERY), now + rng.uniform(*STOP_EVERY)
        lose_after = self.plan.count // 2
        while not stopping.wait(0.25):
            now = time.monotonic()
            if now >= kill_at:
                service = rng.choice(list(Service)).value
                cloud.local.send(service, signal.SIGKILL)
                self._count(f"{service} killed")
                kill_at = now + rng.uniform(*KILL_EVERY)
            if now >= stop_at:
                name = rng.choice(EMULATORS)
                cloud.local.send(name, signal.SIGSTOP)
                stopping.wait(rng.uniform(*STOP_SECONDS))
                cloud.local.send(name, signal.SIGCONT)
                self._count(f"{name} emulator stopped for some seconds")
                stop_at = time.monotonic() + rng.uniform(*STOP_EVERY)
            if lose_after and len(self.ids) >= lose_after:
                _lose_messages(cloud.local)
                self._count("Pub/Sub emulator restarted, empty")
                lose_after = 0

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def _inventory(self, cloud: Cloud) -> Inventory:
        names = {self.ids[file.number]: file.name for file in self.plan.files}
        return inventory_of(cloud, names)


def inventory_of(cloud: Cloud, names: dict[str, str]) -> Inventory:
    """Everything that exists on a cloud that has settled."""
    read_again = {found.id: from_document(Recording, found.to_dict()) for found in _all(cloud, "recordings")}
    partials = {(each.recording_id, each.stage, each.revision): each for each in cloud.partials()}
    files: dict[str, list[str]] = {}
    for blob in cloud.results.list_blobs():
        folder, _, path = blob.name.partition("/")
        files.setdefault(folder, []).append(path)
    analyses: dict[Key, Analysis] = {}
    for key, partial in partials.items():
        if partial.analysis_uri:
            analyses[key] = Analysis.model_validate_json(cloud.backend.results.read(partial.analysis_uri))
        elif partial.analysis:
            analyses[key] = partial.analysis
    records = {}
    for key, recording in read_again.items():
        for revision in range(1, recording.revision + 1):
            with suppress(NotFound):
                uri = cloud.backend.results.uri(f"{key}/r{revision}/record.json")
                records[key, revision] = Record.model_validate_json(cloud.backend.results.read(uri))
    return Inventory(
        uploads=names,
        recordings=read_again,
        partials=partials,
        first=dict(cloud.first),
        leases=list(cloud.leases()),
        records=records,
        files=files,
        analyses=analyses,
        events=list(cloud.events),
        unfinished=len(cloud.backend.store.unfinished(limit=10)),
    )


def _received(cloud: Cloud) -> set[tuple[str, int]]:
    return {(event.data.recording_id, event.data.revision) for event in list(cloud.events)}


def _all(cloud: Cloud, collection: str) -> Iterator[Any]:
    yield from cloud.firestore.collection(collection).stream()


def _lose_messages(local: LocalCloud) -> None:
    """Kill the Pub/Sub emulator, restart it and create its topics again: all messages are lost."""
    processes: Any = local._processes
    local.send("pubsub", signal.SIGKILL)
    while not processes.revive("pubsub"):
        time.sleep(0.1)
    processes.wait(START_SECONDS, "pubsub")
    make_topics(local.ids.project, local.ports.pubsub, local.max_attempts)
