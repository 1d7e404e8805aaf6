"""Embedded chaos: a real Runner on a folder, killed again and again while everything around it fails.

Where this user may mount file systems, the folder is on a small one, which fills up for a while now and then. Elsewhere
`ENOSPC` is among the errors that calls raise.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from speechpipe.backends import local
from speechpipe.backends.local import STATE_FOLDER
from speechpipe.backends.local.folder import METADATA_SUFFIX
from speechpipe.backends.ports import Backend
from speechpipe.contract import Analysis, Completion, Lease, Partial, Record, Recording, Status, recording_id, wire
from tests.chaos import left
from tests.chaos.books import Inventory, Key, digest
from tests.chaos.counters import Counters
from tests.chaos.embedded_child import ENOUGH, THREAD_DIED
from tests.chaos.people import requests
from tests.chaos.plan import File, Plan

BUCKET = "bucket"
BACKLOG = 300  #: the most uploads that are not final at the same time
BYTES_PER_UPLOAD, SPARE_BYTES = 120_000, 200_000_000
ASKED = 5  #: redrives and erasures tried in one pass of the loop
LIFE_SECONDS = (2.0, 12.0)  #: how long a process lives before it is killed
FULL_SECONDS, FULL_EVERY = (0.5, 2.5), (10.0, 25.0)
LAST_SECONDS = 300.0  #: how long an undisturbed Runner may take to finish

#: A trigger in the database records every partial when it is created, so that any later change is noticed.
_WITNESS = """
CREATE TABLE IF NOT EXISTS witnessed (recording_id TEXT, stage TEXT, revision INTEGER, body TEXT);
CREATE TRIGGER IF NOT EXISTS witness AFTER INSERT ON partials BEGIN
    INSERT INTO witnessed VALUES (new.recording_id, new.stage, new.revision, new.body); END;
"""


M = TypeVar("M", Partial, Lease)


class NotSettled(AssertionError):
    """The run did not settle in time."""


@dataclass
class Run:
    """One run of a plan, undisturbed (`calm`) or with faults."""

    plan: Plan
    root: Path
    calm: bool
    seconds: float = 0.0
    died: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def bucket(self) -> Path:
        """The Runner's folder. Its name is part of every recording id, so it is the same in every run."""
        return self.root / BUCKET

    def work(self, limit_seconds: float) -> Inventory:
        """Run until the folder has settled. Returns what exists then."""
        self.bucket.mkdir(parents=True)
        counters = self.root.parent / f"{self.root.name}-counters"
        with left.marked(self.root.parent / f"{self.root.name}-tmp") as mark:
            backend = local.connect(self.bucket)
            database = sqlite3.connect(self.bucket / STATE_FOLDER / "state.sqlite3", timeout=60)
            database.executescript(_WITNESS)
            began = time.monotonic()
            self._disturb(backend, database, counters, began + limit_seconds)
            self.seconds = time.monotonic() - began
            if not self.calm:
                self._calm(counters)
            inventory = _inventory(self.plan, self.bucket, backend, database)
            database.close()
            inventory.processes = left.processes(mark) + self.died
            inventory.litter += left.litter(self.root.parent / f"{self.root.name}-tmp")
        self.counts |= Counters(counters / "faults").all()
        return inventory

    def _disturb(self, backend: Backend, database: sqlite3.Connection, counters: Path, deadline: float) -> None:
        rng = self.plan.rng("harness")
        feeding = self.plan.files[::-1]
        errors = (sqlite3.OperationalError, OSError)
        asked = [] if self.calm else requests(self.plan, backend, lambda number: _id(File(number)), errors)
        disk = _Disk(self.root, rng)
        child, kill_at = self._start(counters, 0), time.monotonic() + rng.uniform(*LIFE_SECONDS)
        incarnation = 0
        try:
            while child.poll() != 0:
                now = time.monotonic()
                if now > deadline:
                    raise NotSettled(f"seed {self.plan.seed}: not settled in time")
                if child.returncode is not None or (now >= kill_at and not self.calm):
                    self._end(child)
                    incarnation += 1
                    child, kill_at = self._start(counters, incarnation), now + rng.uniform(*LIFE_SECONDS)
                _feed(self.bucket, feeding, self.plan.count, database)
                asked = [request for request in asked[:ASKED] if not request()] + asked[ASKED:]
                rng.shuffle(asked)
                if not feeding and not asked:
                    with suppress(OSError):
                        (self.bucket / STATE_FOLDER / ENOUGH).touch()
                if not self.calm:
                    disk.look(now)
                time.sleep(0.05)
        finally:
            disk.empty()
            child.kill()
            child.wait()
        self.counts["times the disk was full"] = disk.times

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        """Kill the process, unless it has already exited."""
        if child.returncode is None:
            child.kill()
            child.wait()
            self._count("processes killed")
        else:
            self._count("processes that exited by themselves")
        if child.returncode == THREAD_DIED:
            self.died.append("a thread of the Runner died")

    def _calm(self, counters: Path) -> None:
        """Start the Runner once more, without faults: it must finish."""
        child = self._start(counters, 0, calm=True)
        try:
            status = child.wait(LAST_SECONDS)
        except subprocess.TimeoutExpired:
            raise NotSettled(f"seed {self.plan.seed}: an undisturbed Runner does not settle") from None
        finally:
            child.kill()
            child.wait()
        if status:
            raise NotSettled(f"seed {self.plan.seed}: an undisturbed Runner exited with {status}")

    def _start(self, counters: Path, incarnation: int, *, calm: bool = False) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.chaos.embedded_child", str(self.bucket), str(counters)]
        command += [f"--seed={self.plan.seed}", f"--incarnation={incarnation}"]
        command += ["--calm"] if calm or self.calm else []
        command += ["--past-deadline"] if self.plan.past_deadline else []
        with (self.root.parent / f"{self.root.name}.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


def _feed(bucket: Path, feeding: list[File], count: int, database: sqlite3.Connection) -> None:
    """Upload more files while the backlog allows, as any program would: each appears complete."""
    ended = database.execute("SELECT count(*) FROM recordings WHERE NOT open").fetchone()[0]
    while feeding and count - len(feeding) - ended < BACKLOG:
        file = feeding[-1]
        try:
            if file.metadata:
                (bucket / f"{file.name}{METADATA_SUFFIX}").write_text(json.dumps(file.metadata))
            staged = bucket / f".{file.number}"
            staged.write_bytes(file.body)
            os.utime(staged, ns=(file.generation, file.generation))
            staged.rename(bucket / file.name)
        except OSError:  # the disk is full: the uploader retries later
            return
        feeding.pop()


def _id(file: File) -> str:
    return recording_id(BUCKET, file.name, str(file.generation))


class _Disk:
    """The small file system, which a large file fills for a while now and then."""

    def __init__(self, root: Path, rng: random.Random) -> None:
        self._path, self._rng = root / "ballast", rng
        self._next = time.monotonic() + rng.uniform(*FULL_EVERY) if os.path.ismount(root) else math.inf
        self.times = 0

    def look(self, now: float) -> None:
        """Fill the file system, or free it, if it is time."""
        if now < self._next:
            return
        if self._path.exists():
            self.empty()
            self._next = now + self._rng.uniform(*FULL_EVERY)
        else:
            self._fill()
            self._next = now + self._rng.uniform(*FULL_SECONDS)

    def _fill(self) -> None:
        self.times += 1
        with suppress(OSError):
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT)
            try:
                os.posix_fallocate(file, 0, shutil.disk_usage(self._path).free)
            finally:
                os.close(file)

    def empty(self) -> None:
        """Free the file system."""
        self._path.unlink(missing_ok=True)


@contextmanager
def file_system(root: Path, uploads: int) -> Iterator[None]:
    """Mount a small file system on a folder, where that is allowed; remove the folder afterwards."""
    root.mkdir(parents=True)
    size = uploads * BYTES_PER_UPLOAD + SPARE_BYTES
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(root)]
    mounted = not subprocess.run(command, capture_output=True, check=False).returncode
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(root)], check=True)
        shutil.rmtree(root)


# --------------------------------------------------------------------------------------------------- the books


def _inventory(plan: Plan, bucket: Path, backend: Backend, database: sqlite3.Connection) -> Inventory:
    results = bucket / STATE_FOLDER / "results"
    recordings = {}
    for body, result in database.execute("SELECT body, result FROM recordings"):
        found = Recording.model_validate(json.loads(body) | {"result": result and json.loads(result)})
        recordings[found.id] = found
    partials = {_key(each): each for each in _rows(database, "partials", Partial)}
    analyses = {}
    for key, partial in partials.items():
        if partial.analysis_uri:
            analyses[key] = Analysis.model_validate_json(backend.results.read(partial.analysis_uri))
        elif partial.analysis:
            analyses[key] = partial.analysis
    first: dict[Key, str] = {}
    twice: list[str] = []
    for partial in _rows(database, "witnessed", Partial):
        key = _key(partial)
        if key in first and recordings[key[0]].status is not Status.ERASED:
            twice.append(f"{key} was created twice")
        first.setdefault(key, digest(partial))
    files = {
        folder.name: [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        for folder in (results.iterdir() if results.is_dir() else ())
    }
    records = {}
    for recording in recordings.values():
        for revision in range(1, recording.revision + 1):
            with suppress(FileNotFoundError):
                text = (results / recording.id / f"r{revision}" / "record.json").read_bytes()
                records[recording.id, revision] = Record.model_validate_json(text)
    return Inventory(
        uploads={_id(file): file.name for file in plan.files},
        recordings=recordings,
        partials=partials,
        first=first,
        leases=list(_rows(database, "leases", Lease)),
        records=records,
        files=files,
        analyses=analyses,
        events=list(_events(database)),
        unfinished=len(backend.store.unfinished(limit=10)),
        litter=twice + litter_in(bucket),
    )


def _key(partial: Partial) -> Key:
    return partial.recording_id, partial.stage, partial.revision


def _rows(database: sqlite3.Connection, table: str, kind: type[M]) -> Iterator[M]:
    for (body,) in database.execute(f"SELECT body FROM {table}"):
        yield kind.model_validate_json(body)


def _events(database: sqlite3.Connection) -> Iterator[Completion]:
    for (body,) in database.execute("SELECT body FROM messages WHERE topic = 'completions'"):
        message = json.loads(body)
        yield wire.completion_from_message(message["data"].encode(), message["attributes"])


def litter_in(bucket: Path) -> list[str]:
    """Files that were started and never finished."""
    state = bucket / STATE_FOLDER
    begun = [path for path in (state / "results").rglob(".*") if path.is_file()]
    begun += [path for folder in ("uploading", "staging", "scratch") for path in (state / folder).glob("*")]
    return [f"{path.relative_to(state)} was left" for path in begun]
