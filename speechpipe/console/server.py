"""Runs the console's web server, in a background thread or as the process itself."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp

from speechpipe.client import Client
from speechpipe.console.app import create_app
from speechpipe.console.guard import IapAssertions
from speechpipe.console.watcher import RunningProcesses

PORT = 8090
_PORTS_TRIED = 10  #: from PORT upwards, before any free port is taken
LOOPBACK = "127.0.0.1"
#: How long open requests may take to complete during shutdown.
_GRACE_SECONDS = 2


class Console:
    """Serves the console on the loopback interface until closed; a context manager.

    `processes` returns which of the system's processes are running, where that is known. `front` wraps the application
    in what stands before it in the cloud.
    """

    def __init__(
        self,
        client: Client,
        *,
        processes: RunningProcesses | None = None,
        front: Callable[[ASGIApp], ASGIApp] = lambda app: app,
    ) -> None:
        self._client, self._processes, self._front = client, processes, front

    def __enter__(self) -> Self:
        """Bind a port and start serving."""
        self._socket = bind_loopback(PORT)
        port = self._socket.getsockname()[1]
        self.url = f"http://{LOOPBACK}:{port}/"
        hosts = [f"{name}:{port}" for name in (LOOPBACK, "localhost")]
        self.app = create_app(self._client, hosts=hosts, processes=self._processes)
        self._server = uvicorn.Server(_config(self._front(self.app)))
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="console", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End all event streams and stop serving."""
        self.app.state.hub.close()
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


def bind_loopback(first: int) -> socket.socket:
    """A listening socket on the loopback interface: on that port, one of the next few, or any. Raises OSError."""
    for port in (*range(first, first + _PORTS_TRIED), 0):
        candidate = socket.socket()
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((LOOPBACK, port))
        except OSError:
            candidate.close()
            continue
        candidate.listen(128)
        return candidate
    raise OSError("no port is free")


def serve_behind_iap(client: Client, *, audience: str, host: str, port: int) -> None:
    """Serve until the process is told to stop, only to requests that came through Identity-Aware Proxy."""
    app = create_app(client, hosts=None, assertions=IapAssertions(audience))
    uvicorn.Server(_config(app, host=host, port=port)).run()


def _config(app: object, **where: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        access_log=False,  # URLs contain search terms
        log_config=None,
        log_level=logging.WARNING,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        **where,  # type: ignore[arg-type]
    )
