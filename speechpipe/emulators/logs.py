"""Reads the child processes' logs as they grow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speechpipe.observe.log import parse_line


class Logs:
    """A folder of logs; skips the lines that existed when it was opened."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read = {path: path.stat().st_size for path in folder.glob("*.log")}

    def new(self) -> Iterator[dict[str, Any]]:
        """Our JSON lines written since the last call."""
        for path in sorted(self._folder.glob("*.log")):
            start = self._read.get(path, 0)
            with path.open("rb") as log:
                log.seek(start)
                text, newline, _ = log.read().rpartition(b"\n")  # leave an incomplete line for the next call
            self._read[path] = start + len(text) + len(newline)
            for line in text.decode(errors="replace").splitlines():
                if fields := parse_line(line):
                    yield fields
