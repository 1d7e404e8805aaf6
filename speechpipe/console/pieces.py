"""Keeps every answer below the size that Cloud Run passes on.

Cloud Run ends an answer of more than 32 MiB with a 500, unless it is chunked (https://cloud.google.com/run/quotas). So
a part of a file has at most PIECE_BYTES, and a larger answer has no Content-Length, which makes the server send chunks.
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PIECE_BYTES = 8 * 1024**2


class Pieces:
    """Middleware that sends an answer of more than PIECE_BYTES in chunks."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and the answer back without its length if that is too large."""

        async def send_in_chunks(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if int(headers.get("content-length", 0)) > PIECE_BYTES:
                    del headers["content-length"]
            await send(message)

        await self._app(scope, receive, send_in_chunks)
