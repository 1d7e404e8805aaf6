"""What a run leaves in the machine: processes that outlived it, and files in its folder for temporary ones."""

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
    """Have every process that is started in the block carry a mark, and put its temporary files in `folder`."""
    mark, before = secrets.token_hex(8), {key: os.environ.get(key) for key in (MARK, "TMPDIR")}
    folder.mkdir(parents=True, exist_ok=True)
    os.environ |= {MARK: mark, "TMPDIR": str(folder)}
    tempfile.tempdir = None  # chosen again
    try:
        yield mark
    finally:
        for key, value in before.items():
            os.environ.pop(key)
            if value is not None:
                os.environ[key] = value
        tempfile.tempdir = None


def processes(mark: str) -> list[str]:
    """Processes that carry a mark, this one left out; zombies have no environment and do not count."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            marked = f"{MARK}={mark}".encode() in (path / "environ").read_bytes().split(b"\0")
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # gone, or nobody's business
            continue
        if marked and int(path.name) != os.getpid():
            found.append(f"process {path.name} is alive: {command[:80]}")
    return found


def litter(folder: Path) -> list[str]:
    """Files of ours under a folder."""
    return [f"{path} was left" for path in folder.rglob("speechpipe-*")]
