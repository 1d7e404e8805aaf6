"""A service to deliver to."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from speechpipe.contract.resources import Service
from speechpipe.emulators.front import Front


class Target:
    """A service that responds with these statuses, one per request; then with 204.

    With `hold` it answers nobody until `release`. `length`: a Content-Length that it claims.
    """

    def __init__(self, *answers: int, hold: bool = False, length: int = 0) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.open = self.most_open = 0  #: requests that are not answered yet: now, and at most
        self._released, self._lock = threading.Event(), threading.Lock()
        if not hold:
            self._released.set()
        pending = list(answers)
        target = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                target._count(1)
                target.received.append((dict(self.headers.items()), body))
                target._released.wait()
                target._count(-1)
                self.send_response(pending.pop(0) if pending else 204)
                self.send_header("content-length", str(length))
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.front = Front(dict.fromkeys(Service, self.server.server_address[1]))
        threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()

    def _count(self, more: int) -> None:
        with self._lock:
            self.open += more
            self.most_open = max(self.open, self.most_open)

    def release(self) -> None:
        """Answer everybody from now on."""
        self._released.set()

    def close(self) -> None:
        """Stop."""
        self._released.set()
        self.server.shutdown()
        self.server.server_close()
