"""The uploads and results buckets on Cloud Storage."""

from __future__ import annotations

import io
import mimetypes
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from google.api_core.exceptions import Forbidden, PreconditionFailed
from google.api_core.exceptions import NotFound as ObjectNotFound
from google.cloud.storage import Blob, Bucket, Client

from speechpipe.contract import Source, wire
from speechpipe.contract.errors import ErrorCode, NotFound, Rejected, Unreadable

#: Read at a time when a file is unpacked.
_CHUNK = 1024 * 1024
#: Fetched at a time when a part of a file is read: as much as a header needs, in one request.
CHUNK_BYTES = 256 * 1024


class GcsUploads:
    """`ports.Uploads` on a bucket."""

    def __init__(self, client: Client, bucket: str, *, max_bytes: int | None = None) -> None:
        self._client = client
        self._bucket: Bucket = client.bucket(bucket)
        self._max_bytes = max_bytes

    def download(self, source: Source, into: Path) -> None:
        """Write exactly that generation's bytes.

        Raw, as they are stored: the library then checks their CRC32C, and a bomb is not unpacked on the way
        (https://cloud.google.com/storage/docs/transcoding). An object that was *stored* with `Content-Encoding: gzip`
        (`gcloud storage cp --gzip-local`) is unpacked here, up to the cap. Raises Rejected, also for too many bytes.
        """
        with _gone_if_not_found():
            blob, encoding = self._live(source)
            blob.download_to_filename(str(into), raw_download=True)
        if encoding == "gzip":
            _unpack(into, self._max_bytes)

    @contextmanager
    def open(self, source: Source) -> Iterator[BinaryIO]:
        """Read it by ranges, raw as they are stored, a chunk at a time."""
        with _gone_if_not_found():
            blob, _ = self._live(source)
        with io.BufferedReader(_Ranges(blob, source.size), CHUNK_BYTES) as reader:
            yield reader

    def _live(self, source: Source) -> tuple[Blob, str | None]:
        """That generation of an object, and its content encoding. Raises Rejected(object_gone)."""
        bucket = self._client.bucket(source.bucket)
        live = bucket.get_blob(source.name, generation=int(source.generation))
        # Emulators ignore the generation and answer with whatever is there now.
        if live is None or str(live.generation) != source.generation:
            raise _gone()
        # Not `live` itself: it would download from the `mediaLink` it was given, in which emulators leave `#` and `?`
        # of a name unescaped.
        return bucket.blob(source.name, generation=int(source.generation)), live.content_encoding

    def upload(self, path: Path, name: str, metadata: dict[str, str]) -> Source:
        """Put a file there; the library sends more than 8 MiB as a resumable upload."""
        blob: Blob = self._bucket.blob(name)
        blob.metadata = metadata
        content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        blob.upload_from_filename(str(path), content_type=content_type)
        return _source(blob)

    @property
    def sessions_at(self) -> str | None:
        """Cloud Storage, or its emulator."""
        parts = urlsplit(self._client.api_endpoint)
        return f"{parts.scheme}://{parts.netloc}"

    def session(self, name: str, metadata: dict[str, str], *, size: int, content_type: str, origin: str) -> str | None:
        """A resumable upload's session. Its address is the right to make this one object, for a week, and nothing else.

        Unlike a signed URL it needs no right to sign (https://cloud.google.com/storage/docs/resumable-uploads).
        """
        blob: Blob = self._bucket.blob(name)
        blob.metadata = metadata
        address: str = blob.create_resumable_upload_session(content_type=content_type, size=size, origin=origin)
        return address

    def find(self, name: str) -> Source | None:
        """The live object of that name."""
        blob = self._bucket.get_blob(name)
        return _source(blob) if blob else None

    def objects(self, prefix: str = "") -> Iterator[Source]:
        """The live objects whose names begin so, by name; a page of a thousand at a time."""
        return (_source(blob) for blob in self._client.list_blobs(self._bucket, prefix=prefix))

    def delete(self, source: Source) -> None:
        """Delete exactly that generation."""
        with suppress(Rejected), _gone_if_not_found():
            blob, _ = self._live(source)  # emulators would delete whatever is there now
            blob.delete(if_generation_match=int(source.generation))


class _Ranges(io.RawIOBase):
    """An object as a file: every read is a request for that range."""

    def __init__(self, blob: Blob, size: int) -> None:
        self._blob, self._size = blob, size
        self._position = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """As of any file."""
        self._position = max(0, offset + (0, self._position, self._size)[whence])
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Fetch as much as fits. Raises Rejected(object_gone)."""
        part = self._fetch(len(buffer))
        buffer[: len(part)] = part
        return len(part)

    def readall(self) -> bytes:
        """The rest in one request: Python's own would make one for every 8 KiB. Raises Rejected(object_gone)."""
        return self._fetch(self._size)

    def _fetch(self, most: int) -> bytes:
        end = min(self._position + most, self._size) - 1  # the last byte, as in a Range header
        if end < self._position:
            return b""
        with _gone_if_not_found():
            part: bytes = self._blob.download_as_bytes(start=self._position, end=end, raw_download=True, checksum=None)
        self._position += len(part)
        return part


def _gone() -> Rejected:
    return Rejected(ErrorCode.OBJECT_GONE, "the file was deleted or overwritten before it could be read")


@contextmanager
def _gone_if_not_found() -> Iterator[None]:
    try:
        yield
    except ObjectNotFound as error:
        raise _gone() from error


class GcsResults:
    """`ports.Results` on a bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def uri(self, path: str) -> str:
        """Where an object of that path lies or would lie."""
        return wire.gs_uri(str(self._bucket.name), path)

    def create(self, path: str, body: bytes, content_type: str) -> str:
        """Write it with the precondition that there is none: the library may then also send it again.

        Whoever may create objects and not delete any is told 403 of one that is there, perhaps before the precondition
        is looked at (https://cloud.google.com/storage/docs/access-control/iam-json).
        """
        blob = self._bucket.blob(path)
        try:
            with suppress(PreconditionFailed):  # there already, perhaps from before an answer that got lost
                blob.upload_from_string(body, content_type=content_type, if_generation_match=0)
        except Forbidden:
            if not blob.exists():
                raise
        return self.uri(path)

    def read(self, uri: str) -> bytes:
        """Read an object of this bucket."""
        try:
            bucket, name = wire.split_gs_uri(uri)
            if bucket != self._bucket.name:
                raise NotFound(f"{uri} is not in {self._bucket.name}")
            body: bytes = self._bucket.blob(name).download_as_bytes()
        except (ObjectNotFound, Unreadable) as error:
            raise NotFound(f"there is no {uri}") from error
        return body

    def delete(self, folder: str) -> None:
        """Delete every object under a folder's path. What soft delete keeps, the platform removes in its time."""
        for blob in list(self._bucket.list_blobs(prefix=f"{folder}/")):
            with suppress(ObjectNotFound):
                blob.delete()


def _source(blob: Any) -> Source:
    """What the API says of an object, read as an event about it would be."""
    return wire.source_from_event(
        {
            "bucket": blob.bucket.name,
            "name": blob.name,
            "generation": blob.generation,
            "size": blob.size or 0,
            "contentType": blob.content_type,
            "crc32c": blob.crc32c,
            "metadata": blob.metadata,
            "timeCreated": blob.time_created,
        }
    )


def _unpack(path: Path, max_bytes: int | None) -> None:
    """Replace a gzip file by what is in it. Raises Rejected for what is none, or too much."""
    packed = path.with_name(path.name + ".gz")
    path.rename(packed)
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    size = 0
    try:
        with packed.open("rb") as reader, path.open("wb") as writer:
            while chunk := unpacker.unconsumed_tail or reader.read(_CHUNK):
                part = unpacker.decompress(chunk, _CHUNK)  # bounded: a bomb grows by a chunk at a time
                size += len(part)
                if max_bytes is not None and size > max_bytes:
                    raise Rejected(ErrorCode.TOO_LARGE, f"the file unpacks to more than the allowed {max_bytes} bytes")
                writer.write(part)
                if unpacker.eof:
                    break
    except zlib.error as error:
        raise Rejected(ErrorCode.DECODE_FAILED, "the file is marked as gzip and is none") from error
    finally:
        packed.unlink()
    if not unpacker.eof:
        raise Rejected(ErrorCode.DECODE_FAILED, "the file is a gzip file that was cut off")
