"""The SQLite file behind the embedded store and bus: a connection per thread, write-ahead log, synchronous commits."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS recordings (
    id TEXT PRIMARY KEY, uri TEXT NOT NULL, status TEXT NOT NULL, queued_at TEXT NOT NULL,
    open INTEGER NOT NULL, body TEXT NOT NULL, result TEXT, changed INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS recordings_by_uri ON recordings (uri);
CREATE INDEX IF NOT EXISTS recordings_by_time ON recordings (queued_at);
CREATE INDEX IF NOT EXISTS recordings_open ON recordings (queued_at) WHERE open;
CREATE INDEX IF NOT EXISTS recordings_by_change ON recordings (changed, id);
CREATE TRIGGER IF NOT EXISTS recording_created AFTER INSERT ON recordings BEGIN
    UPDATE recordings SET changed = (SELECT max(changed) + 1 FROM recordings) WHERE id = NEW.id; END;
CREATE TRIGGER IF NOT EXISTS recording_changed AFTER UPDATE OF body ON recordings BEGIN
    UPDATE recordings SET changed = (SELECT max(changed) + 1 FROM recordings) WHERE id = NEW.id; END;
CREATE TABLE IF NOT EXISTS partials (
    recording_id TEXT, stage TEXT, revision INTEGER, body TEXT NOT NULL,
    PRIMARY KEY (recording_id, stage, revision));
CREATE TABLE IF NOT EXISTS parts (
    recording_id TEXT, stage TEXT, revision INTEGER, part INTEGER, body TEXT NOT NULL,
    PRIMARY KEY (recording_id, stage, revision, part));
CREATE TABLE IF NOT EXISTS leases (
    recording_id TEXT, stage TEXT, revision INTEGER, body TEXT NOT NULL,
    PRIMARY KEY (recording_id, stage, revision));
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, body TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, crashes INTEGER NOT NULL DEFAULT 0,
    taken INTEGER NOT NULL DEFAULT 0, visible_at REAL NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS messages_by_topic ON messages (topic, visible_at);
CREATE TABLE IF NOT EXISTS objects (
    name TEXT, generation TEXT, PRIMARY KEY (name, generation));
"""


class Database:
    """Connections to one file. Writers take turns; readers never wait (https://sqlite.org/wal.html)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._opened: dict[threading.Thread, sqlite3.Connection] = {}
        connection = self.read()
        columns = {row["name"] for row in connection.execute("PRAGMA table_info(recordings)")}
        if columns and "changed" not in columns:  # written by a version that did not count changes
            connection.execute("ALTER TABLE recordings ADD COLUMN changed INTEGER NOT NULL DEFAULT 0")
        connection.executescript(_SCHEMA)

    def read(self) -> sqlite3.Connection:
        """The calling thread's connection, in autocommit mode."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            self._close_ended_threads()
            # check_same_thread is off only so that another thread may close it: no two threads use a connection.
            connection = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA secure_delete=ON")  # overwrite deleted content
            self._local.connection = connection
            self._opened[threading.current_thread()] = connection
        return connection

    def _close_ended_threads(self) -> None:
        """Close the connections of threads that have ended: every recording starts new threads."""
        for thread in list(self._opened):
            if not thread.is_alive() and (connection := self._opened.pop(thread, None)):
                connection.close()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Hold the write lock for a block. On leaving, all its writes are durable, or none are."""
        connection = self.read()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # SQLite ends it if the disk is full, but not if the file is busy
                connection.execute("ROLLBACK")
            raise

    def shrink_log(self) -> None:
        """Drop old pages from the write-ahead log, unless a reader still needs them."""
        self.read().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close every thread's connection; the threads must have ended."""
        for connection in self._opened.values():
            connection.close()
        self._opened.clear()
        self._local = threading.local()
