"""How long a recording is, from its header: reads a few hundred kilobytes, decodes nothing, trusts nothing.

tinytag reads the header. Where it cannot (WebM, AMR, raw AAC; a stream whose length was never written; a hostile file),
the length is guessed from the size at a low bitrate, so most guesses are too long rather than too short. That of an MP3
of variable bit rate without its table is estimated from places in it. A header is only a claim: the truth is what the
worker decodes, and its own cap (SPEECHPIPE_MAX_SECONDS) still applies.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import BinaryIO, cast

from tinytag import TinyTag

from speechpipe.contract import headerless
from speechpipe.pipeline.mp3 import length_without_table

#: Bytes per fetch, and the number of fetches at most: what one probe may read of a file, however large.
BLOCK_BYTES = 256 * 1024
MAX_BLOCKS = 16
#: Calls of `read` at most: a file made of nothing but tiny chunks must not keep a function busy.
MAX_READS = 20_000
#: Bits a second that a guess assumes: a voice message. WebM from a browser has five to ten times that.
GUESSED_BITRATE = 16_000
#: A header is believed if the file has between these bits a second: from digital silence in FLAC to video in MP4.
LEAST_BITRATE, MOST_BITRATE = 500, 200_000_000


@dataclass(frozen=True)
class Length:
    """How long a recording is."""

    seconds: float
    exact: bool  #: read from the header; False: estimated, from the size or from parts of the file
    channels: int = 1  #: MP4 files tend to say 2 for mono


def probe(stream: BinaryIO, size: int, name: str = "") -> Length:
    """The length of a file of `size` bytes; `name` matters only for sound without a header.

    Raises what the stream raises, but never for an unreadable header.
    """
    view = _Bounded(stream, size)
    found = None
    try:
        found = _by_header(view, size)
    except Exception:
        if view.error:
            raise view.error from None
    if found is not None and size * 8 / MOST_BITRATE <= found.seconds <= size * 8 / LEAST_BITRATE:
        return found
    if raw := headerless.READABLE.get(headerless.extension(name)):
        return Length(size / raw.bytes_per_second, exact=not name.lower().endswith(".gz"))
    return Length(size * 8 / GUESSED_BITRATE, exact=False)


def _by_header(view: _Bounded, size: int) -> Length | None:
    is_ogg = view.read(4) == b"OggS"
    view.seek(0)
    file = _ends_of_ogg(view, size) if is_ogg and size > 2 * BLOCK_BYTES else view
    tag = TinyTag.get(file_obj=cast(BinaryIO, file), tags=False)
    seconds = tag.duration
    if tag.bitrate and (tag.mime_type or "").startswith(("audio/wav", "audio/mpeg")):
        # A program that wrote to a pipe left 0 or 0xFFFFFFFF as the length, and an upload may have been cut off.
        there = size * 8 / (tag.bitrate * 1000)
        seconds = min(seconds, there) if seconds else there
    exact = True
    if tag.mime_type == "audio/mpeg" and (estimate := length_without_table(cast(BinaryIO, view), size)):
        seconds, exact = estimate
    return Length(seconds, exact, max(tag.channels or 1, 1)) if seconds and math.isfinite(seconds) else None


def _ends_of_ogg(view: _Bounded, size: int) -> io.BytesIO:
    """The first and last pages of an Ogg file: the last has the length, and tinytag would read every page before it.

    A page has 27 bytes, a count of segments, their sizes, and at most 65,307 bytes in all
    (https://datatracker.ietf.org/doc/html/rfc3533#section-6).
    """
    head = view.read(BLOCK_BYTES)
    end = 0
    while head[end : end + 4] == b"OggS" and end + 27 <= len(head):
        segments = head[end + 27 : end + 27 + head[end + 26]]
        length = 27 + len(segments) + sum(segments)
        if end + length > len(head):
            break
        end += length
    view.seek(size - BLOCK_BYTES)
    tail = view.read(BLOCK_BYTES)
    return io.BytesIO(head[:end] + tail[max(tail.find(b"OggS"), 0) :])


class _Bounded(io.RawIOBase):
    """A view of a stream that fetches whole blocks, keeps them, and stops at its limits."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.error: Exception | None = None  #: what the stream raised
        self._stream, self._size = stream, size
        self._blocks: dict[int, bytes] = {}
        self._reads = self._position = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """As for any file. Raises OverflowError past a limit."""
        self._reads += 1
        if self._reads > MAX_READS:
            raise OverflowError("too many reads")
        end = self._size if size is None or size < 0 else min(self._position + size, self._size)
        if end <= self._position:
            return b""
        first, last = self._position // BLOCK_BYTES, (end - 1) // BLOCK_BYTES
        if last - first >= MAX_BLOCKS:
            raise OverflowError("too much to read")
        whole = b"".join(self._block(number) for number in range(first, last + 1))
        start = self._position - first * BLOCK_BYTES
        part = whole[start : start + end - self._position]
        self._position += len(part)
        return part

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            if len(self._blocks) == MAX_BLOCKS:
                raise OverflowError("too many blocks")
            try:
                self._stream.seek(number * BLOCK_BYTES)
                self._blocks[number] = self._stream.read(BLOCK_BYTES)
            except Exception as error:
                self.error = error
                raise
        return self._blocks[number]

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """As for any file."""
        position = offset + (0, self._position, self._size)[whence]
        if position < 0:
            raise OSError("a negative position")
        self._position = position
        return position

    def tell(self) -> int:
        """As for any file."""
        return self._position
