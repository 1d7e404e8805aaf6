"""What the disk under a folder can do, and what to say if it cannot be written."""

from __future__ import annotations

import errno
import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speechpipe.contract.errors import FolderUnusable

#: A file system that is full, over its quota, or read-only.
_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
#: What SQLite says then (https://sqlite.org/rescode.html).
_CODES = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
#: Written to find out whether a disk has room: that of a few records.
_PROBE_BYTES = 1 << 20


def is_unusable(error: BaseException) -> bool:
    """Whether an error says that the disk cannot be written now, and nothing about what was to be written."""
    if isinstance(error, sqlite3.OperationalError):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in _CODES
    return isinstance(error, OSError) and error.errno in _ERRORS


@contextmanager
def written_below(folder: Path) -> Iterator[None]:
    """Raise FolderUnusable, in words, if what the block writes below a folder cannot be written."""
    try:
        yield
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise _unusable(folder, error.strerror or str(error)) from None
    except (OSError, sqlite3.OperationalError) as error:
        if not is_unusable(error):
            raise
        raise _unusable(folder, error.strerror or str(error) if isinstance(error, OSError) else str(error)) from None


def _unusable(folder: Path, why: str) -> FolderUnusable:
    message = f"{folder} cannot be written ({why[:1].lower()}{why[1:]}): state and results are kept there; "
    return FolderUnusable(message + "make room, or copy the recordings to a folder that can be written")


def check_room(folder: Path) -> None:
    """Raise FolderUnusable unless the folder exists, or can be made, and takes a megabyte."""
    with written_below(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{uuid.uuid4().hex}"
        try:
            with probe.open("wb") as file:
                file.write(bytes(_PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        finally:
            probe.unlink(missing_ok=True)
