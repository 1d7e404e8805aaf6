"""The console in a thread of its own, or alone in its process."""

from __future__ import annotations

import logging
import socket
import threading
from types import TracebackType
from typing import Self

import uvicorn

from speechpipe.client import Client
from speechpipe.console.app import create_app
from speechpipe.console.guard import Assertions
from speechpipe.console.watcher import Workers

PORT = 8090
_PORTS = 10  #: from PORT on, before any other will do
LOOPBACK = "127.0.0.1"
#: Whoever is being answered has so long once the console has to go.
_GRACE_SECONDS = 2


class Console:
    """Serves the console on the loopback interface until closed; a context manager.

    `workers` says which processes run, where somebody knows.
    """

    def __init__(self, client: Client, *, workers: Workers | None = None) -> None:
        self._client, self._workers = client, workers

    def __enter__(self) -> Self:
        """Listen, and begin to serve."""
        self._socket = listening(PORT)
        port = self._socket.getsockname()[1]
        self.url = f"http://{LOOPBACK}:{port}/"
        hosts = [f"{name}:{port}" for name in (LOOPBACK, "localhost")]
        self.app = create_app(self._client, hosts=hosts, workers=self._workers)
        self._server = uvicorn.Server(_config(self.app))
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="console", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop."""
        self.app.state.hub.close()
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


def listening(first: int) -> socket.socket:
    """A socket on the loopback interface: that port, or one of the next, or any."""
    for port in (*range(first, first + _PORTS), 0):
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((LOOPBACK, port))
        except OSError:
            made.close()
            continue
        made.listen(128)
        return made
    raise OSError("no port is free")


def serve_behind_iap(client: Client, *, audience: str, host: str, port: int) -> None:
    """Serve until told to stop, to whoever comes through Identity-Aware Proxy alone."""
    app = create_app(client, hosts=None, assertions=Assertions(audience))
    uvicorn.Server(_config(app, host=host, port=port)).run()


def _config(app: object, **where: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        access_log=False,  # addresses hold what people search for
        log_config=None,
        log_level=logging.WARNING,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        **where,  # type: ignore[arg-type]
    )
