"""What headers and bodies of requests mean. Everything that a client may get wrong is a 400."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesHeaderParser
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import google_crc32c

from speechpipe.emulators.gcs.answers import bad_request

#: apitools, and with it gcloud and gsutil, quotes the boundary with apostrophes, which RFC 2046 does not know. Cloud
#: Storage takes it.
_BOUNDARY = re.compile(r"""boundary=("[^"]+"|'[^']+'|[^;\s]+)""", re.I)
_CONTENT_RANGE = re.compile(r"bytes (?:(?P<first>\d+)-(?P<last>\d+|\*)|\*)/(?P<total>\d+|\*)")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True)
class Request:
    """A request, read to its end."""

    method: str
    target: str  #: path and query, as sent
    headers: Message
    body: bytes = b""
    query: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        """Parse the query; of a parameter that is repeated, the last counts."""
        object.__setattr__(self, "query", dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True)))

    @property
    def path(self) -> str:
        """The path, still percent-encoded."""
        return self.target.partition("?")[0]

    @property
    def base(self) -> str:
        """The address that the client used."""
        return f"http://{self.headers.get('host', '127.0.0.1')}"

    def header(self, name: str) -> str | None:
        """A header's value, or None."""
        value = self.headers.get(name)
        return None if value is None else str(value)

    def number(self, name: str) -> int | None:
        """A parameter that is a whole number, or None. Raises Refused for anything else."""
        value = self.query.get(name)
        if value is None:
            return None
        try:
            return int(value)
        except ValueError:
            raise bad_request(f"Invalid value for {name}: {value}") from None

    def unpacked(self) -> bytes:
        """The body without the `Content-Encoding` under which it was sent (`gcloud storage cp -J`)."""
        if self.header("content-encoding") != "gzip" or not self.body:
            return self.body
        return unpack(self.body)


def unpack(packed: bytes) -> bytes:
    """Unpack gzip. Raises Refused if it is none."""
    try:
        return gzip.decompress(packed)
    except (OSError, EOFError, zlib.error):
        raise bad_request("The content is not gzip.") from None


def json_object(body: bytes) -> dict[str, Any]:
    """A body that is a JSON object, null or empty. Raises Refused."""
    try:
        value = json.loads(body or b"{}") or {}  # rclone sends null
    except ValueError:
        raise bad_request("Parse Error") from None
    if not isinstance(value, dict):
        raise bad_request("Parse Error")
    return value


def parts(content_type: str, body: bytes) -> Iterator[tuple[Message, bytes]]:
    """The parts of a multipart body, each with its headers. Raises Refused if it has no boundary or no end."""
    found = _BOUNDARY.search(content_type)
    if not found:
        raise bad_request("The multipart body has no boundary.")
    boundary = re.escape(found[1].strip("\"'").encode())
    marks = list(re.finditer(rb"(?:\A|\r?\n)--" + boundary + rb"(--)?[ \t]*(?:\r?\n|\Z)", body))
    if not marks or not marks[-1][1]:
        raise bad_request("The multipart body has no end.")
    for mark, following in pairwise(marks):
        yield split(body[mark.end() : following.start()])


def split(part: bytes) -> tuple[Message, bytes]:
    """Headers, and what follows the empty line after them."""
    if part.startswith((b"\r\n", b"\n")):
        return Message(), part.split(b"\n", 1)[1]
    head, *rest = re.split(rb"\r?\n\r?\n", part, maxsplit=1)
    return BytesHeaderParser().parsebytes(head), rest[0] if rest else b""


def related(request: Request) -> tuple[dict[str, Any], str | None, bytes]:
    """A `multipart/related` upload: metadata, the content's type and the content. Raises Refused."""
    both = list(parts(request.header("content-type") or "", request.unpacked()))
    if len(both) != 2:
        raise bad_request(f"A multipart upload has two parts, and this one {len(both)}.")
    (_, metadata), (headers, content) = both
    if str(headers.get("content-transfer-encoding", "")).lower() == "base64":
        try:
            content = b64decode(content)
        except Base64Error:
            raise bad_request("The content is not base64.") from None
    return json_object(metadata), headers.get("content-type"), content


@dataclass(frozen=True)
class ContentRange:
    """`Content-Range` of a resumable upload: where the content starts, None without any; the object's size if known."""

    start: int | None
    total: int | None


def content_range(value: str) -> ContentRange:
    """Parse `bytes 0-9/10`, `bytes 0-9/*`, `bytes 0-*/*`, `bytes */10` or `bytes */*`. Raises Refused."""
    found = _CONTENT_RANGE.fullmatch(value.strip())
    if not found:
        raise bad_request(f"Failed to parse Content-Range header: {value}")
    first, total = found["first"], found["total"]
    return ContentRange(None if first is None else int(first), None if total == "*" else int(total))


def byte_range(value: str | None, size: int) -> range | None:
    """The bytes that a `Range` header asks for: empty if the object has none of them, None for the whole object."""
    found = _RANGE.fullmatch((value or "").strip())
    if not found or found.group() == "bytes=-":
        return None
    first, last = found.groups()
    if not first:
        return range(max(0, size - int(last)), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(size, int(last) + 1) if last else size)


def crc32c(content: bytes) -> str:
    """CRC32C as Cloud Storage writes it: base64 of four bytes, big-endian."""
    return b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()


def md5(content: bytes) -> str:
    """MD5 as Cloud Storage writes it: base64."""
    return b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def customer_key(headers: Message) -> dict[str, Any]:
    """The field of an object that says under which key of the client's own it is encrypted; none without such a key.

    https://cloud.google.com/storage/docs/encryption/customer-supplied-keys
    """
    digest = headers.get("x-goog-encryption-key-sha256")
    return {"customerEncryption": {"encryptionAlgorithm": "AES256", "keySha256": str(digest)}} if digest else {}


def expected_hashes(headers: Message) -> dict[str, str]:
    """The hashes in `X-Goog-Hash` and `Content-MD5`, by the names of an object's fields."""
    names = {"crc32c": "crc32c", "md5": "md5Hash"}
    listed = ",".join(headers.get_all("x-goog-hash", [])).split(",")
    pairs = (item.strip().partition("=") for item in listed)
    found = {names[key]: value for key, _, value in pairs if key in names}
    return found | ({"md5Hash": headers["content-md5"]} if "content-md5" in headers else {})
