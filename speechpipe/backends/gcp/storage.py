"""The uploads and results buckets on Cloud Storage."""

from __future__ import annotations

import io
import mimetypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from google.api_core.exceptions import Forbidden, PreconditionFailed
from google.api_core.exceptions import NotFound as ObjectNotFound
from google.cloud.storage import Blob, Bucket, Client

from speechpipe.contract import Retained, Source, wire
from speechpipe.contract.errors import ErrorCode, NotFound, Rejected, Unreadable, under_customer_key

#: The least that a partial read fetches: enough for a file's header in one request.
RANGE_BYTES = 256 * 1024


class GcsUploads:
    """`ports.Uploads` on a bucket."""

    def __init__(self, client: Client, bucket: str) -> None:
        self._client = client
        self._bucket: Bucket = client.bucket(bucket)

    def download(self, source: Source, into: Path) -> None:
        """Write exactly that generation's bytes.

        Downloads them raw, as stored, whatever their `Content-Encoding`: the library then checks their CRC32C, and the
        transfer does not unpack a gzip bomb (https://cloud.google.com/storage/docs/transcoding).
        """
        with _gone_if_not_found():
            self._readable(source).download_to_filename(str(into), raw_download=True)

    @contextmanager
    def open(self, source: Source) -> Iterator[BinaryIO]:
        """Open an object for reading by ranges of its raw, stored bytes."""
        with _gone_if_not_found():
            blob = self._readable(source)
        with io.BufferedReader(_RangeReader(blob, source.size), RANGE_BYTES) as reader:
            yield reader

    def _readable(self, source: Source) -> Blob:
        """Return exactly that generation. Raises Rejected(object_gone, customer_key)."""
        live = self._live(source)
        if _customer_encryption(live):
            raise under_customer_key()
        # Not `live` itself: it would download from its `mediaLink`, in which emulators do not escape `#` and `?` in
        # names.
        return live.bucket.blob(source.name, generation=int(source.generation))

    def _live(self, source: Source) -> Blob:
        """Return exactly that generation with its metadata. Raises Rejected(object_gone)."""
        live = self._client.bucket(source.bucket).get_blob(source.name, generation=int(source.generation))
        # Emulators ignore the generation and return the live object.
        if live is None or str(live.generation) != source.generation:
            raise _gone()
        return live

    def upload(self, path: Path, name: str, metadata: dict[str, str]) -> Source:
        """Upload a file; above 8 MiB the library makes it a resumable upload."""
        blob: Blob = self._bucket.blob(name)
        blob.metadata = metadata
        content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        blob.upload_from_filename(str(path), content_type=content_type)
        return _source(blob)

    @property
    def sessions_at(self) -> str | None:
        """Origin of Cloud Storage or its emulator."""
        parts = urlsplit(self._client.api_endpoint)
        return f"{parts.scheme}://{parts.netloc}"

    def session(self, name: str, metadata: dict[str, str], *, size: int, content_type: str, origin: str) -> str | None:
        """Start a resumable upload. Its URL grants the right to create this one object, for a week, and nothing else.

        Unlike a signed URL, it needs no permission to sign (https://cloud.google.com/storage/docs/resumable-uploads).
        """
        blob: Blob = self._bucket.blob(name)
        blob.metadata = metadata
        address: str = blob.create_resumable_upload_session(content_type=content_type, size=size, origin=origin)
        return address

    def find(self, name: str) -> Source | None:
        """The live object of that name."""
        blob = self._bucket.get_blob(name)
        return _source(blob) if blob else None

    def current(self, source: Source) -> Source:
        """That generation with its metadata, which may change without a new generation or an event of ours.

        https://cloud.google.com/storage/docs/metadata#generation-number
        """
        with _gone_if_not_found():
            return _source(self._live(source))

    def objects(self, prefix: str = "") -> Iterator[Source]:
        """The live objects whose name starts with `prefix`, by name, fetched in pages of a thousand.

        Only the fields that `_source` reads are fetched: a page is then a quarter as long.
        """
        fields = "items(name,generation,size,contentType,crc32c,metadata,timeCreated,customerEncryption),nextPageToken"
        return (_source(blob) for blob in self._client.list_blobs(self._bucket, prefix=prefix, fields=fields))

    def delete(self, source: Source) -> Retained | None:
        """Delete exactly that generation.

        Under retention or a hold, Cloud Storage answers 403, as without permission; the object's metadata tells which
        (https://cloud.google.com/storage/docs/object-holds, https://cloud.google.com/storage/docs/bucket-lock).
        """
        with suppress(Rejected), _gone_if_not_found():
            live = self._live(source)  # emulators would delete the live object
            try:
                live.delete(if_generation_match=int(source.generation))
            except Forbidden:
                if retained := _retained(live, datetime.now(UTC)):
                    return retained
                raise
        return None


class _RangeReader(io.RawIOBase):
    """An object as a file, which requests a range for every read."""

    def __init__(self, blob: Blob, size: int) -> None:
        self._blob, self._size = blob, size
        self._position = 0

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to an offset, as in any file."""
        self._position = max(0, offset + (0, self._position, self._size)[whence])
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Fetch as much as fits into the buffer. Raises Rejected(object_gone)."""
        part = self._fetch(len(buffer))
        buffer[: len(part)] = part
        return len(part)

    def readall(self) -> bytes:
        """Fetch the rest in one request; the inherited method makes one per 8 KiB. Raises Rejected(object_gone)."""
        return self._fetch(self._size)

    def _fetch(self, size: int) -> bytes:
        end = min(self._position + size, self._size) - 1  # the last byte, as in a Range header
        if end < self._position:
            return b""
        with _gone_if_not_found():
            part: bytes = self._blob.download_as_bytes(start=self._position, end=end, raw_download=True, checksum=None)
        self._position += len(part)
        return part


def _customer_encryption(blob: Blob) -> object:
    """The algorithm and hash of a customer-supplied key; None without one. The library has no public name for it."""
    return blob._properties.get("customerEncryption")


def _retained(blob: Blob, now: datetime) -> Retained | None:
    """What forbids to delete an object: its hold, its own retention, or that of its bucket."""
    ends = (blob.retention_expiration_time, blob.retention.retain_until_time)
    until = max((end for end in ends if end and end > now), default=None)
    hold = bool(blob.temporary_hold or blob.event_based_hold)
    return Retained(hold=hold, until=until) if hold or until else None


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
        """The URI of the object at that path."""
        return wire.gs_uri(str(self._bucket.name), path)

    def create(self, path: str, body: bytes, content_type: str) -> str:
        """Create an object with the precondition that none exists, which also lets the library retry.

        An account that may create but not delete objects may get 403 for one that exists, perhaps before the
        precondition is checked (https://cloud.google.com/storage/docs/access-control/iam-json).
        """
        blob = self._bucket.blob(path)
        try:
            with suppress(PreconditionFailed):  # it exists, perhaps from our own write whose reply was lost
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
                raise NotFound(f"{uri} is not in the bucket {self._bucket.name}")
            body: bytes = self._bucket.blob(name).download_as_bytes()
        except (ObjectNotFound, Unreadable) as error:
            raise NotFound(f"there is no {uri}") from error
        return body

    def delete(self, folder: str) -> None:
        """Delete every object in a folder. If the bucket has soft delete, its copies expire later."""
        for blob in list(self._bucket.list_blobs(prefix=f"{folder}/")):
            with suppress(ObjectNotFound):
                blob.delete()


def _source(blob: Any) -> Source:
    """Read an object of the API like the event about it."""
    return wire.source_from_event(
        {
            "bucket": blob.bucket.name,
            "name": blob.name,
            "generation": blob.generation,
            "size": blob.size or 0,
            "contentType": blob.content_type,
            "crc32c": blob.crc32c,
            "metadata": blob.metadata,
            "customerEncryption": _customer_encryption(blob),
            "timeCreated": blob.time_created,
        }
    )
