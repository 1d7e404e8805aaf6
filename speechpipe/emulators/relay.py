"""Stands in for Eventarc between the Firestore emulator and `join`.

The emulator posts each trigger event exactly once, whatever the response, and sends its body as base64 text under
`application/protobuf` (firebase-tools decodes it in functionsEmulator.ts). The relay decodes the body and delivers the
event until it is acknowledged.
"""

from __future__ import annotations

import base64
import binascii
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from speechpipe.contract.resources import Service
from speechpipe.emulators.deliver import Deliverer, Event


class Relay:
    """Accepts the emulator's requests on a port and delivers the events to a service."""

    def __init__(self, port: int, service: Service, deliverer: Deliverer) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                deliverer.deliver(Event(service, _headers(self.headers.items()), _decoded(body)))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing: the deliverer logs every failure."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="relay", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop accepting events."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _headers(headers: list[tuple[str, str]]) -> dict[str, str]:
    """The headers that belong to the event: its attributes and content type."""
    return {key: value for key, value in headers if key.lower().startswith("ce-") or key.lower() == "content-type"}


def _decoded(body: bytes) -> bytes:
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:  # an emulator version that sends raw bytes
        return body
