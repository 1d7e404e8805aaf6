"""A folder as the uploads bucket.

An object's generation is its modification time in nanoseconds. Its custom metadata is in the file beside it,
`NAME.meta.json` (`{"language": "en"}`).
"""

from __future__ import annotations

import json
import logging
import mimetypes
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

from speechpipe.contract import Source
from speechpipe.contract.errors import ErrorCode, NotFound, Rejected
from speechpipe.contract.options import UNREADABLE

log = logging.getLogger(__name__)

METADATA_SUFFIX = UNREADABLE
#: Names that browsers, copying tools and offices give to files until they are whole, or while they are open.
_UNFINISHED = re.compile(
    r"~\$.*|.*\.(part|partial|crdownload|opdownload|download|filepart|tmp|temp)", re.IGNORECASE | re.DOTALL
)
MAX_NAME_BYTES = 255  #: of a file name, on nearly all file systems
MAX_METADATA_BYTES = 64 * 1024  #: of a metadata file; Cloud Storage allows 8 KiB in total


class Stamp(NamedTuple):
    """A file's state, without its content."""

    modified_ns: int  #: set by tools that keep times
    changed_ns: int  #: set by the system with every change, of times and name, too
    size: int
    inode: int


class FolderUploads:
    """The Uploads port on a folder and its subfolders, without hidden files and files under a temporary name.

    Calls `finalized` after each upload: the file is complete, so nobody has to find it and wait until it stops growing.
    """

    def __init__(self, root: Path, staging: Path, finalized: Callable[[Source], None] = lambda source: None) -> None:
        self.root = root
        self._finalized = finalized
        self._warned: set[Path] = set()
        self._staging = staging  # on the same file system, so that a file appears whole or not at all

    def download(self, source: Source, into: Path) -> None:
        """See ports.Uploads."""
        gone = _gone()
        path = self._existing(source)
        try:
            shutil.copyfile(path, into)
            if str(path.stat().st_mtime_ns) != source.generation:
                raise gone
        except FileNotFoundError:
            raise gone from None

    @contextmanager
    def open(self, source: Source) -> Iterator[BinaryIO]:
        """See ports.Uploads."""
        gone = _gone()
        try:
            file = self._existing(source).open("rb")
        except FileNotFoundError:
            raise gone from None
        with file:
            if str(os.fstat(file.fileno()).st_mtime_ns) != source.generation:
                raise gone
            yield file

    def upload(self, path: Path, name: str, metadata: dict[str, str]) -> Source:
        """See ports.Uploads."""
        target = self._path(name)
        sidecar = self._path(name + METADATA_SUFFIX) if metadata else _sidecar(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        self._staging.mkdir(exist_ok=True)
        staged = self._staging / uuid.uuid4().hex
        shutil.copyfile(path, staged)
        if metadata and sidecar:
            sidecar.write_text(json.dumps(metadata, ensure_ascii=False), encoding="utf-8")
        elif sidecar:
            sidecar.unlink(missing_ok=True)
        os.replace(staged, target)
        source = self._source(target)
        self._finalized(source)
        return source

    @property
    def sessions_at(self) -> None:
        """See ports.Uploads."""

    def session(self, name: str, metadata: dict[str, str], *, size: int, content_type: str, origin: str) -> None:
        """See ports.Uploads. A folder has no sessions."""

    def find(self, name: str) -> Source | None:
        """See ports.Uploads."""
        path = self._path(name)
        return self._source(path) if path.is_file() else None

    def stamp(self, source: Source) -> Stamp | None:
        """What changes whenever the file is written; None if it is gone."""
        try:
            stat = self._path(source.name).stat()
        except (NotFound, FileNotFoundError, NotADirectoryError):
            return None
        return Stamp(stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino)

    def current(self, source: Source) -> Source:
        """See ports.Uploads."""
        with suppress(FileNotFoundError, NotADirectoryError):
            found = self._source(self._existing(source))
            if found.generation == source.generation:
                return found
        raise _gone()

    def delete(self, source: Source) -> None:
        """See ports.Uploads. Deletes the file's metadata too. A folder retains nothing."""
        path = self._path(source.name)
        with suppress(FileNotFoundError):
            if str(path.stat().st_mtime_ns) == source.generation:
                path.unlink()
                if sidecar := _sidecar(path):
                    sidecar.unlink(missing_ok=True)

    def objects(self, prefix: str = "") -> Iterator[Source]:
        """See ports.Uploads."""
        for folder, folders, files in os.walk(self.root):
            folders[:] = sorted(f for f in folders if not f.startswith(".") and not _UNFINISHED.fullmatch(f))
            for file in sorted(files):
                if file.startswith(".") or file.endswith(METADATA_SUFFIX) or _UNFINISHED.fullmatch(file):
                    continue
                if not self._utf8_name(Path(folder) / file):
                    continue
                with suppress(FileNotFoundError):  # deleted since the listing
                    source = self._source(Path(folder) / file)
                    if source.name.startswith(prefix):
                        yield source

    def _utf8_name(self, path: Path) -> bool:
        """Whether a file's name is text; warn once about each whose name is not."""
        if _is_text(str(path)):
            return True
        if path not in self._warned:
            self._warned.add(path)
            log.warning("ignored a file whose name is not UTF-8: %a", str(path), extra={"action": "ignored"})
        return False

    def _path(self, name: str) -> Path:
        if "\0" in name or not _is_text(name):
            raise NotFound(f"{name!r} is not a valid file name")
        if any(len(part.encode()) > MAX_NAME_BYTES for part in name.split("/")):
            raise NotFound(f"{name[:80]!r}... is too long: a file name may have at most {MAX_NAME_BYTES} bytes")
        path = (self.root / name).resolve()
        if not path.is_relative_to(self.root) or path == self.root:
            raise NotFound(f"{name!r} is not inside {self.root}")
        return path

    def _existing(self, source: Source) -> Path:
        """The path of a source's file. Raises Rejected for a link that leads out of the folder."""
        try:
            return self._path(source.name)
        except NotFound:
            message = "the file is not in the folder of recordings; it may be a link to another place"
            raise Rejected(ErrorCode.OBJECT_GONE, message) from None

    def _source(self, path: Path) -> Source:
        stat = path.stat()
        name = path.relative_to(self.root).as_posix()
        return Source(
            uri=path.as_uri(),
            bucket=self.root.name or "root",
            name=name,
            generation=str(stat.st_mtime_ns),
            size=stat.st_size,
            content_type=mimetypes.guess_type(name)[0],
            metadata=_metadata(_sidecar(path)),
            created_at=_time(stat.st_mtime),
        )


def _gone() -> Rejected:
    return Rejected(ErrorCode.OBJECT_GONE, "the file was deleted or overwritten before it could be read")


def _is_text(name: str) -> bool:
    """Whether a name is UTF-8. Python represents other bytes in file names as lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _sidecar(path: Path) -> Path | None:
    """The path of a file's metadata; None if that name would be too long to exist."""
    name = path.name + METADATA_SUFFIX
    return path.with_name(name) if len(name.encode()) <= MAX_NAME_BYTES else None


def _time(seconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):  # a file may have any time, even one after the year 9999
        return datetime.fromtimestamp(0, UTC)


def _metadata(sidecar: Path | None) -> dict[str, str]:
    """Read the custom metadata beside an object; errors as in `metadata_from`."""
    if sidecar is None:
        return {}
    try:
        with sidecar.open("rb") as file:
            return metadata_from(file.read(MAX_METADATA_BYTES + 1))
    except FileNotFoundError:
        return {}
    except OSError:  # a folder of that name, or a file without read permission
        return {UNREADABLE: "not a readable file"}


def metadata_from(text: bytes) -> dict[str, str]:
    """Parse custom metadata from a file's text. An error becomes an option that ingest rejects."""
    if len(text) > MAX_METADATA_BYTES:
        return {UNREADABLE: f"more than {MAX_METADATA_BYTES} bytes"}
    try:
        content = json.loads(text.decode("utf-8-sig"))  # editors on Windows begin with a byte order mark
        if not isinstance(content, dict):
            return {UNREADABLE: "not a JSON object of option names and values"}
        read = {str(key): _as_text(value) for key, value in content.items() if value is not None}
        json.dumps(read, ensure_ascii=False).encode()  # JSON can escape half a surrogate pair, which no store can hold
    except UnicodeError:
        return {UNREADABLE: "not UTF-8 text"}
    except (ValueError, RecursionError):
        return {UNREADABLE: "not JSON"}
    return read


def _as_text(value: object) -> str:
    """A value of JSON as one would write it in an object's metadata: a list with commas."""
    if isinstance(value, list):
        return ", ".join(map(_as_text, value))
    return value if isinstance(value, str) else json.dumps(value)
