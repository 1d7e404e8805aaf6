"""Reads any part of an upload that is stored as gzip, as its player hears it: unpacked.

`gcloud storage cp --gzip-local` stores an object with `Content-Encoding: gzip`. The bucket then knows neither the size
of its content nor ranges of it. The first request unpacks all of it once and keeps a decompressor for each PIECE_BYTES,
about 40 KiB each; later ones unpack from the nearest, as zlib's `examples/zran.c` does.
"""

from __future__ import annotations

import threading
import zlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from speechpipe.console.pieces import PIECE_BYTES
from speechpipe.contract import Source
from speechpipe.contract.errors import ErrorCode, Rejected

MAGIC = b"\x1f\x8b"
#: The most that a file may unpack to: the largest upload that is accepted by default.
MAX_UNPACKED_BYTES = 5 * 1024**3
#: How many files are remembered.
FILES_KEPT = 8
_READ_BYTES = 1024**2
_WRITE_BYTES = 256 * 1024


@dataclass(frozen=True)
class Mark:
    """A place from which a file can be unpacked."""

    unpacked: int  #: bytes of content before it
    packed: int  #: bytes of the file before it
    decompressor: Any = field(repr=False)  #: as it was there; to be copied before use


@dataclass(frozen=True)
class Unpacked:
    """The content of a gzip file: its size, and where reading may begin."""

    size: int
    marks: tuple[Mark, ...]

    def read(self, file: BinaryIO, first: int, count: int) -> Iterator[bytes]:
        """Yield `count` bytes of the content from `first` on; fewer at its end."""
        mark = self.marks[bisect_right(self.marks, first, key=lambda mark: mark.unpacked) - 1]
        skip = first - mark.unpacked
        for part, _ in _unpack(file, mark.packed, mark.decompressor.copy()):
            wanted = part[skip : skip + count]
            skip = max(0, skip - len(part))
            count -= len(wanted)
            if wanted:
                yield wanted
            if not count:
                return


class Gunzip:
    """Knows which uploads are gzip files, and where to begin in them. Thread-safe."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Unpacked | None] = OrderedDict()
        self._lock = threading.Lock()

    def look(self, source: Source, file: BinaryIO) -> Unpacked | None:
        """The content of an open upload if it is stored as gzip, else None. The first look unpacks all of it.

        Raises Rejected if it is no gzip file after all, or unpacks to far too much.
        """
        with self._lock:
            if source.recording_id in self._known:
                self._known.move_to_end(source.recording_id)
                return self._known[source.recording_id]
        found = _index(file) if _is_packed(file) else None
        with self._lock:
            self._known[source.recording_id] = found
            if len(self._known) > FILES_KEPT:
                self._known.popitem(last=False)
        return found


def _is_packed(file: BinaryIO) -> bool:
    """Whether a file is stored as gzip: nothing that plays begins like that."""
    file.seek(0)
    return file.read(len(MAGIC)) == MAGIC


def _index(file: BinaryIO) -> Unpacked:
    size = 0
    decompressor = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    marks = [Mark(0, 0, decompressor.copy())]
    for part, packed in _unpack(file, 0, decompressor):
        size += len(part)
        if size > MAX_UNPACKED_BYTES:
            raise Rejected(ErrorCode.TOO_LARGE, "the file unpacks to more than can be played")
        if size >= marks[-1].unpacked + PIECE_BYTES:
            marks.append(Mark(size, packed, decompressor.copy()))
    return Unpacked(size, tuple(marks))


def _unpack(file: BinaryIO, packed: int, decompressor: Any) -> Iterator[tuple[bytes, int]]:
    """Yield parts of the content from a place on, each with how much of the file is used up after it.

    Each part is bounded, so that a gzip bomb takes no memory. The end of a truncated file is its end.
    """
    file.seek(packed)
    pending = b""
    try:
        while not decompressor.eof and (block := pending or file.read(_READ_BYTES)):
            packed += 0 if pending else len(block)
            part = decompressor.decompress(block, _WRITE_BYTES)
            pending = decompressor.unconsumed_tail
            yield part, packed - len(pending)
    except zlib.error:
        raise Rejected(ErrorCode.DECODE_FAILED, "the file is stored as gzip but is not a gzip file") from None
