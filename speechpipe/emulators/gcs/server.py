"""HTTP for the store: reads requests to their end, writes answers, and lets pages of this machine read them (CORS)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from speechpipe.emulators.gcs.answers import Answer, Refused, bad_request
from speechpipe.emulators.gcs.formats import Request
from speechpipe.emulators.gcs.json_api import JsonApi
from speechpipe.emulators.gcs.objects import Resource
from speechpipe.emulators.gcs.sessions import Sessions
from speechpipe.emulators.gcs.store import Store
from speechpipe.emulators.gcs.xml_api import XmlApi

log = logging.getLogger(__name__)


class Server(ThreadingHTTPServer):
    """Cloud Storage on a port of the loopback interface, 0 for any; `finalized` is called with each new object."""

    daemon_threads = True
    request_queue_size = 128  # gcloud opens dozens of connections at the same moment

    def __init__(self, port: int, finalized: Callable[[Resource], None]) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.store = Store(finalized, f"http://127.0.0.1:{self.server_port}")
        sessions = Sessions()
        #: The JSON API first: a bucket's name has at least three characters, so that `/b/...` is none.
        self.apis = (JsonApi(self.store, sessions), XmlApi(self.store, sessions))

    def answer(self, request: Request) -> Answer:
        """Carry out a request."""
        if request.path == "/":
            return Answer(HTTPStatus.OK, b"OK")
        try:
            for api in self.apis:
                if answer := api.answer(request):
                    return answer
        except Refused as refused:
            return refused.answer
        log.warning("not implemented: %s", request.method, extra={"action": "not_implemented"})
        message = f"This emulator has no {request.method} {request.path}"
        return Refused(HTTPStatus.NOT_IMPLEMENTED, message, "notImplemented").answer


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two packets
    timeout = 300  #: seconds that a connection may stay idle; browsers open some without using them

    def handle_any(self) -> None:
        """Answer a request."""
        try:
            request = Request("GET" if self.command == "HEAD" else self.command, self.path, self.headers, self._body())
        except Refused as refused:
            self.close_connection = True  # the rest of the body cannot be told from the next request
            self._send(refused.answer)
            return
        try:
            answer = self.server.answer(request)
        except Exception:  # a defect of ours: without an answer the client would repeat it for half a minute
            log.exception("a request failed", extra={"action": "emulator_failed"})
            answer = Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "The emulator failed.", "internalError").answer
        self._send(answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    def do_OPTIONS(self) -> None:
        """Answer a browser's CORS preflight request: pages may upload to a session created for them."""
        allowed = {"access-control-allow-methods": "PUT", "access-control-allow-headers": "content-type, content-range"}
        self._send(Answer(HTTPStatus.NO_CONTENT, b"", allowed))

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log no requests: they have names of recordings."""

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            return b"".join(iter(self._chunk, b""))
        length = self.headers.get("content-length", "0")
        if not length.isdecimal():
            raise bad_request("Invalid Content-Length")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise bad_request("The client ended the request before its content")
        return body

    def _chunk(self) -> bytes:
        """The next chunk of a body without a length; the last one is empty."""
        try:
            size = int(self.rfile.readline().partition(b";")[0], 16)
        except ValueError:
            raise bad_request("Invalid chunk") from None
        chunk = self.rfile.read(size)
        while self.rfile.readline().strip() and not size:  # the end of the chunk, or trailers
            pass
        return chunk

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status, answer.phrase)
        for name, value in answer.headers.items():
            # Custom metadata may have any characters, and headers are Latin-1 without line breaks.
            self.send_header(name, " ".join(value.splitlines()).encode().decode("latin-1"))
        if answer.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            self.send_header("content-length", str(len(answer.body)))
        origin = self.headers.get("origin", "")
        if urlsplit(origin).hostname in ("127.0.0.1", "localhost", "::1"):
            self.send_header("access-control-allow-origin", origin)
            self.send_header("access-control-expose-headers", "range")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
