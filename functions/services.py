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
from functools import cache, cached_property, wraps
from threading import Lock
from typing import TYPE_CHECKING, Any, ParamSpec

import flask

from speechpipe.backends.ports import Backend
from speechpipe.contract.errors import Unreadable, Untrusted
from speechpipe.observe.log import configure
from speechpipe.observe.spans import OFF, Tracing
from speechpipe.settings import FunctionSettings, Telemetry, read

if TYPE_CHECKING:
    from speechpipe.backends.gcp.oidc import Callers

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

    @cached_property
    def callers(self) -> Callers | None:
        """Who may call; None where the settings name nobody."""
        from speechpipe.backends.gcp import oidc

        return oidc.callers(self.settings)

    @property
    def joining(self) -> dict[str, Any]:
        """What `join` and `sweep` take."""
        backend = self.backend
        return {
            "store": backend.store,
            "bus": backend.bus,
            "uploads": backend.uploads,
            "results": backend.results,
            "clock": self.clock,
            "embed_bytes": self.settings.embed_bytes,
        }


def services() -> Services:
    """Settings and clients, the same ones each time. Raises SettingsMissing, naming every missing key."""
    with _lock:  # two first requests at once make one set of clients
        return _services()


@cache
def _services() -> Services:
    from speechpipe.backends import gcp

    settings = read(FunctionSettings)
    backend = gcp.connect(settings)
    if settings.traces == "off":
        return Services(settings, backend)
    from speechpipe.observe import exporters, instrumented

    # Flushed before each answer: between requests a function has no CPU.
    service = os.environ.get("K_SERVICE") or os.environ.get("FUNCTION_TARGET", "functions")
    tracing = exporters.tracing_to(settings.traces, service, flush_each=True)
    return Services(settings, instrumented.instrument(backend, tracing, instrumented.GOOGLE), tracing)


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


def for_callers_only(function: Callable[P, Any]) -> Callable[P, Any]:
    """Answer 401 or 403 to whoever is none of the callers that the settings name: the platform delivers again."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
        callers = services().callers
        if callers is not None:
            _check(callers)
        return function(*args, **kwargs)

    return wrapper


def _check(callers: Callers) -> None:
    """Return if the request in hand is a caller's; else end it."""
    from google.auth.exceptions import TransportError

    try:
        callers.check(flask.request.headers.get("authorization"))
    except Untrusted as error:
        log.warning("refused: %s", error, extra={"action": "refused"})
        challenge = {"www-authenticate": "Bearer"} if error.status == 401 else {}
        flask.abort(flask.make_response({"error": str(error)}, error.status, challenge))
    except TransportError:
        log.exception("Google's certificates could not be fetched", extra={"action": "unverified"})
        flask.abort(flask.make_response({"error": "callers cannot be verified now"}, 503))


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
