"""Check callers by the OpenID Connect tokens that Pub/Sub, Eventarc and Cloud Scheduler send as `Authorization`.

A second line behind Cloud Run's own check, which admits everybody who may invoke the service. Here the caller must be
the one account that `infra/` made for it, with an unexpired token that Google signed for this service. Claims of these
tokens: https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions.

Cloud Run hands on a token that it has checked with SIGNATURE_REMOVED in place of its signature
(https://cloud.google.com/run/docs/troubleshooting#signature-removed), and the claims are all that is left to check.
"""

from __future__ import annotations

import base64
import json
import math
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from google.auth import exceptions, transport
from google.auth.transport.requests import Request
from google.oauth2 import id_token

from speechpipe.contract.errors import Untrusted
from speechpipe.settings import CallerSettings

#: Google's certificates by key id.
CERTIFICATES_URL = "https://www.googleapis.com/oauth2/v1/certs"
ISSUERS = ("accounts.google.com", "https://accounts.google.com")
#: What Cloud Run puts in the place of the signature of a token that it has checked.
SIGNATURE_REMOVED = "SIGNATURE_REMOVED_BY_GOOGLE"
CLOCK_SKEW_SECONDS = 10
FETCH_SECONDS = 10.0
#: How long certificates are cached if the response does not say, and how much longer if newer ones cannot be fetched.
CACHED_SECONDS, STALE_SECONDS = 3600.0, 24 * 3600.0

EXPIRED, NOT_YET_VALID = "the token has expired", "the token is not valid yet"
_BEARER = re.compile(r"bearer ([\w.~+/=-]+)", re.IGNORECASE | re.ASCII)


class Certificates(transport.Request):
    """A transport for google-auth that caches certificates for the response's `max-age`. Thread-safe."""

    def __init__(self, fetch: transport.Request | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch, self._clock = fetch or Request(), clock
        self._lock = threading.Lock()
        self._cached: transport.Response | None = None
        self._fresh_until = 0.0

    def __call__(self, url: str, method: str = "GET", *_: Any, **__: Any) -> transport.Response:
        """Return the certificates. Raises TransportError if they cannot be fetched and the cached ones are too old."""
        with self._lock:
            if self._cached is None or self._clock() >= self._fresh_until:
                self._renew(url, method)
            assert self._cached
            return self._cached

    def _renew(self, url: str, method: str) -> None:
        try:
            response = self._fetch(url, method=method, timeout=FETCH_SECONDS)
            if response.status != 200 or not _is_json_object(response.data):
                raise exceptions.TransportError(f"certificates: {response.status}")  # type: ignore[no-untyped-call]
        except exceptions.TransportError:
            # Google's keys overlap by days, so cached certificates beat refusing all work.
            if self._cached is None or self._clock() >= self._fresh_until + STALE_SECONDS:
                raise
            return
        age = re.search(r"max-age=(\d+)", response.headers.get("cache-control") or "")
        self._cached, self._fresh_until = response, self._clock() + (float(age[1]) if age else CACHED_SECONDS)


def _is_json_object(content: bytes) -> bool:
    try:
        return isinstance(json.loads(content), dict)
    except ValueError:
        return False


class Headers(Protocol):
    """The headers of a request, as Flask and Starlette have them; names in any case."""

    def getlist(self, key: str, /) -> list[str]:
        """Every value of a header."""


@dataclass(frozen=True)
class Callers:
    """The accounts that may call, and the audience that their tokens must have."""

    emails: frozenset[str]
    audience: str | None  #: None: only Cloud Run's own check looks at it
    certificates: transport.Request = field(default_factory=Certificates)
    in_cloud_run: bool = False  #: whether only Cloud Run can have sent the request

    def check(self, headers: Headers) -> None:
        """Return if the request has the token of an allowed caller.

        Raises Untrusted if not, with a reason that never quotes the token, and TransportError if Google's certificates
        cannot be fetched. Blocks on the network while fetching them.
        """
        claims = self._claims(_token(headers), headers)
        if claims.get("iss") not in ISSUERS:
            raise Untrusted(401, "the token is from another issuer")
        if self.audience is not None and claims.get("aud") != self.audience:
            raise Untrusted(403, "the token is for another audience")
        if claims.get("email_verified") is not True or claims.get("email") not in self.emails:
            raise Untrusted(403, "the token is from another caller")

    def _claims(self, token: str, headers: Headers) -> Mapping[str, Any]:
        """The claims of a token whose signature and times are right."""
        if not (self.in_cloud_run and token.split(".")[2:] == [SIGNATURE_REMOVED]):
            return self._verified(token)
        # With this header Cloud Run checks the token in it, and hands `Authorization` on as the caller wrote it:
        # https://cloud.google.com/run/docs/authenticating/service-to-service#acquire-token
        if headers.getlist("x-serverless-authorization"):
            raise Untrusted(401, "Cloud Run checked another token, not this one")
        return _checked_by_cloud_run(token)

    def _verified(self, token: str) -> Mapping[str, Any]:
        """The claims of a token, once its signature and times are verified."""
        try:
            # The audience is checked later, because google-auth's error message would quote the token's.
            claims = id_token.verify_token(
                token, self.certificates, certs_url=CERTIFICATES_URL, clock_skew_in_seconds=CLOCK_SKEW_SECONDS
            )
        except exceptions.TransportError:
            raise
        except Exception as error:  # untrusted bytes: any error of the parser means a bad token
            # The messages quote the token, and the exception types do not tell these two cases apart.
            late, early = str(error).startswith("Token expired"), str(error).startswith("Token used too early")
            reason = EXPIRED if late else NOT_YET_VALID if early else None
            raise Untrusted(401, reason or "it is not a token that Google signed") from None
        if not isinstance(claims, Mapping):
            raise Untrusted(401, "the token has no claims")
        return claims


def _token(headers: Headers) -> str:
    """The bearer token of a request. Raises Untrusted if it does not have exactly one."""
    values = headers.getlist("authorization")
    if not any(values):
        raise Untrusted(401, "the request has no token")
    bearer = _BEARER.fullmatch(values[0].strip())
    if bearer is None or len(values) > 1:
        raise Untrusted(401, "the header has no bearer token")
    return bearer[1]


def _checked_by_cloud_run(token: str) -> Mapping[str, Any]:
    """The claims of a token without a signature, once its times are checked."""
    payload = token.split(".")[1]
    try:
        claims = json.loads(base64.b64decode(payload + "=" * (-len(payload) % 4), altchars=b"-_", validate=True))
        issued, expires = float(claims["iat"]), float(claims["exp"])
        if not (math.isfinite(issued) and math.isfinite(expires)):
            raise ValueError("not a time")
    except Exception:  # untrusted bytes, as above; the message would quote them
        raise Untrusted(401, "the token cannot be read") from None
    now = time.time()
    if expires + CLOCK_SKEW_SECONDS < now:
        raise Untrusted(401, EXPIRED)
    if issued - CLOCK_SKEW_SECONDS > now:
        raise Untrusted(401, NOT_YET_VALID)
    assert isinstance(claims, dict)  # nothing else of JSON has words for keys
    return claims


def callers(settings: CallerSettings) -> Callers | None:
    """The allowed callers of the settings; None if they name none, as on a laptop."""
    if not settings.callers:
        return None
    return Callers(frozenset(settings.callers), settings.audience, in_cloud_run=settings.cloud_run_service is not None)
