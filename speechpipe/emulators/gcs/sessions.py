"""Uploads in several requests: resumable ones, and those of the XML API in parts.

https://cloud.google.com/storage/docs/performing-resumable-uploads, https://cloud.google.com/storage/docs/multipart-uploads
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from speechpipe.emulators.gcs.answers import Refused, bad_request
from speechpipe.emulators.gcs.formats import ContentRange
from speechpipe.emulators.gcs.objects import ANY, Conditions, Resource
from speechpipe.emulators.gcs.store import Store

CHUNK = 256 * 1024  #: Cloud Storage keeps whole chunks only, until the last request


@dataclass
class Resumable:
    """A resumable upload."""

    bucket: str
    name: str
    fields: Mapping[str, Any]
    conditions: Conditions = ANY
    expected: dict[str, str] = field(default_factory=dict)  #: hashes
    content: bytearray = field(default_factory=bytearray)
    finished: Resource | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, store: Store, body: bytes, at: ContentRange, expected: Mapping[str, str]) -> Resource | None:
        """Take in content; the object once that was the rest of it. Raises Refused.

        Content that came before is ignored, and so is the end of a request that is not the last, after the last whole
        chunk.
        """
        with self.lock:
            if self.finished:
                return self.finished
            have, start = len(self.content), at.start
            if start is not None and start > have:
                message = f"Invalid request.  According to the Content-Range header, the upload offset is {start} "
                message += f"byte(s), which exceeds already uploaded size of {have} byte(s)."
                raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, message, "backendError")
            if start is not None:
                self.content += body[have - start :]
            if at.total is not None and len(self.content) > at.total:
                raise bad_request("The upload is larger than the Content-Range header says.")
            if at.total is None or len(self.content) < at.total:
                del self.content[max(have, len(self.content) // CHUNK * CHUNK) :]
                return None
            self.finished = store.insert(
                self.bucket,
                self.name,
                bytes(self.content),
                self.fields,
                self.conditions,
                expected={**self.expected, **expected},
            )
            self.content = bytearray()
            return self.finished


@dataclass
class InParts:
    """An upload of the XML API in parts, which may come in any order and at the same time."""

    bucket: str
    name: str
    fields: Mapping[str, Any]
    parts: dict[int, bytes] = field(default_factory=dict)

    def complete(self, store: Store, numbers: Sequence[int]) -> Resource:
        """Create the object. Raises Refused."""
        if not numbers or list(numbers) != sorted({*numbers} & self.parts.keys()):
            raise bad_request("One or more of the specified parts could not be found, or are not in order.")
        content = b"".join(self.parts[number] for number in numbers)
        return store.insert(self.bucket, self.name, content, self.fields, components=len(numbers))


class Sessions:
    """All uploads that have begun; finished resumable ones too, because clients ask what became of them."""

    def __init__(self) -> None:
        self._begun: dict[str, Resumable | InParts] = {}

    def begin(self, upload: Resumable | InParts) -> str:
        """Return the id of a new upload."""
        upload_id = secrets.token_urlsafe(48)
        self._begun[upload_id] = upload
        return upload_id

    def resumable(self, upload_id: str) -> Resumable:
        """A resumable upload. Raises Refused."""
        found = self._begun.get(upload_id)
        if not isinstance(found, Resumable):
            raise _gone()
        return found

    def in_parts(self, upload_id: str) -> InParts:
        """An upload in parts. Raises Refused."""
        found = self._begun.get(upload_id)
        if not isinstance(found, InParts):
            raise _gone()
        return found

    def end(self, upload_id: str) -> None:
        """Forget an upload and its content. Raises Refused."""
        if self._begun.pop(upload_id, None) is None:
            raise _gone()


def _gone() -> Refused:
    return Refused(HTTPStatus.NOT_FOUND, "The requested upload does not exist.", "notFound")
