"""Finds files whose sound is encrypted, to say so: decoded they would be noise or nothing, and seem damaged.

FFmpeg opens most of them as if they were in the clear, so their headers are read here. Nothing is decrypted.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BufferedReader
from uuid import UUID

from av.container import InputContainer

#: Boxes and their headers that are looked at, at most: a file made of nothing but boxes must not take long.
_MAX_BOXES = 20_000
#: Kinds of sample entries whose samples are encrypted (ISO/IEC 14496-12, 8.12), and who encrypts like that.
_PROTECTED_ENTRIES = {
    b"enca": "Common Encryption, as streaming services use it",
    b"drms": "FairPlay, of Apple's iTunes Store",
    b"aavd": "Audible",
}
#: Objects of an ASF header that describe its encryption: content, extended and advanced encryption
#: (https://learn.microsoft.com/windows/win32/wmformat/overview-of-the-asf-format).
_ASF_ENCRYPTION = (
    UUID("2211B3FB-BD23-11D2-B4B7-00A0C955FC6E").bytes_le,
    UUID("298AE614-2622-4C17-B935-DAE07EE9289C").bytes_le,
    UUID("43058533-6981-49E6-9B74-AD12CB86D58C").bytes_le,
)
_ASF = bytes.fromhex("3026b275 8e66cf11")
_ASF_HEADER_BYTES = 1 << 16


def protection(file: BufferedReader, start: int) -> str | None:
    """What to say of a file, whose content begins at `start`, if all its sound is encrypted; else None."""
    file.seek(start)
    head = file.read(16)
    if head[4:8] in (b"ftyp", b"moov", b"free", b"wide", b"skip", b"mdat", b"styp"):
        entries = list(_sound_entries(file, start))
        kinds = {_PROTECTED_ENTRIES.get(entry) for entry in entries}
        return _sentence(_PROTECTED_ENTRIES[entries[0]]) if entries and None not in kinds else None
    if head.startswith(_ASF):
        header = file.read(_ASF_HEADER_BYTES)
        return _sentence("Windows Media DRM") if any(mark in header for mark in _ASF_ENCRYPTION) else None
    if head[4:8] == b"\x57\x90\x75\x36":
        return _sentence("Audible")
    if head.startswith((b"\x03enc", b"ea3\x03", b"EA3\x01")):
        return _sentence("by the recorder that made it")
    return None


def encrypted_streams(container: InputContainer) -> str | None:
    """What to say of an open file if all its sound is encrypted, as far as FFmpeg tells (Matroska, WebM); else None."""
    streams = container.streams.audio
    encrypted = streams and all("enc_key_id" in stream.metadata for stream in streams)
    return _sentence("WebM encryption, as streaming services use it") if encrypted else None


def _sentence(scheme: str) -> str:
    return (
        f"the sound in the file is protected against copying ({scheme}), so it cannot be read here:"
        " a copy without protection is needed"
    )


def _sound_entries(file: BufferedReader, start: int) -> Iterator[bytes]:
    """The kind of the first sample entry of each sound track."""
    budget = [_MAX_BOXES]
    end = file.seek(0, 2)
    for track in _inside(file, start, end, (b"moov", b"trak"), budget):
        for handler in _inside(file, *track, (b"mdia", b"hdlr"), budget):
            if _read(file, handler[0] + 8, 4) == b"soun":
                for entries in _inside(file, *track, (b"mdia", b"minf", b"stbl", b"stsd"), budget):
                    yield _read(file, entries[0] + 12, 4)


def _inside(
    file: BufferedReader, start: int, end: int, path: tuple[bytes, ...], budget: list[int]
) -> Iterator[tuple[int, int]]:
    """Where the content of each box at a path begins and ends."""
    for kind, first, last in _boxes(file, start, end, budget):
        if kind == path[0]:
            if len(path) == 1:
                yield first, last
            else:
                yield from _inside(file, first, last, path[1:], budget)


def _boxes(file: BufferedReader, start: int, end: int, budget: list[int]) -> Iterator[tuple[bytes, int, int]]:
    """Kind, begin and end of the content of each box (ISO/IEC 14496-12, 4.2)."""
    while start + 8 <= end and budget[0] > 0:
        budget[0] -= 1
        header = _read(file, start, 16)
        size, first = int.from_bytes(header[:4]), start + 8
        if size == 1:
            size, first = int.from_bytes(header[8:16]), start + 16
        last = start + size if size else end
        if last < first:
            return
        yield header[4:8], first, min(last, end)
        start = last


def _read(file: BufferedReader, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)
