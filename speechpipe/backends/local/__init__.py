"""The embedded backend: a folder is the bucket, SQLite the store and the bus. One machine, no cloud, no Java.

Tests use it as a fake. It serialises everything, so a value that cannot cross a wire fails here first.
"""

from __future__ import annotations

from pathlib import Path

from speechpipe.backends.local.bus import LocalBus, LocalCompletions, LocalDeadLetters
from speechpipe.backends.local.database import Database
from speechpipe.backends.local.disk import written_below
from speechpipe.backends.local.folder import FolderUploads
from speechpipe.backends.local.results import FolderResults
from speechpipe.backends.local.store import SqliteStore
from speechpipe.backends.ports import Backend

#: What speechpipe keeps inside the folder: state, results and half-written uploads.
STATE_FOLDER = ".speechpipe"
TRACES_FILE = "traces.jsonl"


def open_state(state: Path) -> Database:
    """The database of a state folder, both made if needed. Raises FolderUnusable."""
    with written_below(state):
        state.mkdir(exist_ok=True)
        return Database(state / "state.sqlite3")


def connect(directory: Path) -> Backend:
    """Open the backend of a folder, creating its state folder if needed. Raises NotADirectoryError, FolderUnusable."""
    directory = directory.resolve()
    if not directory.is_dir():
        raise NotADirectoryError(f"{directory} is not a folder")
    state = directory / STATE_FOLDER
    database = open_state(state)
    bus = LocalBus(database)
    return Backend(
        store=SqliteStore(database),
        bus=bus,
        uploads=FolderUploads(directory, state / "uploading", bus.finalized),
        results=FolderResults(state / "results", state / "staging"),
        completions=LocalCompletions(bus),
        dead_letters=LocalDeadLetters(database),
    )
