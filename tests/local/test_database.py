"""The embedded backend's file: its connections come and go with threads."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from speechpipe.local.database import Database


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
