"""The JSON API: https://cloud.google.com/storage/docs/json_api/v1. One function per method; a table says which.

Listings cannot choose by glob, and answers have all fields, whatever `fields` and `projection` ask for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from speechpipe.emulators.gcs.answers import Answer, Refused, bad_request, json_answer
from speechpipe.emulators.gcs.formats import (
    ContentRange,
    Request,
    content_range,
    customer_key,
    expected_hashes,
    json_object,
    parts,
    related,
    split,
)
from speechpipe.emulators.gcs.listing import PAGE, Wanted
from speechpipe.emulators.gcs.media import media
from speechpipe.emulators.gcs.objects import Conditions, Part, writable
from speechpipe.emulators.gcs.sessions import Resumable, Sessions
from speechpipe.emulators.gcs.store import Store

MAX_BATCH = 100


class JsonApi:
    """The JSON API of a store; `sessions` are the uploads in progress."""

    def __init__(self, store: Store, sessions: Sessions) -> None:
        self._store, self._sessions = store, sessions

    def answer(self, request: Request) -> Answer | None:
        """Carry out a request; None if it is for no method of this API. Raises Refused."""
        for method, pattern, handle in _ROUTES:
            found = pattern.fullmatch(request.path) if method == request.method else None
            if found:
                return handle(self, request, *map(unquote, found.groups()))
        return None

    # ----------------------------------------------------------------------------------------------- buckets

    def buckets(self, request: Request) -> Answer:
        """List buckets."""
        return json_answer({"kind": "storage#buckets", "items": self._store.buckets()})

    def create_bucket(self, request: Request) -> Answer:
        """Create a bucket."""
        fields = json_object(request.body)
        if not isinstance(fields.get("name"), str):
            raise bad_request("Required parameter: name")
        return json_answer(self._store.create_bucket(fields["name"], fields))

    def bucket(self, request: Request, bucket: str) -> Answer:
        """Get a bucket."""
        return json_answer(self._store.bucket(bucket))

    def patch_bucket(self, request: Request, bucket: str) -> Answer:
        """Change a bucket."""
        return json_answer(self._store.patch_bucket(bucket, json_object(request.body)))

    def delete_bucket(self, request: Request, bucket: str) -> Answer:
        """Delete a bucket."""
        self._store.delete_bucket(bucket)
        return Answer(HTTPStatus.NO_CONTENT)

    def layout(self, request: Request, bucket: str) -> Answer:
        """Say that a bucket has no folders of its own; gcloud asks."""
        location = {key: self._store.bucket(bucket)[key] for key in ("location", "locationType")}
        return json_answer({"kind": "storage#storageLayout", "bucket": bucket, **location})

    def permissions(self, request: Request, bucket: str) -> Answer:
        """Allow everything."""
        self._store.bucket(bucket)
        asked = re.findall(r"(?:\?|&)permissions=([^&]+)", request.target)
        return json_answer({"kind": "storage#testIamPermissionsResponse", "permissions": [*map(unquote, asked)]})

    # ----------------------------------------------------------------------------------------------- objects

    def objects(self, request: Request, bucket: str) -> Answer:
        """List a page of objects."""
        query = request.query
        if "matchGlob" in query:
            raise Refused(HTTPStatus.NOT_IMPLEMENTED, "This emulator cannot list by glob.", "notImplemented")
        wanted = Wanted(
            prefix=query.get("prefix", ""),
            delimiter=query.get("delimiter", ""),
            start=query.get("startOffset", ""),
            end=query.get("endOffset", ""),
            trailing=query.get("includeTrailingDelimiter") == "true",
            after=query.get("pageToken", ""),
            size=max(1, min(PAGE, request.number("maxResults") or PAGE)),
        )
        page = self._store.list(bucket, wanted)
        found: dict[str, Any] = {"kind": "storage#objects"}
        found |= {"items": page.items} if page.items else {}
        found |= {"prefixes": page.prefixes} if page.prefixes else {}
        return json_answer(found | ({"nextPageToken": page.following} if page.following else {}))

    def object(self, request: Request, bucket: str, name: str) -> Answer:
        """Get an object, or with `alt=media` its content."""
        stored = self._store.get(bucket, name, request.number("generation"), conditions(request))
        return media(request, stored) if request.query.get("alt") == "media" else json_answer(stored.resource)

    def download(self, request: Request, bucket: str, name: str) -> Answer:
        """Get an object's content."""
        return media(request, self._store.get(bucket, name, request.number("generation"), conditions(request)))

    def patch(self, request: Request, bucket: str, name: str) -> Answer:
        """Change an object's fields."""
        fields, generation = json_object(request.body), request.number("generation")
        return json_answer(self._store.patch(bucket, name, fields, generation, conditions(request)))

    def delete(self, request: Request, bucket: str, name: str) -> Answer:
        """Delete an object."""
        self._store.delete(bucket, name, request.number("generation"), conditions(request))
        return Answer(HTTPStatus.NO_CONTENT)

    def compose(self, request: Request, bucket: str, name: str) -> Answer:
        """Create an object from others."""
        body = json_object(request.body)
        try:
            sources = [
                Part(
                    source["name"],
                    _integer(source.get("generation")),
                    Conditions(generation=_integer(source.get("objectPreconditions", {}).get("ifGenerationMatch"))),
                )
                for source in body["sourceObjects"]
            ]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise bad_request("Invalid value for sourceObjects") from None
        fields = (body.get("destination") or {}) | customer_key(request.headers)
        return json_answer(self._store.compose(bucket, name, sources, fields, conditions(request)))

    def copy(self, request: Request, bucket: str, name: str, to_bucket: str, to_name: str) -> Answer:
        """Copy an object."""
        source = self._store.get(bucket, name, request.number("sourceGeneration"), conditions(request, source=True))
        fields = json_object(request.body)
        return json_answer(self._store.copy(source, to_bucket, to_name, fields, conditions(request)))

    def rewrite(self, request: Request, bucket: str, name: str, to_bucket: str, to_name: str) -> Answer:
        """Copy an object, always in one request."""
        self.copy(request, bucket, name, to_bucket, to_name)
        resource = self._store.get(to_bucket, to_name).resource
        size = {"totalBytesRewritten": resource["size"], "objectSize": resource["size"]}
        return json_answer({"kind": "storage#rewriteResponse", **size, "done": True, "resource": resource})

    # ----------------------------------------------------------------------------------------------- uploads

    def insert(self, request: Request, bucket: str) -> Answer:
        """Create an object, or begin to."""
        kind = request.query.get("uploadType")
        if kind == "resumable":
            return self._begin(request, bucket)
        if kind == "multipart":
            fields, content_type, content = related(request)
        elif kind == "media":
            fields, content_type, content = {}, request.header("content-type"), request.unpacked()
        else:
            raise bad_request(f"Invalid upload type: {kind}")
        name, fields = _named(request, fields, content_type)
        expected = _expected(fields) | expected_hashes(request.headers)
        return json_answer(self._store.insert(bucket, name, content, fields, conditions(request), expected=expected))

    def _begin(self, request: Request, bucket: str) -> Answer:
        if "upload_id" in request.query:  # some libraries POST what they should PUT
            return self.resume(request, bucket)
        name, fields = _named(request, json_object(request.unpacked()), request.header("x-upload-content-type"))
        self._store.check(bucket, name, conditions(request))
        upload = Resumable(bucket, name, writable(fields), conditions(request), _expected(fields))
        upload_id = self._sessions.begin(upload)
        at = f"{request.base}{request.target}&upload_id={upload_id}"
        return Answer(HTTPStatus.OK, b"", {"location": at, "x-guploader-uploadid": upload_id})

    def resume(self, request: Request, bucket: str) -> Answer:
        """Take in the next part of a resumable upload, or say how far it is."""
        upload, body = self._sessions.resumable(request.query.get("upload_id", "")), request.unpacked()
        given = request.header("content-range")
        at = content_range(given) if given else ContentRange(0, len(body))
        finished = upload.add(self._store, body, at, expected_hashes(request.headers))
        if finished:
            return json_answer(finished)
        have = len(upload.content)
        headers = {"range": f"bytes=0-{have - 1}"} if have else {}
        if request.header("x-guploader-no-308"):  # Go's library, and so rclone, would follow a 308 as a redirect
            return Answer(HTTPStatus.OK, b"", headers | {"x-http-status-code-override": "308"})
        return Answer(HTTPStatus.PERMANENT_REDIRECT, b"", headers)

    def cancel(self, request: Request, bucket: str) -> Answer:
        """Give a resumable upload up."""
        self._sessions.end(request.query.get("upload_id", ""))
        return Answer(499)

    # ------------------------------------------------------------------------------------------------- batch

    def batch(self, request: Request) -> Answer:
        """Carry out up to 100 requests: https://cloud.google.com/storage/docs/batch."""
        inner = list(parts(request.header("content-type") or "", request.body))
        if len(inner) > MAX_BATCH:
            raise bad_request(f"The batch request has {len(inner)} calls, and at most {MAX_BATCH} are allowed.")
        answers = []
        for headers, part in inner:
            answer = self._one_of_batch(part)
            content_id = str(headers.get("content-id", "")).strip("<>")
            head = f"Content-Type: application/http\r\nContent-ID: <response-{content_id}>\r\n\r\n"
            head += f"HTTP/1.1 {answer.status} {answer.phrase}\r\n"
            head += "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
            answers.append(head.encode() + f"content-length: {len(answer.body)}\r\n\r\n".encode() + answer.body)
        mark = b"--batch_answers"
        body = b"".join(mark + b"\r\n" + answer + b"\r\n" for answer in answers) + mark + b"--\r\n"
        return Answer(HTTPStatus.OK, body, {"content-type": "multipart/mixed; boundary=batch_answers"})

    def _one_of_batch(self, part: bytes) -> Answer:
        line, _, rest = part.lstrip().partition(b"\n")
        method, _, target = line.decode(errors="replace").strip().partition(" ")
        headers, body = split(rest)
        path = re.sub(r"^https?://[^/]+", "", target.partition(" ")[0])
        try:
            answer = self.answer(Request(method, path, headers, body))
        except Refused as refused:
            return refused.answer
        return answer or Refused(HTTPStatus.NOT_FOUND, "Not Found", "notFound").answer


def conditions(request: Request, *, source: bool = False) -> Conditions:
    """The preconditions of a request, on its object or on the source of a copy. Raises Refused."""
    of = "Source" if source else ""
    return Conditions(
        request.number(f"if{of}GenerationMatch"),
        request.number(f"if{of}GenerationNotMatch"),
        request.number(f"if{of}MetagenerationMatch"),
        request.number(f"if{of}MetagenerationNotMatch"),
    )


def _named(request: Request, fields: dict[str, Any], content_type: str | None) -> tuple[str, dict[str, Any]]:
    """The name and fields of an upload; the query's name counts more than the body's. Raises Refused."""
    name = request.query.get("name", fields.get("name"))
    if not isinstance(name, str):
        raise bad_request("Required")
    encoding = request.query.get("contentEncoding")
    defaults = {"contentType": content_type or "application/octet-stream"}
    defaults |= {"contentEncoding": encoding} if encoding else {}
    return name, defaults | {key: value for key, value in fields.items() if value is not None} | customer_key(
        request.headers
    )


def _expected(fields: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(fields[key]) for key in ("crc32c", "md5Hash") if fields.get(key)}


def _integer(value: Any) -> int | None:
    return None if value is None else int(value)


_V1 = r"(?:/storage/v1)?"  # Node's library leaves it out with STORAGE_EMULATOR_HOST
_BUCKET = _V1 + r"/b/([-.\w]+)"
_OBJECT = _BUCKET + r"/o/([^/]+)"
_TO = r"/b/([-.\w]+)/o/([^/]+)"
_UPLOAD = r"(?:(?:/resumable)?/upload)?" + _BUCKET + "/o"

_METHODS: list[tuple[str, str, Callable[..., Answer]]] = [
    ("GET", _V1 + "/b", JsonApi.buckets),
    ("POST", _V1 + "/b", JsonApi.create_bucket),
    ("GET", _BUCKET, JsonApi.bucket),
    ("PATCH", _BUCKET, JsonApi.patch_bucket),
    ("DELETE", _BUCKET, JsonApi.delete_bucket),
    ("GET", _BUCKET + "/storageLayout", JsonApi.layout),
    ("GET", _BUCKET + "/iam/testPermissions", JsonApi.permissions),
    ("GET", _BUCKET + "/o", JsonApi.objects),
    ("GET", _OBJECT, JsonApi.object),
    ("GET", "/download" + _OBJECT, JsonApi.download),
    ("PATCH", _OBJECT, JsonApi.patch),
    ("DELETE", _OBJECT, JsonApi.delete),
    ("POST", _OBJECT + "/compose", JsonApi.compose),
    ("POST", _OBJECT + "/copyTo" + _TO, JsonApi.copy),
    ("POST", _OBJECT + "/rewriteTo" + _TO, JsonApi.rewrite),
    ("POST", _UPLOAD, JsonApi.insert),
    ("PUT", _UPLOAD, JsonApi.resume),
    ("DELETE", _UPLOAD, JsonApi.cancel),
    ("POST", "/batch(?:/storage/v1)?", JsonApi.batch),
]
_ROUTES = [(method, re.compile(pattern), handle) for method, pattern, handle in _METHODS]
