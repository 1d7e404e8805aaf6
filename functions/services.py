"""What the functions share: settings and a world, made once per process and on first use.

Not at import: the framework imports a function in gunicorn's master and serves it from a fork, and a gRPC channel does
not survive a fork (https://github.com/grpc/grpc/blob/master/doc/fork_support.md).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, wraps
from threading import Lock
from typing import TYPE_CHECKING, Any, ParamSpec

import flask

from speechpipe.contract.errors import Unreadable, Untrusted
from speechpipe.observe.log import configure
from speechpipe.observe.spans import OFF, Tracing
from speechpipe.pipeline.world import World, utc_now
from speechpipe.settings import FunctionSettings, Telemetry, read

if TYPE_CHECKING:
    from speechpipe.backends.gcp.oidc import Callers

P = ParamSpec("P")
log = logging.getLogger("functions")
_lock = Lock()


@dataclass(frozen=True)
class Services:
    """A function's settings, its world and its traces."""

    settings: FunctionSettings
    world: World
    tracing: Tracing = OFF

    @cached_property
    def callers(self) -> Callers | None:
        """Who may call; None if the settings name nobody."""
        from speechpipe.backends.gcp import oidc

        return oidc.callers(self.settings)


def services() -> Services:
    """The same settings and clients each time. Raises SettingsMissing, which names every missing key."""
    with _lock:  # two requests that arrive first together share one set of clients
        return _services()


@cache
def _services() -> Services:
    from speechpipe.backends import gcp

    settings = read(FunctionSettings)
    backend = gcp.connect(settings)
    if settings.traces == "off":
        return Services(settings, World.over(backend, settings, utc_now))
    from speechpipe.observe import exporters, instrumented

    # Flushed before each response, because a function has no CPU between requests.
    service = os.environ.get("K_SERVICE") or os.environ.get("FUNCTION_TARGET", "functions")
    tracing = exporters.tracing_to(settings.traces, service, flush_each=True)
    backend = instrumented.instrument(backend, tracing, instrumented.GOOGLE)
    return Services(settings, World.over(backend, settings, utc_now), tracing)


def delivery() -> str | None:
    """The trace context that the platform gave the current request."""
    return flask.request.headers.get("traceparent")


def start() -> None:
    """Set up the log when a function's module is imported. Clients wait for the first request.

    On Cloud Run a missing setting fails here, so the deployment fails instead of every request.
    """
    configure(read(Telemetry).log_format)
    if os.environ.get("K_SERVICE"):
        read(FunctionSettings)


def for_callers_only(function: Callable[P, Any]) -> Callable[P, Any]:
    """Answer 401 or 403 to anyone but an allowed caller; the platform then redelivers."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
        callers = services().callers
        if callers is not None:
            _check(callers)
        return function(*args, **kwargs)

    return wrapper


def _check(callers: Callers) -> None:
    """Return if the current request comes from an allowed caller; otherwise abort it."""
    from google.auth.exceptions import TransportError

    try:
        callers.check(flask.request.headers)
    except Untrusted as error:
        log.warning("refused: %s", error, extra={"action": "refused"})
        challenge = {"www-authenticate": "Bearer"} if error.status == 401 else {}
        flask.abort(flask.make_response({"error": str(error)}, error.status, challenge))
    except TransportError:
        log.exception("Google's certificates could not be fetched", extra={"action": "unverified"})
        flask.abort(flask.make_response({"error": "callers cannot be verified now"}, 503))


def acknowledging_the_unreadable(function: Callable[P, Any]) -> Callable[P, Any]:
    """Log a message that is not one of ours and answer 2xx, because a 400 would be redelivered for days.

    Every other exception propagates: the framework answers 500, and the platform redelivers.
    """

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
        try:
            return function(*args, **kwargs)
        except Unreadable as error:
            log.error("%s", error, extra={"action": "unreadable"})
            return "", 204

    return wrapper
