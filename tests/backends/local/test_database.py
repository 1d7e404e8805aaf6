"""The embedded backend's file: its connections come and go with threads."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

import pytest

from speechpipe.backends.local.database import Database


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_threads_that_have_ended_leave_no_connection(tmp_path: Path) -> None:
    """Each recording has a heartbeat in a thread of its own: a runner would be out of files after some hundred."""
    database = Database(tmp_path / "state.sqlite3")
    before = open_files()
    for _ in range(30):
        thread = threading.Thread(target=lambda: database.read().execute("SELECT 1 FROM recordings").fetchall())
        thread.start()
        thread.join()
    assert open_files() < before + 10
    assert database.read().execute("SELECT count(*) FROM recordings").fetchone()[0] == 0
    database.close()
    assert open_files() < before


def test_a_full_disk_leaves_no_transaction_open(tmp_path: Path) -> None:
    """One that stays open would hold the write lock for ever, and refuse every later one of its thread."""
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
