"""A folder as the results bucket."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
import uuid
from pathlib import Path
from urllib.parse import unquote, urlsplit

from speechpipe.contract.errors import NotFound

_one_at_a_time = threading.Lock()


class FolderResults:
    """The Results port on a folder."""

    def __init__(self, root: Path, staging: Path) -> None:
        self.root = root
        self._staging = staging  # on the same file system, so that a file appears whole or not at all

    def uri(self, path: str) -> str:
        """See ports.Results."""
        return (self.root / path).as_uri()

    def create(self, path: str, body: bytes, content_type: str) -> str:
        """See ports.Results."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        self._staging.mkdir(exist_ok=True)
        staged = self._staging / uuid.uuid4().hex
        try:
            with staged.open("wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            self._appear(staged, target)
        finally:
            staged.unlink(missing_ok=True)
        return target.as_uri()

    def _appear(self, staged: Path, target: Path) -> None:
        """Give a file its name, whole and at once, unless another has it: create-only."""
        try:
            os.link(staged, target)
        except FileExistsError:
            pass
        except OSError:  # exFAT, network shares and mounted buckets have no hard links
            with _one_at_a_time, (self._staging / "lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # of all processes that write here
                if not target.exists():
                    staged.rename(target)  # also fails on a disk that is full or read-only

    def read(self, uri: str) -> bytes:
        """See ports.Results."""
        path = Path(unquote(urlsplit(uri).path)).resolve()
        if not path.is_relative_to(self.root) or not path.is_file():
            raise NotFound(f"there is no {uri}")
        return path.read_bytes()

    def delete(self, folder: str) -> None:
        """See ports.Results."""
        shutil.rmtree(self.root / folder, ignore_errors=True)
