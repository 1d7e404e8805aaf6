"""The uploads and results buckets on Cloud Storage."""

from __future__ import annotations

import mimetypes
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from google.api_core.exceptions import NotFound as ObjectNotFound
from google.api_core.exceptions import PreconditionFailed
from google.cloud.storage import Blob, Bucket, Client

from speechpipe import wire
from speechpipe.contract import Source
from speechpipe.errors import ErrorCode, NotFound, Rejected, Unreadable

#: Read at a time when a file is unpacked.
_CHUNK = 1024 * 1024


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
        bucket = self._client.bucket(source.bucket)
        gone = Rejected(ErrorCode.OBJECT_GONE, "the file was deleted or overwritten before it could be read")
        encoding: str | None = None
        try:
            live = bucket.get_blob(source.name, generation=int(source.generation))
            # Emulators ignore the generation and answer with whatever is there now.
            if live is None or str(live.generation) != source.generation:
                raise gone
            encoding = live.content_encoding
            # Not `live` itself: it would download from the `mediaLink` it was given, in which emulators leave `#` and
            # `?` of a name unescaped.
            blob: Blob = bucket.blob(source.name, generation=int(source.generation))
            blob.download_to_filename(str(into), raw_download=True)
        except ObjectNotFound as error:
            raise gone from error
        if encoding == "gzip":
            _unpack(into, self._max_bytes)

    def upload(self, path: Path, name: str, metadata: dict[str, str]) -> Source:
        """Put a file there; the library sends more than 8 MiB as a resumable upload."""
        blob: Blob = self._bucket.blob(name)
        blob.metadata = metadata
        content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        blob.upload_from_filename(str(path), content_type=content_type)
        return _source(blob)

    def find(self, name: str) -> Source | None:
        """The live object of that name."""
        blob = self._bucket.get_blob(name)
        return _source(blob) if blob else None


class GcsResults:
    """`ports.Results` on a bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def uri(self, path: str) -> str:
        """Where an object of that path lies or would lie."""
        return wire.gs_uri(str(self._bucket.name), path)

    def create(self, path: str, body: bytes, content_type: str) -> str:
        """Write it with the precondition that there is none: the library may then also send it again."""
        with suppress(PreconditionFailed):  # there already, perhaps from before an answer that got lost
            self._bucket.blob(path).upload_from_string(body, content_type=content_type, if_generation_match=0)
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
