"""How long an MP3 is that does not say so: from the frames at a few places in it.

A file of variable bit rate has a table of its length in its first frame, if its writer could go back and put it there.
Without one its length is known only if all frames are read, or if all that are looked at have the same bit rate.

Frame headers: http://www.mp3-tech.org/programmer/frame_header.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

#: How many places are looked at, and how much is read at each: all of a file that is no longer than all of them.
PLACES, PLACE_BYTES = 6, 256 * 1024
#: Where they are, besides the first. Spread like this they fall in step with nothing that repeats itself in the file
#: (https://en.wikipedia.org/wiki/Low-discrepancy_sequence#Additive_recurrence).
_SHARES = [place * 0.618034 % 1 for place in range(1, PLACES)]
#: Places in the data that look like a frame but are none, at most: hostile data must not keep a function busy.
_MAX_FALSE = 2_000
_KBITS_V1 = {
    1: (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_KBITS_V2 = {
    1: (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_SYNC = re.compile(rb"\xff[\xe2-\xef\xf2-\xff]")
#: The first frame's table has the number of frames: `Xing` or `Info` with the first flag set, or `VBRI`.
_TABLE = re.compile(rb"(?:Xing|Info)...[\x01\x03\x05\x07\x09\x0b\x0d\x0f]|VBRI", re.S)


@dataclass(frozen=True)
class Frame:
    """One frame, by its header."""

    size: int  #: bytes
    samples: int
    rate: int  #: Hz
    kbits: int  #: bit rate, kbit/s


def length_without_table(file: BinaryIO, size: int) -> tuple[float, bool] | None:
    """Seconds of an MP3 of `size` bytes, and whether they are exact; None if it has a table, or no frames are found."""
    file.seek(0)
    start = _tag_size(file.read(10))
    file.seek(start)
    if _TABLE.search(file.read(200)):
        return None
    sound = size - start
    whole = sound <= PLACES * PLACE_BYTES
    starts = [start] if whole else [start, *(_block(start + share * sound) for share in _SHARES)]
    seconds = read = 0.0
    kbits: set[int] = set()
    for at in starts:
        file.seek(at)
        for frame in frames(file.read(sound if whole else PLACE_BYTES - at % PLACE_BYTES)):
            seconds += frame.samples / frame.rate
            read += frame.size
            kbits.add(frame.kbits)
    if not read:
        return None
    return (seconds, True) if whole else (seconds * sound / read, len(kbits) == 1)


def _block(at: float) -> int:
    """Where the block begins that has this byte: the stream is fetched in such blocks."""
    return int(at) // PLACE_BYTES * PLACE_BYTES


def frames(data: bytes) -> Iterator[Frame]:
    """Yield the whole frames in a part of a file. One counts if another of its kind, or the end, follows it."""
    at = false = 0
    while (found := _SYNC.search(data, at)) and false < _MAX_FALSE:
        at = found.start()
        frame = _frame(data[at : at + 4])
        after = at + frame.size if frame else 0
        if frame and (after == len(data) or (after < len(data) and _alike(data, at, after))):
            yield frame
            at = after
        else:
            at, false = at + 1, false + 1


def _alike(data: bytes, one: int, other: int) -> bool:
    """Whether a frame of the same version, layer and sample rate starts at `other`, or only a tag or padding does."""
    if data[other] == 0xFF:
        head = data[other : other + 3]
        return len(head) < 3 or (head[1] & 0xFE, head[2] & 0x0C) == (data[one + 1] & 0xFE, data[one + 2] & 0x0C)
    return data[other : other + 3] in (b"TAG", b"APE", b"ID3", bytes(3))


def _frame(header: bytes) -> Frame | None:
    if len(header) < 4:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bits, rate_bits, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or bits in (0, 15) or rate_bits == 3:
        return None
    kbits = (_KBITS_V1[layer] if version == 3 else _KBITS_V2[min(layer, 2)])[bits - 1]
    rate = _RATES[version][rate_bits]
    samples = 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152
    slot = 4 if layer == 1 else 1
    return Frame((samples // 8 // slot * 1000 * kbits // rate + padding) * slot, samples, rate, kbits)


def _tag_size(head: bytes) -> int:
    """The size of an ID3v2 tag, with its header (https://id3.org/id3v2.4.0-structure, 3.1)."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
