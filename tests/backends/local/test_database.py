"""The embedded backend's file: connections per thread, and transactions that fail."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from speechpipe.backends.local.database import Database


def open_files(database: Database) -> int:
    """How many open files of this process belong to the database."""
    targets = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # closed by another thread since the listing
            targets.append(os.readlink(f"/proc/self/fd/{number}"))
    return sum(target.startswith(str(database.path)) for target in targets)


def test_threads_that_have_ended_leave_no_connection(tmp_path: Path) -> None:
    """Each recording's heartbeat has its own thread: a runner would run out of files after a few hundred recordings."""
    database = Database(tmp_path / "state.sqlite3")
    before = open_files(database)
    for _ in range(30):
        thread = threading.Thread(target=lambda: database.read().execute("SELECT 1 FROM recordings").fetchall())
        thread.start()
        thread.join()
    assert open_files(database) < before + 10
    assert database.read().execute("SELECT count(*) FROM recordings").fetchone()[0] == 0
    database.close()
    assert open_files(database) == 0 < before


def test_a_full_disk_leaves_no_transaction_open(tmp_path: Path) -> None:
    """An open transaction would hold the write lock for ever and make every later one of its thread fail."""
    database = Database(tmp_path / "state.sqlite3")
    database.read().execute("PRAGMA max_page_count = 40")  # as if the disk had room for no more

    def write(size: int) -> None:
        with database.write() as connection:
            connection.execute("INSERT INTO messages (topic, body) VALUES ('stt-tasks', ?)", ("x" * size,))

    with pytest.raises(sqlite3.OperationalError, match="full"):
        write(1_000_000)
    write(10)
    assert database.read().execute("SELECT count(*) FROM messages").fetchone()[0] == 1
    database.close()


def test_a_commit_that_fails_leaves_no_transaction_open(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.sqlite3")
    connection = database.read()
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("CREATE TABLE child (parent TEXT REFERENCES recordings (id) DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(sqlite3.IntegrityError), database.write() as writing:
        writing.execute("INSERT INTO child VALUES ('nobody')")  # found at the commit
    assert not connection.in_transaction
    with database.write() as writing:
        writing.execute("INSERT INTO messages (topic, body) VALUES ('stt-tasks', '')")
    database.close()
