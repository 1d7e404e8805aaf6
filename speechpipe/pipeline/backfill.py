"""Make recordings of objects that had no event: uploads from before speechpipe, and those whose event was lost.

A ledger, a file on this machine, lists every object that is done, so an interrupted backfill can resume.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from speechpipe.backends.ports import Store
from speechpipe.contract import Recording, Source, Status
from speechpipe.contract.errors import NotFinal, Rejected
from speechpipe.contract.options import parse_options
from speechpipe.pipeline.admission import check_object
from speechpipe.pipeline.ingest import ingest, is_ours
from speechpipe.pipeline.world import World
from speechpipe.settings import Limits

#: After this many failures in a row, the objects are not to blame.
_FAILURES = 5
_SCHEMA = """
CREATE TABLE IF NOT EXISTS backfill (target TEXT NOT NULL, started_at TEXT NOT NULL, finished_at TEXT);
CREATE TABLE IF NOT EXISTS objects (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, generation TEXT NOT NULL, outcome TEXT NOT NULL, at TEXT NOT NULL);
"""


class Outcome(StrEnum):
    """What became of an object."""

    NEW = "new"  #: it has become a recording, which is queued
    KNOWN = "known"  #: it was a recording before
    HELD = "held"  #: it has become a recording, which is over a cap
    REJECTED = "rejected"  #: it has become a recording, which can never work
    IGNORED = "ignored"  #: a folder placeholder, or outside our prefix


class Ledger:
    """Which objects of a target are done, in an SQLite file. Each is listed once, and is durable immediately."""

    def __init__(self, path: Path, target: str, *, resume: bool, now: datetime) -> None:
        """Start a ledger, or continue the existing one with `resume`. A finished ledger is started over.

        Raises NotFinal without `resume` if the last backfill was interrupted.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._database = sqlite3.connect(path, timeout=60, isolation_level=None)
        self._database.executescript(_SCHEMA)
        begun = self._database.execute("SELECT started_at, finished_at FROM backfill").fetchone()
        if begun and not resume:
            if begun[1] is None:
                raise NotFinal(
                    f"a backfill of {target or 'all files'} was interrupted; --resume continues it,"
                    " --ledger FILE starts another"
                )
            self._database.executescript("DELETE FROM backfill; DELETE FROM objects;")
        if not (begun and resume):
            self._database.execute("INSERT INTO backfill VALUES (?, ?, NULL)", (target, now.isoformat()))
        (started_at,) = self._database.execute("SELECT started_at FROM backfill").fetchone()
        self.started_at = datetime.fromisoformat(started_at)

    def has(self, recording_id: str) -> bool:
        """Whether this object is done."""
        query = "SELECT 1 FROM objects WHERE id = ?"
        return self._database.execute(query, (recording_id,)).fetchone() is not None

    def note(self, source: Source, outcome: Outcome, at: datetime) -> None:
        """Note that an object is done. May be repeated."""
        row = (source.recording_id, source.name, source.generation, outcome.value, at.isoformat())
        self._database.execute("INSERT OR IGNORE INTO objects VALUES (?, ?, ?, ?, ?)", row)

    def totals(self) -> Counter[str]:
        """The number of objects by outcome."""
        return Counter(dict(self._database.execute("SELECT outcome, count(*) FROM objects GROUP BY outcome")))

    def finish(self, at: datetime) -> None:
        """Note that all objects are done."""
        self._database.execute("UPDATE backfill SET finished_at = ?", (at.isoformat(),))

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def ledger_name(target: str, *within: str) -> str:
    """A file name for a target. It differs between projects."""
    digest = hashlib.sha256("\n".join((target, *within)).encode()).hexdigest()[:8]
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", target.removeprefix("gs://")).strip("-.")[:60]
    return f"{readable or 'all'}-{digest}.sqlite3"


class Throttle:
    """At most `rate` a second, evenly spaced."""

    def __init__(
        self,
        rate: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._pause, self._clock, self._sleep = 1 / rate, clock, sleep
        self._next = clock()

    def wait(self) -> None:
        """Wait for the next turn. Time lost to slow work is not made up for with a burst."""
        now = self._clock()
        if now < self._next:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + self._pause


def backfill(
    sources: Iterable[Source], ledger: Ledger, world: World, throttle: Throttle
) -> Iterator[tuple[Source, Outcome | Exception | None]]:
    """Make recordings of objects one by one; yield each object's outcome, or the error, as it happens.

    None for an object that is in the ledger already. Failed objects stay out of the ledger. Raises the error once
    several objects in a row have failed.
    """
    failures = 0
    for source in sources:
        if ledger.has(source.recording_id):
            yield source, None
            continue
        try:
            outcome = _ingested(source, ledger, world, throttle)
        except Exception as error:
            failures += 1
            if failures == _FAILURES:
                raise
            yield source, error
            continue
        failures = 0
        ledger.note(source, outcome, world.clock())
        yield source, outcome
    if not failures:
        ledger.finish(world.clock())


def _ingested(source: Source, ledger: Ledger, world: World, throttle: Throttle) -> Outcome:
    known = world.store.recording(source.recording_id)
    if known and (known.queued_at < ledger.started_at or known.status is Status.ERASED):
        return Outcome.KNOWN
    # A recording made since the start may be ours, cut off before its tasks were published: ingest does what is
    # missing.
    throttle.wait()
    recording = ingest(source, world)
    return _outcome(recording) if recording else Outcome.IGNORED


def _outcome(recording: Recording) -> Outcome:
    if recording.status is Status.HELD:
        return Outcome.HELD
    return Outcome.REJECTED if recording.accepted_at is None else Outcome.NEW


def foreseen(source: Source, limits: Limits, store: Store) -> Outcome:
    """What would become of an object, as far as one can tell without reading it."""
    if not is_ours(source, limits):
        return Outcome.IGNORED
    if store.recording(source.recording_id):
        return Outcome.KNOWN
    try:
        parse_options(source.metadata)
        check_object(source, limits.max_bytes)
    except Rejected:
        return Outcome.REJECTED
    return Outcome.NEW
