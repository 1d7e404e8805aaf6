"""Objects that no event told of become recordings: those from before speechpipe, and those whose event was lost.

A ledger, a file on this machine, holds each object that is done, so that a backfill goes on where it was cut off.
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
from speechpipe.pipeline.admission import check_size
from speechpipe.pipeline.steps import is_ours
from speechpipe.settings import Limits

#: So many objects that fail in a row are no longer the objects' doing.
_FAILURES = 5
_SCHEMA = """
CREATE TABLE IF NOT EXISTS backfill (target TEXT NOT NULL, started_at TEXT NOT NULL, finished_at TEXT);
CREATE TABLE IF NOT EXISTS objects (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, generation TEXT NOT NULL, outcome TEXT NOT NULL, at TEXT NOT NULL);
"""


class Outcome(StrEnum):
    """What became of an object."""

    NEW = "new"  #: it is a recording now, and queued
    KNOWN = "known"  #: it was a recording before
    HELD = "held"  #: it is a recording now, over a cap
    REJECTED = "rejected"  #: it is a recording now, and can never work
    IGNORED = "ignored"  #: a folder placeholder, or outside the prefix that is ours


class Ledger:
    """Which objects of a target are done, in an SQLite file; each is in it once, and at once durable."""

    def __init__(self, path: Path, target: str, *, resume: bool, now: datetime) -> None:
        """Begin one, or with `resume` go on with what is there.

        Raises NotFinal without `resume` where one was cut off; one that was finished is begun anew.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._database = sqlite3.connect(path, timeout=60, isolation_level=None)
        self._database.executescript(_SCHEMA)
        begun = self._database.execute("SELECT started_at, finished_at FROM backfill").fetchone()
        if begun and not resume:
            if begun[1] is None:
                raise NotFinal(
                    f"a backfill of {target or 'all files'} was cut off; --resume goes on, --ledger FILE begins another"
                )
            self._database.executescript("DELETE FROM backfill; DELETE FROM objects;")
        if not (begun and resume):
            self._database.execute("INSERT INTO backfill VALUES (?, ?, NULL)", (target, now.isoformat()))
        (started_at,) = self._database.execute("SELECT started_at FROM backfill").fetchone()
        self.started_at = datetime.fromisoformat(started_at)

    def has(self, recording_id: str) -> bool:
        """Whether that object is done."""
        query = "SELECT 1 FROM objects WHERE id = ?"
        return self._database.execute(query, (recording_id,)).fetchone() is not None

    def note(self, source: Source, outcome: Outcome, at: datetime) -> None:
        """It is done. Again, nothing changes."""
        row = (source.recording_id, source.name, source.generation, outcome.value, at.isoformat())
        self._database.execute("INSERT OR IGNORE INTO objects VALUES (?, ?, ?, ?, ?)", row)

    def totals(self) -> Counter[str]:
        """Objects by outcome."""
        return Counter(dict(self._database.execute("SELECT outcome, count(*) FROM objects GROUP BY outcome")))

    def finish(self, at: datetime) -> None:
        """All objects are done."""
        self._database.execute("UPDATE backfill SET finished_at = ?", (at.isoformat(),))

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def ledger_name(target: str, *within: str) -> str:
    """A file name for a target, which is another in another project."""
    digest = hashlib.sha256("\n".join((target, *within)).encode()).hexdigest()[:8]
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", target.removeprefix("gs://")).strip("-.")[:60]
    return f"{readable or 'all'}-{digest}.sqlite3"


class Throttle:
    """So many a second at most, evenly."""

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
        """Wait for the next one's turn. What was slow by itself is not made up for by a burst."""
        now = self._clock()
        if now < self._next:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + self._pause


def backfill(
    sources: Iterable[Source],
    ledger: Ledger,
    *,
    store: Store,
    ingest: Callable[[Source], Recording | None],
    clock: Callable[[], datetime],
    throttle: Throttle,
) -> Iterator[tuple[Source, Outcome | Exception | None]]:
    """Make recordings of objects, one after another; what became of each, or what failed, as it happens.

    None for one that the ledger has. What failed is not in the ledger. Raises what fails many times in a row.
    """
    failures = 0
    for source in sources:
        if ledger.has(source.recording_id):
            yield source, None
            continue
        try:
            outcome = _made(source, ledger, store, ingest, throttle)
        except Exception as error:
            failures += 1
            if failures == _FAILURES:
                raise
            yield source, error
            continue
        failures = 0
        ledger.note(source, outcome, clock())
        yield source, outcome
    if not failures:
        ledger.finish(clock())


def _made(
    source: Source,
    ledger: Ledger,
    store: Store,
    ingest: Callable[[Source], Recording | None],
    throttle: Throttle,
) -> Outcome:
    known = store.recording(source.recording_id)
    if known and (known.queued_at < ledger.started_at or known.status is Status.ERASED):
        return Outcome.KNOWN
    # One from after the beginning may be ours, cut off before its tasks were published: ingest does what is missing.
    throttle.wait()
    recording = ingest(source)
    return _outcome(recording) if recording else Outcome.IGNORED


def _outcome(recording: Recording) -> Outcome:
    if recording.status is Status.HELD:
        return Outcome.HELD
    return Outcome.REJECTED if recording.accepted_at is None else Outcome.NEW


def foreseen(source: Source, limits: Limits, store: Store) -> Outcome:
    """What an object would become, as far as that is known without reading it."""
    if not is_ours(source, limits):
        return Outcome.IGNORED
    if store.recording(source.recording_id):
        return Outcome.KNOWN
    try:
        parse_options(source.metadata)
        check_size(source.size, limits.max_bytes)
    except Rejected:
        return Outcome.REJECTED
    return Outcome.NEW
