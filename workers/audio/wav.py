"""WAV files whose header says less than is there: read to the end, as one recording.

Three kinds are common. A recorder that crashed has updated the length in its header for the last time minutes before.
`cat` or a copy tool joined two files, so that the second has a header of its own in the middle. And the length has 32
bits: of a file beyond 4 GiB it holds the rest. FFmpeg reads as much as the header says, and stops without an error.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader

_UNKNOWN = 0xFFFF_FFFF  #: a length that tells FFmpeg to read to the end
_MOST_CHUNKS = 1000
_MOST_HEADER = 1 << 20  #: bytes before the sound
_MIN_SECONDS = 0.1  #: less behind the sound is padding or a tag of some kind
_LOOKS = 64  #: places in which the bytes behind the sound are looked at: zeros are no sound
_AHEAD = 1 << 20  #: bytes read at a time, since FFmpeg asks for 32 KiB


@dataclass(frozen=True)
class _Wav:
    form: bytes  #: the content of its `fmt ` chunk
    data: int  #: where its samples begin
    size: int  #: of the samples, as declared

    @property
    def bytes_per_second(self) -> int:
        return max(1, int(struct.unpack_from("<I", self.form, 8)[0]))

    @property
    def block(self) -> int:
        return max(1, int(struct.unpack_from("<H", self.form, 12)[0]))


@dataclass(frozen=True)
class Repair:
    """What to do about a WAV whose header says less than is there."""

    source: Joined | None  #: to be read in place of the file; None: the file as it is
    unread_seconds: float = 0.0  #: sound of another format, at the end


def repair(file: BufferedReader) -> Repair | None:
    """How to read all of a WAV; None if its header is right, or it is none."""
    total = os.fstat(file.fileno()).st_size
    first = _parse(file, 0, total)
    if first is None or first.size in (0, _UNKNOWN):  # FFmpeg reads to the end
        return None
    if first.data + first.size + _MIN_SECONDS * first.bytes_per_second >= total:
        return None
    pieces, unread = [(first.data, first.size)], 0.0
    while (found := _after(file, sum(pieces[-1]), total)) is not None:
        at, wav = found
        if wav is None:  # sound without a header, up to the end
            if total - at >= _MIN_SECONDS * first.bytes_per_second and _has_sound(file, at, total):
                pieces[-1] = (pieces[-1][0], total - pieces[-1][0])
            break
        if wav.form != first.form:
            unread = min(wav.size, total - wav.data) / wav.bytes_per_second
            break
        pieces.append((wav.data, min(wav.size or total, total - wav.data)))
    if len(pieces) == 1 and pieces[0][1] == first.size:
        return Repair(None, unread) if unread else None
    file.seek(0)
    header = bytearray(file.read(first.data))
    header[4:8] = header[-4:] = _UNKNOWN.to_bytes(4, "little")
    return Repair(Joined(file, bytes(header), [(at, size - size % first.block) for at, size in pieces]), unread)


def _parse(file: BufferedReader, start: int, total: int) -> _Wav | None:
    file.seek(start)
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    form = b""
    for name, at, size in _chunks(file, start + 12, total):
        if name == b"fmt " and 16 <= size <= 1024:
            form = file.read(size)
        elif name == b"data":
            return _Wav(form, at, size) if len(form) >= 16 and at - start <= _MOST_HEADER else None
    return None


def _chunks(file: BufferedReader, at: int, total: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, place and size of the content of each chunk. The file is at the content when one is yielded."""
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        size = int.from_bytes(head[4:], "little")
        yield head[:4], at + 8, size
        at += 8 + size + size % 2


def _after(file: BufferedReader, end: int, total: int) -> tuple[int, _Wav | None] | None:
    """What follows the samples that end here: another WAV, bytes that are no chunk (None), or nothing but chunks."""
    end += end % 2
    for _ in range(_MOST_CHUNKS):
        file.seek(end)
        head = file.read(8)
        if len(head) < 8:
            return None
        if head[:4] == b"RIFF" and (wav := _parse(file, end, total)) is not None:
            return end, wav
        size = int.from_bytes(head[4:], "little")
        if not all(0x20 <= byte < 0x7F for byte in head[:4]) or end + 8 + size > total + 1:
            return end, None
        end += 8 + size + size % 2
    return None


def _has_sound(file: BufferedReader, start: int, end: int) -> bool:
    for number in range(_LOOKS):
        file.seek(start + (end - start) * number // _LOOKS)
        if any(file.read(min(4096, end - start))):
            return True
    return False


class Joined(io.RawIOBase):
    """A header and parts of a file, read as one file. PyAV reads and seeks in it."""

    def __init__(self, file: BufferedReader, header: bytes, pieces: list[tuple[int, int]]) -> None:
        self._descriptor, self._header, self._pieces = file.fileno(), header, pieces
        self._size = len(header) + sum(size for _, size in pieces)
        self._at = 0
        self._ahead = (0, b"")  # where the bytes read last begin, and they

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be sought in."""
        return True

    def tell(self) -> int:
        """The position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Read up to so many bytes; fewer at the end of a part."""
        start, content = self._ahead
        if not start <= self._at < start + len(content):
            self._ahead = start, content = self._at, self._fetch(self._at)
        wanted = content[self._at - start :][: size if size >= 0 else None]
        self._at += len(wanted)
        return wanted

    def _fetch(self, at: int) -> bytes:
        if at < len(self._header):
            return self._header[at:]
        at -= len(self._header)
        for start, size in self._pieces:
            if at < size:
                return os.pread(self._descriptor, min(_AHEAD, size - at), start + at)
            at -= size
        return b""
