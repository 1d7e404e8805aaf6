"""What a run leaves behind: processes that are still running, and temporary files."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MARK = "CHAOS_MARK"


@contextmanager
def marked(folder: Path) -> Iterator[str]:
    """Mark every process started in this block, and put its temporary files in `folder`."""
    mark, before = secrets.token_hex(8), {key: os.environ.get(key) for key in (MARK, "TMPDIR")}
    folder.mkdir(parents=True, exist_ok=True)
    os.environ |= {MARK: mark, "TMPDIR": str(folder)}
    tempfile.tempdir = None  # so that the next use reads TMPDIR
    try:
        yield mark
    finally:
        for key, value in before.items():
            os.environ.pop(key)
            if value is not None:
                os.environ[key] = value
        tempfile.tempdir = None


def processes(mark: str) -> list[str]:
    """Processes with the mark, except this one. Zombies have no environment and do not count."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            marked = f"{MARK}={mark}".encode() in (path / "environ").read_bytes().split(b"\0")
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has exited, or belongs to another user
            continue
        if marked and int(path.name) != os.getpid():
            found.append(f"process {path.name} is still running: {command[:80]}")
    return found


def litter(folder: Path) -> list[str]:
    """Our temporary files under a folder."""
    return [f"{path} was left" for path in folder.rglob("speechpipe-*")]
