"""The console's search index: a copy of all rows and transcripts, private to this process.

It is a temporary SQLite database: it has no name, spills to disk and disappears with the process. Ten thousand
recordings of ten minutes take about 100 MB. `words` says what a search finds.
"""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from speechpipe.console import words
from speechpipe.console.rows import audio_seconds, row_of
from speechpipe.contract import HalfStatus, Recording, Stage, Status

_SCHEMA = """
CREATE TABLE recordings (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, revision INTEGER NOT NULL, queued_at TEXT NOT NULL,
    status TEXT NOT NULL, language TEXT, emotion TEXT, finished_at TEXT, expires_at TEXT, seconds REAL, compute REAL,
    read INTEGER NOT NULL DEFAULT 0, row TEXT NOT NULL);
CREATE INDEX by_time ON recordings (queued_at DESC, id DESC);
CREATE INDEX by_status ON recordings (status, queued_at DESC, id DESC);
CREATE INDEX by_end ON recordings (finished_at);
CREATE INDEX unread ON recordings (queued_at DESC) WHERE read = 0;
CREATE TABLE halves (number INTEGER, stage TEXT, status TEXT, queued_at TEXT, PRIMARY KEY (number, stage));
CREATE INDEX halves_open ON halves (status, stage);
CREATE VIRTUAL TABLE texts USING fts5(text, tokenize = "ascii");
"""
#: Throughput is measured over this period.
THROUGHPUT_WINDOW = timedelta(minutes=10)
_ID = re.compile(r"rec_[a-z0-9]+", re.ASCII)
#: Statuses of recordings that have a record, and so a transcript to index.
_WITH_RECORD = (Status.COMPLETED, Status.PARTIAL)


@dataclass(frozen=True)
class Query:
    """Filters of the list. None and the empty text match everything."""

    text: str = ""
    status: str | None = None
    language: str | None = None
    emotion: str | None = None
    since: datetime | None = None  #: queued at this time or later
    until: datetime | None = None  #: queued before this time


class Index:
    """The index. Thread-safe: a lock serialises all access."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._database.row_factory = sqlite3.Row
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Delete the database."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._database:
            self._database.execute("BEGIN")
            yield self._database

    def upsert(self, recordings: Iterable[Recording], now: datetime) -> list[dict[str, Any]]:
        """Store recordings as they are now and return their rows. An erased recording loses its text here too."""
        rows = [(recording, row_of(recording, now)) for recording in recordings]
        with self._writing() as database:
            for recording, row in rows:
                self._upsert(database, recording, row)
        return [row for _, row in rows]

    def _upsert(self, database: sqlite3.Connection, recording: Recording, row: dict[str, Any]) -> None:
        query = (
            "SELECT number, revision, read AND status IN ('completed', 'partial') AS read FROM recordings WHERE id = ?"
        )
        known = database.execute(query, (recording.id,)).fetchone()
        # Each revision's transcript is read once. Until then, the preview from the document is searched instead.
        read = bool(known and known["read"] and known["revision"] == recording.revision)
        columns = {
            "number": known["number"] if known else None,
            "id": recording.id,
            "revision": recording.revision,
            "queued_at": _sortable(recording.queued_at),
            "status": recording.status.value,
            "language": row["language"],
            "emotion": row["emotion"],
            "finished_at": _sortable(recording.finished_at),
            "expires_at": _sortable(recording.expires_at),
            "seconds": audio_seconds(recording),
            "compute": sum(half.compute_seconds or 0.0 for half in recording.halves.values()),
            "read": read or recording.status not in _WITH_RECORD,
            "row": json.dumps(row, ensure_ascii=False, separators=(",", ":")),
        }
        names, values = ", ".join(columns), ", ".join(f":{name}" for name in columns)
        number = database.execute(f"INSERT OR REPLACE INTO recordings ({names}) VALUES ({values})", columns).lastrowid
        assert number is not None
        database.execute("DELETE FROM halves WHERE number = ?", (number,))
        database.executemany(
            "INSERT INTO halves VALUES (?, ?, ?, ?)",
            [
                (
                    number,
                    stage.value,
                    recording.halves[stage].status.value,
                    _sortable(recording.halves[stage].queued_at),
                )
                for stage in recording.options.stages
                if recording.status in (Status.QUEUED, Status.PROCESSING)
            ],
        )
        if not read:
            self._write_text(database, number, _search_text(row, row["preview"]))

    @staticmethod
    def _write_text(database: sqlite3.Connection, number: int, text: str) -> None:
        database.execute("DELETE FROM texts WHERE rowid = ?", (number,))
        database.execute("INSERT INTO texts (rowid, text) VALUES (?, ?)", (number, text))

    def remove(self, recording_id: str) -> None:
        """Remove a recording that the store no longer has."""
        with self._writing() as database:
            found = database.execute("DELETE FROM recordings WHERE id = ? RETURNING number", (recording_id,)).fetchall()
            for (number,) in found:
                database.execute("DELETE FROM halves WHERE number = ?", (number,))
                database.execute("DELETE FROM texts WHERE rowid = ?", (number,))

    # ------------------------------------------------------------------------------------------- transcripts

    def without_transcript(self, limit: int) -> list[tuple[str, int]]:
        """Ids and revisions of recordings whose transcript is not indexed yet, newest first."""
        query = "SELECT id, revision FROM recordings WHERE read = 0 ORDER BY queued_at DESC LIMIT ?"
        with self._lock:
            return [(row["id"], row["revision"]) for row in self._database.execute(query, (limit,))]

    def add_transcript(self, recording_id: str, revision: int, text: str | None) -> None:
        """Index the transcript of a recording's revision. None: it cannot be read, so stop asking for it."""
        with self._writing() as database:
            found = database.execute(
                "UPDATE recordings SET read = 1 WHERE id = ? AND revision = ? AND read = 0 RETURNING number, row",
                (recording_id, revision),
            ).fetchone()
            if found and text is not None:
                self._write_text(database, found["number"], _search_text(json.loads(found["row"]), text))

    # ----------------------------------------------------------------------------------------------- queries

    def search(self, query: Query, now: datetime, *, offset: int = 0, limit: int = 100) -> tuple[int, list[str]]:
        """The number of matching recordings, and one page of their rows as JSON, newest first."""
        where, values = _where(query, now)
        source = "recordings"
        if match := _fts_query(query.text):
            # CROSS JOIN makes SQLite search the texts first. Otherwise it looks up every recording of a status in the
            # texts, which takes seconds.
            source = "texts CROSS JOIN recordings ON recordings.number = texts.rowid"
            where.append("texts MATCH ?")
            values.append(match)
        elif query.text.strip():
            return 0, []  # the query has no word in it
        condition = " AND ".join(where)
        page = f"SELECT row FROM {source} WHERE {condition} ORDER BY queued_at DESC, id DESC LIMIT ? OFFSET ?"
        with self._lock:
            (total,) = self._database.execute(f"SELECT count(*) FROM {source} WHERE {condition}", values).fetchone()
            rows = [row["row"] for row in self._database.execute(page, (*values, limit, offset))]
        return total, rows

    def counters(self, now: datetime) -> dict[str, Any]:
        """Recordings by status, language and emotion, the backlog of each stage, and recent throughput."""
        since = _sortable(now - THROUGHPUT_WINDOW)
        with self._lock:
            counts = {name: self._count_by(name) for name in ("status", "language", "emotion")}
            done = self._database.execute(
                "SELECT count(*) AS recordings, total(seconds) AS audio, total(compute) AS compute FROM recordings"
                " WHERE finished_at >= ? AND status != ?",
                (since, Status.ERASED.value),
            ).fetchone()
            stages = {stage.value: self._backlog(stage, now) for stage in Stage}
            (unread,) = self._database.execute("SELECT count(*) FROM recordings WHERE read = 0").fetchone()
        return {
            "states": {status.value: counts["status"].get(status.value, 0) for status in Status},
            "languages": counts["language"],
            "emotions": counts["emotion"],
            "stages": stages,
            "recently": {
                "minutes": THROUGHPUT_WINDOW.total_seconds() / 60,
                "recordings": done["recordings"],
                "audio_seconds": round(done["audio"], 1),
                "compute_seconds": round(done["compute"], 1),
            },
            "unread": unread,
        }

    def _count_by(self, column: str) -> dict[str, int]:
        query = (
            f"SELECT {column} AS name, count(*) AS n FROM recordings WHERE {column} NOTNULL GROUP BY 1 ORDER BY 2 DESC"
        )
        return {row["name"]: row["n"] for row in self._database.execute(query)}

    def _backlog(self, stage: Stage, now: datetime) -> dict[str, Any]:
        query = "SELECT count(*) AS n, min(queued_at) AS oldest FROM halves WHERE stage = ? AND status = ?"
        waiting = self._database.execute(query, (stage.value, HalfStatus.QUEUED.value)).fetchone()
        running = self._database.execute(query, (stage.value, HalfStatus.PROCESSING.value)).fetchone()
        oldest = waiting["oldest"]
        return {
            "waiting": waiting["n"],
            "running": running["n"],
            "oldest_at": oldest,
        }


def _where(query: Query, now: datetime) -> tuple[list[str], list[Any]]:
    where, values = ["(expires_at IS NULL OR expires_at > ?)"], [_sortable(now)]
    for column in ("status", "language", "emotion"):
        if wanted := getattr(query, column):
            where.append(f"{column} = ?")
            values.append(wanted)
    if query.since:
        where.append("queued_at >= ?")
        values.append(_sortable(query.since))
    if query.until:
        where.append("queued_at < ?")
        values.append(_sortable(query.until))
    return where, values


def _fts_query(text: str) -> str:
    """A search as an FTS5 query: all its terms must occur. Ids are found by their beginning."""
    return " ".join(f'"{term}"*' if _ID.fullmatch(term) else words.query(term) for term in text.split()).strip()


def _search_text(row: dict[str, Any], text: str) -> str:
    # The id stays whole: a search for 42 should not find it for two of its digits.
    found_by = "\n".join((row["name"], row["ref"], text))
    return f"{words.indexed(found_by)} {row['id']}"


def _sortable(at: datetime | None) -> str | None:
    """A UTC time as text that sorts chronologically, always with milliseconds."""
    return at.isoformat(timespec="milliseconds") if at else None
