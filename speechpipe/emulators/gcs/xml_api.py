"""The XML API for objects: signed URLs, curl, and uploads in parts (google-cloud-storage's `transfer_manager`).

https://cloud.google.com/storage/docs/xml-api/reference-methods. Buckets cannot be listed or changed through it.
"""

from __future__ import annotations

import hashlib
import re
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

from speechpipe.emulators.gcs.answers import Answer, Refused, bad_request
from speechpipe.emulators.gcs.formats import Request, crc32c, customer_key, expected_hashes
from speechpipe.emulators.gcs.media import media
from speechpipe.emulators.gcs.objects import Conditions
from speechpipe.emulators.gcs.sessions import InParts, Sessions
from speechpipe.emulators.gcs.store import Store

_PATH = re.compile(r"/(?!(?:storage|upload|resumable|download|batch)/)([-.\w]{3,})/(.+)")
_XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/"
_HEADERS = {
    "cache-control": "cacheControl",
    "content-disposition": "contentDisposition",
    "content-encoding": "contentEncoding",
    "content-language": "contentLanguage",
    "content-type": "contentType",
}


class XmlApi:
    """The XML API of a store; `sessions` are the uploads in progress."""

    def __init__(self, store: Store, sessions: Sessions) -> None:
        self._store, self._sessions = store, sessions

    def answer(self, request: Request) -> Answer | None:
        """Carry out a request; None if it is for no method of this API. Raises Refused, which becomes XML."""
        found = _PATH.fullmatch(request.path)
        if not found:
            return None
        bucket, name = map(unquote, found.groups())
        try:
            return self._object(request, bucket, name)
        except Refused as refused:
            body = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{refused.reason}</Code>"
            body += f"<Message>{escape(refused.message)}</Message></Error>"
            headers = {"content-type": "application/xml; charset=UTF-8", **refused.headers}
            return Answer(refused.status, b"" if refused.status == HTTPStatus.NOT_MODIFIED else body.encode(), headers)

    def _object(self, request: Request, bucket: str, name: str) -> Answer | None:
        query, upload_id = request.query, request.query.get("uploadId")
        if request.method == "POST":
            return self._begin(request, bucket, name) if "uploads" in query else self._complete(request, upload_id)
        if request.method == "PUT":
            return self._put(request, bucket, name) if upload_id is None else self._put_part(request, upload_id)
        if request.method == "DELETE" and upload_id is not None:
            self._sessions.end(upload_id)
            return Answer(HTTPStatus.NO_CONTENT)
        if request.method == "DELETE":
            self._store.delete(bucket, name, request.number("generation"), _conditions(request))
            return Answer(HTTPStatus.NO_CONTENT)
        if request.method == "GET" and upload_id is None:
            return media(request, self._store.get(bucket, name, request.number("generation"), _conditions(request)))
        return None

    def _put(self, request: Request, bucket: str, name: str) -> Answer:
        expected, fields = expected_hashes(request.headers), _fields(request)
        resource = self._store.insert(bucket, name, request.body, fields, _conditions(request), expected=expected)
        return Answer(
            HTTPStatus.OK, b"", {"etag": f'"{resource["etag"]}"', "x-goog-generation": resource["generation"]}
        )

    def _begin(self, request: Request, bucket: str, name: str) -> Answer:
        self._store.check(bucket, name, _conditions(request))
        upload_id = self._sessions.begin(InParts(bucket, name, _fields(request)))
        return _xml("InitiateMultipartUploadResult", Bucket=bucket, Key=name, UploadId=upload_id)

    def _put_part(self, request: Request, upload_id: str) -> Answer:
        number = request.number("partNumber")
        if number is None or not 1 <= number <= 10_000:
            raise bad_request("Part number must be an integer between 1 and 10000, inclusive.")
        self._sessions.in_parts(upload_id).parts[number] = request.body
        digest = hashlib.md5(request.body, usedforsecurity=False).hexdigest()
        return Answer(HTTPStatus.OK, b"", {"etag": f'"{digest}"', "x-goog-hash": f"crc32c={crc32c(request.body)}"})

    def _complete(self, request: Request, upload_id: str | None) -> Answer:
        upload = self._sessions.in_parts(upload_id or "")
        numbers = [int(number) for number in re.findall(rb"<PartNumber>\s*(\d+)\s*</PartNumber>", request.body)]
        resource = upload.complete(self._store, numbers)
        self._sessions.end(upload_id or "")
        found = {"Bucket": upload.bucket, "Key": upload.name, "ETag": f'"{resource["etag"]}"'}
        return _xml("CompleteMultipartUploadResult", Location=f"{request.base}{request.path}", **found)


def _fields(request: Request) -> dict[str, Any]:
    fields: dict[str, Any] = {
        name: request.headers[header] for header, name in _HEADERS.items() if header in request.headers
    }
    found = {key.lower(): str(value) for key, value in request.headers.items()}
    prefix = "x-goog-meta-"
    metadata = {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
    # Headers arrive as Latin-1, but clients send UTF-8.
    fields |= customer_key(request.headers)
    return fields | {"metadata": {key: _utf8(value) for key, value in metadata.items()}}


def _utf8(value: str) -> str:
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _conditions(request: Request) -> Conditions:
    def number(name: str) -> int | None:
        value = request.header(name)
        if value is not None and not value.isdecimal():
            raise bad_request(f"Invalid value for {name}: {value}")
        return None if value is None else int(value)

    return Conditions(
        generation=number("x-goog-if-generation-match"), metageneration=number("x-goog-if-metageneration-match")
    )


def _xml(kind: str, **values: str) -> Answer:
    inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in values.items())
    body = f"<?xml version='1.0' encoding='UTF-8'?><{kind} xmlns='{_XMLNS}'>{inner}</{kind}>"
    return Answer(HTTPStatus.OK, body.encode(), {"content-type": "application/xml; charset=UTF-8"})
