"""A recording's sound, by ranges, straight out of the bucket: a chunk in memory at a time."""

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
#: What strangers uploaded is only ever media to a browser, whatever it is.
_PLAYABLE = re.compile(r"(audio|video)/[\w.+-]+", re.ASCII)
_POLICY = "default-src 'none'; sandbox"


def sound(request: Request, source: Source, uploads: Uploads) -> Response:
    """The bytes asked for. Raises Rejected(object_gone)."""
    size = source.size
    headers = {"accept-ranges": "bytes", "content-security-policy": _POLICY, "cache-control": "private, max-age=3600"}
    kind = source.content_type or ""
    media_type = kind if _PLAYABLE.fullmatch(kind) else "application/octet-stream"
    wanted = _RANGE.fullmatch(request.headers.get("range", "").strip())
    first, last, status = 0, size - 1, 200
    if wanted and wanted[0] != "bytes=-":
        first, last = _range(wanted[1], wanted[2], size)
        if first > last:
            return Response(status_code=416, headers={**headers, "content-range": f"bytes */{size}"})
        headers["content-range"] = f"bytes {first}-{last}/{size}"
        status = 206
    headers["content-length"] = str(last - first + 1)
    if request.method == "HEAD" or not size:
        return Response(status_code=status, headers=headers, media_type=media_type)
    with ExitStack() as stack:
        file = stack.enter_context(uploads.open(source))  # here, so that what is gone is said and not cut off
        file.seek(first)
        kept = stack.pop_all()

    def chunks() -> Iterator[bytes]:
        left = last - first + 1
        with kept:
            while left and (part := file.read(min(left, CHUNK_BYTES))):
                left -= len(part)
                yield part

    return StreamingResponse(chunks(), status_code=status, headers=headers, media_type=media_type)


def _range(first: str, last: str, size: int) -> tuple[int, int]:
    """First and last byte of a range (RFC 9110, 14.1.2); the first behind the last where it cannot be had."""
    if not first:
        return max(0, size - int(last)), size - 1
    return int(first), min(int(last), size - 1) if last else size - 1
