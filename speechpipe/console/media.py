"""Serves a recording's audio with range requests, streamed from the bucket one chunk at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from speechpipe.backends.ports import Uploads
from speechpipe.contract import Source

CHUNK_BYTES = 256 * 1024
_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)
#: Content types that are passed on. Any other upload is served as bytes, so that a browser never renders it as a page.
_PLAYABLE = re.compile(r"(audio|video)/[\w.+-]+", re.ASCII)
_POLICY = "default-src 'none'; sandbox"


def audio_response(request: Request, source: Source, uploads: Uploads) -> Response:
    """The whole file, or the range that was requested. Raises Rejected(object_gone)."""
    size = source.size
    headers = {"accept-ranges": "bytes", "content-security-policy": _POLICY, "cache-control": "private, max-age=3600"}
    uploaded_as = source.content_type or ""
    media_type = uploaded_as if _PLAYABLE.fullmatch(uploaded_as) else "application/octet-stream"
    requested = _RANGE.fullmatch(request.headers.get("range", "").strip())
    first, last, status = 0, size - 1, 200
    if requested and requested[0] != "bytes=-":
        first, last = _range(requested[1], requested[2], size)
        if first > last:
            return Response(status_code=416, headers={**headers, "content-range": f"bytes */{size}"})
        headers["content-range"] = f"bytes {first}-{last}/{size}"
        status = 206
    headers["content-length"] = str(last - first + 1)
    if request.method == "HEAD" or not size:
        return Response(status_code=status, headers=headers, media_type=media_type)
    with ExitStack() as stack:
        file = stack.enter_context(
            uploads.open(source)
        )  # before the response starts, so that a missing object is an error, not a truncated body
        file.seek(first)
        open_file = stack.pop_all()

    def chunks() -> Iterator[bytes]:
        left = last - first + 1
        with open_file:
            while left and (part := file.read(min(left, CHUNK_BYTES))):
                left -= len(part)
                yield part

    return StreamingResponse(chunks(), status_code=status, headers=headers, media_type=media_type)


def _range(first: str, last: str, size: int) -> tuple[int, int]:
    """First and last byte of a range (RFC 9110, 14.1.2). First exceeds last if the range is not satisfiable."""
    if not first:
        return max(0, size - int(last)), size - 1
    return int(first), min(int(last), size - 1) if last else size - 1
