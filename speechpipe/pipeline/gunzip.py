"""Unpacks gzip, piece by piece and from any place in the file: an upload may be packed, declared so or not.

`gcloud storage cp --gzip-local` stores an object with `Content-Encoding: gzip`, other tools leave a `.wav.gz`, and some
declare as gzip what is not. So the bytes decide: nothing that plays begins like a gzip file. A gzip file may consist of
several, one after the other, each of which is a part of the content
(https://datatracker.ietf.org/doc/html/rfc1952#section-2.2).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from speechpipe.backends.ports import Uploads
from speechpipe.contract import Source
from speechpipe.contract.errors import ErrorCode, Rejected

MAGIC = b"\x1f\x8b"
#: The most members of a file. Tools that pack in blocks make one for each 64 KiB; a hostile file has them of 20 bytes.
MAX_MEMBERS = 1_000_000
_WRITE_BYTES = 256 * 1024  #: of content in one part
#: Read at a time. What follows the end of a member is copied, so with large blocks many small members take long.
_READ_BYTES = 16 * 1024


def _decompressor() -> Any:
    return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)


@dataclass(frozen=True)
class Place:
    """A place in a gzip file from which the rest can be unpacked."""

    packed: int = 0  #: bytes of the file before it
    decompressor: Any = field(default_factory=_decompressor, repr=False)  #: as it is there

    def copy(self) -> Place:
        """The same place, to keep: unpacking on from a place changes its decompressor."""
        return Place(self.packed, self.decompressor.copy())


def is_packed(file: BinaryIO) -> bool:
    """Whether an open file is a gzip file."""
    file.seek(0)
    return file.read(len(MAGIC)) == MAGIC


def unpack(file: BinaryIO, place: Place) -> Iterator[tuple[bytes, Place]]:
    """Yield the content from a place on in parts, each with the place after it.

    Each part is bounded, so that a gzip bomb takes no memory. The end of a truncated file is its end. What follows the
    last member (padding) is ignored, as gzip does. Raises Rejected(decode_failed) where the file is damaged.
    """
    file.seek(place.packed)
    packed, decompressor, pending, members = place.packed, place.decompressor, b"", 1
    try:
        while True:
            if decompressor.eof:
                while len(pending) < len(MAGIC) and (block := file.read(_READ_BYTES)):
                    packed += len(block)
                    pending += block
                if not pending.startswith(MAGIC):
                    return
                decompressor, members = _decompressor(), members + 1
                if members > MAX_MEMBERS:
                    raise Rejected(ErrorCode.TOO_LARGE, f"the gzip file has more than {MAX_MEMBERS} parts")
            elif not pending:
                if not (pending := file.read(_READ_BYTES)):
                    return
                packed += len(pending)
            part = decompressor.decompress(pending, _WRITE_BYTES)
            pending = decompressor.unused_data if decompressor.eof else decompressor.unconsumed_tail
            yield part, Place(packed - len(pending), decompressor)
    except zlib.error:
        raise Rejected(ErrorCode.DECODE_FAILED, "the file is a damaged gzip file: it cannot be unpacked") from None


def download(source: Source, into: Path, uploads: Uploads, *, max_bytes: int) -> None:
    """Write an upload's content to a file, unpacked if it is a gzip file.

    Raises Rejected: as `Uploads.download` does, too_large if it unpacks to more than `max_bytes`, decode_failed if it
    is damaged or cut off.
    """
    uploads.download(source, into)
    with into.open("rb") as file:
        if not is_packed(file):
            return
        unpacked = into.with_name(into.name + ".unpacked")
        size, end = 0, Place()
        try:
            with unpacked.open("wb") as writer:
                for part, end in unpack(file, Place()):  # noqa: B007 - used after the loop
                    size += len(part)
                    if size > max_bytes:
                        message = f"the file unpacks to more than the allowed {max_bytes} bytes"
                        raise Rejected(ErrorCode.TOO_LARGE, message)
                    writer.write(part)
            if not end.decompressor.eof:
                raise Rejected(ErrorCode.DECODE_FAILED, "the file is a truncated gzip file")
            unpacked.replace(into)
        finally:
            unpacked.unlink(missing_ok=True)
