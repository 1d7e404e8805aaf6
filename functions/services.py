"""What the functions share: settings and backend, made once a process and on first use.

Not at import: the framework imports a function in gunicorn's master and serves it in a fork, and a gRPC channel does
not survive a fork (https://github.com/grpc/grpc/blob/master/doc/fork_support.md).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, wraps
from threading import Lock
from typing import Any, ParamSpec

import flask

from speechpipe.errors import Unreadable
from speechpipe.log import configure
from speechpipe.ports import Backend
from speechpipe.settings import FunctionSettings, Telemetry, read
from speechpipe.telemetry import OFF, Tracing

P = ParamSpec("P")
log = logging.getLogger("functions")
_lock = Lock()


@dataclass(frozen=True)
class Services:
    """The settings of a function and what it works with."""

    settings: FunctionSettings
    backend: Backend
    tracing: Tracing = OFF

    def clock(self) -> datetime:
        """The time, in UTC."""
        return datetime.now(UTC)

    @property
    def joining(self) -> dict[str, Any]:
        """What `join` and `sweep` take."""
        backend = self.backend
        return {"store": backend.store, "bus": backend.bus, "results": backend.results, "clock": self.clock}


def services() -> Services:
    """Settings and clients, the same ones each time. Raises SettingsMissing, naming every missing key."""
    with _lock:  # two first requests at once make one set of clients
        return _services()


@cache
def _services() -> Services:
    from speechpipe import gcp

    settings = read(FunctionSettings)
    backend = gcp.connect(settings)
    if settings.traces == "off":
        return Services(settings, backend)
    from speechpipe import exporters, traced

    # Flushed before each answer: between requests a function has no CPU.
    service = os.environ.get("K_SERVICE") or os.environ.get("FUNCTION_TARGET", "functions")
    tracing = exporters.tracing_to(settings.traces, service, flush_each=True)
    return Services(settings, traced.over(backend, tracing, traced.GOOGLE), tracing)


def delivery() -> str | None:
    """The trace context of the request in hand, which the platform made."""
    return flask.request.headers.get("traceparent")


def start() -> None:
    """What a function's module does at import: set up the log. Clients wait for the first request.

    In Cloud Run a missing setting ends the process here, and so the deployment, instead of every request.
    """
    configure(read(Telemetry).log_format)
    if os.environ.get("K_SERVICE"):
        read(FunctionSettings)


def acknowledging_the_unreadable(function: Callable[P, Any]) -> Callable[P, Any]:
    """Log what is not one of our messages and answer 2xx: a 400 would be delivered again for days.

    Every other exception goes up: the framework answers 500 and the platform delivers again.
    """

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
        try:
            return function(*args, **kwargs)
        except Unreadable as error:
            log.error("%s", error, extra={"action": "unreadable"})
            return "", 204

    return wrapper
