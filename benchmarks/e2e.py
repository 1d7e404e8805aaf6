"""What the pipeline adds to the slower stage: emulators, embedded, and the original project's shape, alternating.

    python -m benchmarks.e2e [--at-once 1 8 64] [--rounds 80 8 3] [--ways emulators embedded in-turn in-parallel]

- emulators: what `speechpipe up` starts; google-cloud-storage uploads, google-cloud-pubsub receives the completion
- embedded: a folder in this process, as with `speechpipe.Client`
- in-turn, in-parallel: an HTTP orchestrator that posts the file to two services (`benchmarks.e2e_seed`)

All use the bundled toy models and samples. A recording's time runs from the start of its upload, because a user waits
for that too and it is part of a POST to the orchestrator, until its completion event or the response is received.
Overhead is that time without the `compute_seconds` of the stage that took longer. For speechpipe the recording's
document shows where the overhead went:

- arrive: until ingest read the clock
- queue: until the attempt started of the half that finished last; most of it is
- push: from the publication of that half's task to its delivery (from the traces)
- work: that attempt, without the compute of the slower stage, which need not be the same half's
- join: from the end of that attempt until the event was durably published, that is, announced
- hear: until the subscriber received it

The Pub/Sub emulator looks every 50 ms for messages for a waiting pull, also for the pull of our own push
(`speechpipe.emulators.push`). `without deliveries` is the overhead without `push` and `hear`, or, embedded, without
`queue` and `hear`.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import httpx

from benchmarks.e2e_report import Timing, write
from benchmarks.machine import machine
from speechpipe.backends import gcp
from speechpipe.backends.ports import Backend
from speechpipe.client import Client
from speechpipe.contract import Recording, Stage
from speechpipe.emulators import LocalCloud
from speechpipe.emulators.cloud import CPU
from speechpipe.emulators.processes import Processes, free_ports, inherited, listening
from speechpipe.emulators.setup import exported
from speechpipe.observe import spans
from speechpipe.settings import ClientSettings, read

SAMPLES = Path(__file__).parent.parent / "tests" / "samples"
#: 9 to 13 s, one channel, four formats; about 0.1 s of compute.
FILES = ("angry_customer.ogg", "happy_customer.mp3", "missing_table.flac", "order_inquiry.wav")
SETTINGS = {"SPEECHPIPE_MODELS": "toy"}
PATIENCE_SECONDS = 300.0

Way = Callable[[Sequence[Path]], list[Timing]]


# ------------------------------------------------------------------------------------------------------ speechpipe


class Speechpipe:
    """Uploads to a backend and receives its completion events."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._names = count()
        self._received: dict[str, float] = {}
        self._condition = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()

    def __call__(self, files: Sequence[Path]) -> list[Timing]:
        """Upload all files concurrently, and wait for their completion events."""
        with ThreadPoolExecutor(len(files)) as threads:
            began = dict(threads.map(self._upload, files))
        with self._condition:
            if not self._condition.wait_for(lambda: began.keys() <= self._received.keys(), PATIENCE_SECONDS):
                raise SystemExit(f"no completion event for {began.keys() - self._received.keys()}")
        return [self._timing(recording_id, at) for recording_id, at in began.items()]

    def _upload(self, path: Path) -> tuple[str, float]:
        name = f"{next(self._names)}-{path.name}"
        began = time.time()
        return self._backend.uploads.upload(path, name, {}).recording_id, began

    def _listen(self) -> None:
        while True:
            for event in self._backend.completions.receive(60):
                with self._condition:
                    self._received.setdefault(event.data.recording_id, time.time())
                    self._condition.notify()

    def _timing(self, recording_id: str, began: float) -> Timing:
        patience = time.monotonic() + PATIENCE_SECONDS
        while not (recording := self._backend.store.recording(recording_id)) or not recording.announced_at:
            if time.monotonic() > patience:  # the mark is written after the event is published
                raise SystemExit(f"{recording_id} was announced, but not marked as announced")
            time.sleep(0.1)
        return timing(recording, began, self._received[recording_id])


def timing(recording: Recording, began: float, received: float) -> Timing:
    """Where the time went, from the times in the document, which are from this machine's clock."""
    assert recording.status.value == "completed", recording.error
    assert recording.announced_at
    computes = [half.compute_seconds or 0.0 for half in recording.halves.values()]
    last = max(recording.halves.values(), key=lambda half: half.finished_at or recording.queued_at)
    assert last.queued_at
    assert last.started_at
    assert last.finished_at
    announced, finished = recording.announced_at.timestamp(), last.finished_at.timestamp()
    return Timing(
        total=received - began,
        compute=max(computes),
        arrive=last.queued_at.timestamp() - began,
        queue=(last.started_at - last.queued_at).total_seconds(),
        work=(last.finished_at - last.started_at).total_seconds() - max(computes),
        join=announced - finished,
        hear=received - announced,
        recording_id=recording.id,
        last=next(stage.value for stage, half in recording.halves.items() if half is last),
    )


def with_push(timings: Sequence[Timing], traces: Path) -> list[Timing]:
    """Add the time from the publication of the last half's task to its delivery, which only the traces have."""
    published: dict[tuple[str, str], float] = {}
    delivered: dict[tuple[str, str], float] = {}
    for line in traces.read_text().splitlines():
        span = json.loads(line)
        verb, _, stage = span["name"].partition(" ")
        if verb == "publish":
            published[span["trace_id"], stage] = span["end"]
        elif verb == "perform":
            delivered[span["trace_id"], stage] = span["start"]
    keys = [(f"{spans.root_context(each.recording_id or '').trace_id:032x}", each.last or "") for each in timings]
    return [replace(each, push=delivered[key] - published[key]) for each, key in zip(timings, keys, strict=True)]


@contextmanager
def emulators(state: Path) -> Iterator[Speechpipe]:
    """Run the local cloud, with a client; its traces are written to `state`."""
    with LocalCloud(state=state, settings=SETTINGS) as cloud:
        with exported(**cloud.environment()):
            backend = gcp.connect(read(ClientSettings))
            _ = backend.completions._subscriber  # type: ignore[attr-defined]  # created while these variables are set
        yield Speechpipe(backend)


@contextmanager
def embedded(folder: Path) -> Iterator[Speechpipe]:
    """Work on a folder in this process."""
    folder.mkdir()
    with Client(folder, environ=SETTINGS) as client:
        client.work()
        yield Speechpipe(client.backend)


# --------------------------------------------------------------------------------------------- the original project


@contextmanager
def seed(logs: Path) -> Iterator[dict[str, Way]]:
    """Run the orchestrator and its two services; yield a client for each of its two ways."""
    logs.mkdir()
    processes, ports = Processes(logs), free_ports(3)
    command = [sys.executable, "-m", "benchmarks.e2e_seed"]
    environment = inherited(**SETTINGS, **CPU, NO_PROXY="127.0.0.1")
    try:
        for stage, port in zip(Stage, ports[1:], strict=True):
            processes.start(stage.value, [*command, stage.value, str(port)], environment, listening(port))
        urls = [f"http://127.0.0.1:{port}/" for port in ports[1:]]
        arguments = ["orchestrator", str(ports[0]), *urls]
        processes.start("orchestrator", [*command, *arguments], environment, listening(ports[0]))
        processes.wait(PATIENCE_SECONDS)
        with httpx.Client(
            base_url=f"http://127.0.0.1:{ports[0]}",
            timeout=PATIENCE_SECONDS,
            limits=httpx.Limits(max_connections=None),
            trust_env=False,
        ) as client:
            yield {
                "in-turn": lambda files: posted(client, "/in-turn", files),
                "in-parallel": lambda files: posted(client, "/in-parallel", files),
            }
    finally:
        processes.stop()


def posted(client: httpx.Client, path: str, files: Sequence[Path]) -> list[Timing]:
    """Post all files to the orchestrator concurrently."""

    def post(file: Path) -> Timing:
        began = time.time()
        answer = client.post(path, content=file.read_bytes()).raise_for_status()
        total = time.time() - began
        return Timing(total, max(each["compute_seconds"] for each in answer.json()))

    with ThreadPoolExecutor(len(files)) as threads:
        return list(threads.map(post, files))


# ---------------------------------------------------------------------------------------------------------- measure


def measure(ways: dict[str, Way], at_once: int, rounds: int) -> dict[str, list[Timing]]:
    """Timings by way. The ways alternate, with random pauses so that uploads do not fall into step with a poller."""
    found: dict[str, list[Timing]] = {name: [] for name in ways}
    chance = random.Random(0)
    for number in range(rounds):
        files = [SAMPLES / FILES[(number + each) % len(FILES)] for each in range(at_once)]
        for name, way in ways.items():
            time.sleep(chance.uniform(0, 0.2))
            found[name] += way(files)
    return found


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["emulators", "embedded", "in-turn", "in-parallel"]
    parser.add_argument("--ways", nargs="+", choices=names, default=names)
    parser.add_argument("--at-once", nargs="+", type=int, default=[1, 8, 64])
    parser.add_argument("--rounds", nargs="+", type=int, default=[80, 8, 3], help="how many for each of these")
    parser.add_argument("--dry", action="store_true", help="do not write the results")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    where = machine()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        ways: dict[str, Way] = {}
        if "emulators" in given.ways:
            ways["emulators"] = stack.enter_context(emulators(Path(name) / "cloud"))
        if "embedded" in given.ways:
            ways["embedded"] = stack.enter_context(embedded(Path(name) / "recordings"))
        if any(way.startswith("in-") for way in given.ways):
            ways |= stack.enter_context(seed(Path(name) / "logs"))
        ways = {way: ways[way] for way in given.ways}
        measure(ways, 4, 3)  # warm up what is created, loaded or compiled once
        found = {}
        for at_once, rounds in zip(given.at_once, given.rounds, strict=True):
            found[at_once] = measure(ways, at_once, rounds)
        for by_way in found.values():
            if "emulators" in by_way:
                by_way["emulators"] = with_push(by_way["emulators"], Path(name) / "cloud" / "traces.jsonl")
    words = (
        f"`python -m benchmarks.e2e`, {where['cores']} cores of {where['cpu']}, milliseconds. Overhead: from the start"
        " of the upload until the completion event or the response is received, without the compute of the slower"
        " stage. Goal on the emulators, one at a time: p50 at most 100, p95 at most 250. Nearly all of `push` and"
        " `hear` is the Pub/Sub emulator's polling, every 50 ms. The module's docstring explains the rest."
    )
    write(where, found, words, dry=given.dry)


if __name__ == "__main__":
    main()
