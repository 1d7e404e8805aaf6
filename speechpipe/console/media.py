"""Serves a recording's audio by ranges, streamed from the bucket one chunk at a time and unpacked if it is gzip."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from speechpipe.backends.ports import Uploads
from speechpipe.console.gunzip import Gunzip
from speechpipe.console.pieces import PIECE_BYTES
from speechpipe.contract import Source

CHUNK_BYTES = 256 * 1024
_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)
#: Content types that are passed on. Any other upload is served as bytes, so that a browser never renders it as a page.
_PLAYABLE = re.compile(r"(audio|video)/[\w.+-]+", re.ASCII)
_POLICY = "default-src 'none'; sandbox"


def audio_response(request: Request, source: Source, uploads: Uploads, gunzip: Gunzip) -> Response:
    """The whole file, or the beginning of the range that was requested; a browser then asks for the next.

    Raises Rejected: object_gone, or for a damaged gzip file.
    """
    headers = {"accept-ranges": "bytes", "content-security-policy": _POLICY, "cache-control": "private, max-age=3600"}
    uploaded_as = source.content_type or ""
    media_type = uploaded_as if _PLAYABLE.fullmatch(uploaded_as) else "application/octet-stream"
    with ExitStack() as stack:
        # Before the response starts, so that a missing object is an error, not a truncated body.
        file = stack.enter_context(uploads.open(source))
        content = gunzip.look(source, file)
        size = content.size if content else source.size
        requested = _RANGE.fullmatch(request.headers.get("range", "").strip())
        first, last, status = 0, size - 1, 200
        if requested and requested[0] != "bytes=-":
            first, last = _range(requested[1], requested[2], size)
            if first > last:
                return Response(status_code=416, headers={**headers, "content-range": f"bytes */{size}"})
            last = min(last, first + PIECE_BYTES - 1)
            headers["content-range"] = f"bytes {first}-{last}/{size}"
            status = 206
        count = last - first + 1
        headers["content-length"] = str(count)
        if request.method == "HEAD" or not count:
            return Response(status_code=status, headers=headers, media_type=media_type)
        file_stays_open = stack.pop_all()

    def body() -> Iterator[bytes]:
        with file_stays_open:
            yield from content.read(file, first, count) if content else _read(file, first, count)

    return StreamingResponse(body(), status_code=status, headers=headers, media_type=media_type)


def _read(file: BinaryIO, first: int, count: int) -> Iterator[bytes]:
    file.seek(first)
    while count and (part := file.read(min(count, CHUNK_BYTES))):
        count -= len(part)
        yield part


def _range(first: str, last: str, size: int) -> tuple[int, int]:
    """First and last byte of a range (RFC 9110, 14.1.2). First exceeds last if the range is not satisfiable."""
    if not first:
        return max(0, size - int(last)), size - 1
    return int(first), min(int(last), size - 1) if last else size - 1
