"""Counts that survive `kill -9`: each is a file, and its size is the count."""

from __future__ import annotations

import os
from pathlib import Path


class Counters:
    """Counts by name in a folder; any number of processes may increment them at the same time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, name: str) -> int:
        """Increment a count. Returns its new value."""
        file = os.open(self.folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, b".")
            return os.lseek(file, 0, os.SEEK_CUR)
        finally:
            os.close(file)

    def all(self) -> dict[str, int]:
        """All counts."""
        return {path.name: path.stat().st_size for path in sorted(self.folder.iterdir())}
