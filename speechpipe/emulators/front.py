"""Stands in for Cloud Run's front end: every request to a function or a worker passes here.

Pushes (`push`), events (`deliver`) and the schedule (`cloud`) all call `Front.post`, so whatever Cloud Run does to a
request or an answer is done in one place: the token is that of an allowed caller, without its signature, and an answer
that is too large becomes a 500.
"""

from __future__ import annotations

import http.client
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from speechpipe.contract.resources import Service
from speechpipe.emulators import callers

log = logging.getLogger(__name__)

#: The largest answer that Cloud Run passes on in one piece; a chunked one, without Content-Length, may be of any size.
#: https://cloud.google.com/run/quotas#request_limits
MAX_ANSWER_BYTES = 32 * 1024**2


@dataclass(frozen=True)
class Front:
    """The way in to the services that listen on these ports of the loopback interface."""

    ports: Mapping[Service, int]

    def post(self, service: Service, headers: Mapping[str, str], body: bytes, seconds: float) -> int | None:
        """Post a request as the service's own caller. Returns the status, or None without an answer in `seconds`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[service], timeout=seconds)
        try:
            token = {"authorization": f"Bearer {callers.forwarded_token(service)}"}
            connection.request("POST", "/", body=body, headers={**headers, **token})
            answer = connection.getresponse()
            status = (
                HTTPStatus.INTERNAL_SERVER_ERROR if too_large(answer.headers.get("content-length")) else answer.status
            )
        except (OSError, http.client.HTTPException) as error:
            log.warning("no answer from %s: %s", service.value, type(error).__name__, extra={"action": "redeliver"})
            return None
        finally:
            connection.close()
        if not 200 <= status < 300:
            log.warning("%s answered %d", service.value, status, extra={"action": "redeliver"})
        return status


def too_large(content_length: str | None) -> bool:
    """Whether Cloud Run would cut off an answer with this header."""
    return content_length is not None and content_length.isdecimal() and int(content_length) > MAX_ANSWER_BYTES


class CutAnswers:
    """Middleware for an ASGI application, such as the console, that cuts off its large answers as Cloud Run does."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass the request on, and the answer back unless it is too large."""
        cut = False

        async def send_uncut(message: Any) -> None:
            nonlocal cut
            if message["type"] == "http.response.start":
                lengths = [value for name, value in message["headers"] if name.lower() == b"content-length"]
                cut = any(too_large(length.decode()) for length in lengths)
                if cut:
                    text = b"Response size was too large. Please consider reducing response size."
                    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(text)).encode())]
                    await send({"type": "http.response.start", "status": 500, "headers": headers})
                    await send({"type": "http.response.body", "body": text})
            if not cut:
                await send(message)

        await self._app(scope, receive, send_uncut)
