"""Reads any part of an upload that is stored as gzip, as its player hears it: unpacked.

Of a gzip file the bucket knows neither the size of its content nor ranges of it. The first request unpacks all of it
once and keeps a decompressor for each PIECE_BYTES, about 40 KiB each; later ones unpack from the nearest, as zlib's
`examples/zran.c` does.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from speechpipe.console.pieces import PIECE_BYTES
from speechpipe.contract import Source
from speechpipe.contract.errors import ErrorCode, Rejected
from speechpipe.pipeline.gunzip import Place, is_packed, unpack

#: The most that a file may unpack to: the largest upload that is accepted by default.
MAX_UNPACKED_BYTES = 5 * 1024**3
#: How many files are remembered.
FILES_KEPT = 8


@dataclass(frozen=True)
class Mark:
    """A place from which a file can be unpacked."""

    unpacked: int  #: bytes of content before it
    place: Place  #: to be copied before use


@dataclass(frozen=True)
class Unpacked:
    """The content of a gzip file: its size, and where reading may begin."""

    size: int
    marks: tuple[Mark, ...]

    def read(self, file: BinaryIO, first: int, count: int) -> Iterator[bytes]:
        """Yield `count` bytes of the content from `first` on; fewer at its end."""
        mark = self.marks[bisect_right(self.marks, first, key=lambda mark: mark.unpacked) - 1]
        skip = first - mark.unpacked
        for part, _ in unpack(file, mark.place.copy()):
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
        """The content of an open upload if it is a gzip file, else None. The first look unpacks all of it.

        Raises Rejected if it is damaged, or unpacks to far too much.
        """
        with self._lock:
            if source.recording_id in self._known:
                self._known.move_to_end(source.recording_id)
                return self._known[source.recording_id]
        found = _index(file) if is_packed(file) else None
        with self._lock:
            self._known[source.recording_id] = found
            if len(self._known) > FILES_KEPT:
                self._known.popitem(last=False)
        return found


def _index(file: BinaryIO) -> Unpacked:
    size = 0
    marks = [Mark(0, Place())]
    for part, place in unpack(file, Place()):
        size += len(part)
        if size > MAX_UNPACKED_BYTES:
            raise Rejected(ErrorCode.TOO_LARGE, "the file unpacks to more than can be played")
        if size >= marks[-1].unpacked + PIECE_BYTES:
            marks.append(Mark(size, place.copy()))
    return Unpacked(size, tuple(marks))
