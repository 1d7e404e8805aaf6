"""Who calls: OpenID Connect tokens of Google's that Pub/Sub, Eventarc and Cloud Scheduler send as `Authorization`.

A second line behind Cloud Run's own check, which lets in whoever may invoke the service: here it has to be the one
account that `infra/` made for it, and the token one that Google signed, in time, for this service. What the tokens
hold: https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.auth import exceptions, transport
from google.auth.transport.requests import Request
from google.oauth2 import id_token

from speechpipe.contract.errors import Untrusted
from speechpipe.settings import CallerSettings

#: Google's certificates by the id of their key.
CERTIFICATES_URL = "https://www.googleapis.com/oauth2/v1/certs"
ISSUERS = ("accounts.google.com", "https://accounts.google.com")
CLOCK_SKEW_SECONDS = 10
FETCH_SECONDS = 10.0
#: How long certificates are kept if the answer does not say; and for how much longer if no newer ones can be had.
KEPT_SECONDS, KEPT_LONGER_SECONDS = 3600.0, 24 * 3600.0

_BEARER = re.compile(r"bearer ([\w.~+/=-]+)", re.IGNORECASE | re.ASCII)


class Certificates(transport.Request):
    """Fetches certificates as google-auth wants it, and again when the answer's `max-age` is over. Thread-safe."""

    def __init__(self, fetch: transport.Request | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch, self._clock = fetch or Request(), clock
        self._lock = threading.Lock()
        self._kept: transport.Response | None = None
        self._until = 0.0

    def __call__(self, url: str, method: str = "GET", *_: Any, **__: Any) -> transport.Response:
        """The answer. Raises TransportError if there is none, and none was kept that is not too old."""
        with self._lock:
            if self._kept is None or self._clock() >= self._until:
                self._renew(url, method)
            assert self._kept
            return self._kept

    def _renew(self, url: str, method: str) -> None:
        try:
            response = self._fetch(url, method=method, timeout=FETCH_SECONDS)
            if response.status != 200 or not _is_an_object(response.data):
                raise exceptions.TransportError(f"certificates: {response.status}")  # type: ignore[no-untyped-call]
        except exceptions.TransportError:
            # Google's keys overlap by days: better the old ones than no work.
            if self._kept is None or self._clock() >= self._until + KEPT_LONGER_SECONDS:
                raise
            return
        age = re.search(r"max-age=(\d+)", response.headers.get("cache-control") or "")
        self._kept, self._until = response, self._clock() + (float(age[1]) if age else KEPT_SECONDS)


def _is_an_object(content: bytes) -> bool:
    try:
        return isinstance(json.loads(content), dict)
    except ValueError:
        return False


@dataclass(frozen=True)
class Callers:
    """The accounts that may call, and what their tokens have to be for."""

    emails: frozenset[str]
    audience: str | None  #: None: Cloud Run's own check sees to it
    certificates: transport.Request = field(default_factory=Certificates)

    def check(self, authorization: str | None) -> None:
        """Return if the header `Authorization` holds the token of a caller.

        Raises Untrusted, whose reason never quotes the token, and TransportError if Google's certificates are not
        to be had. Blocks on the network when they have to be fetched.
        """
        if not authorization:
            raise Untrusted(401, "there is no token")
        bearer = _BEARER.fullmatch(authorization.strip())
        if bearer is None:
            raise Untrusted(401, "the header holds no bearer token")
        claims = self._verified(bearer[1])
        if claims.get("iss") not in ISSUERS:
            raise Untrusted(401, "the token is of another issuer")
        if self.audience is not None and claims.get("aud") != self.audience:
            raise Untrusted(403, "the token is for another audience")
        if claims.get("email_verified") is not True or claims.get("email") not in self.emails:
            raise Untrusted(403, "the token is of another caller")

    def _verified(self, token: str) -> Mapping[str, Any]:
        """The claims of a token that is signed and in time."""
        try:
            # Without the audience: google-auth's own message would quote what the token says.
            claims = id_token.verify_token(
                token, self.certificates, certs_url=CERTIFICATES_URL, clock_skew_in_seconds=CLOCK_SKEW_SECONDS
            )
        except exceptions.TransportError:
            raise
        except Exception as error:  # strangers' bytes: whatever the parser makes of them is not a signature
            # Its messages quote the token, and its types do not tell these apart.
            late, early = str(error).startswith("Token expired"), str(error).startswith("Token used too early")
            reason = "the token has expired" if late else "the token is of the future" if early else None
            raise Untrusted(401, reason or "it is no token that Google signed") from None
        if not isinstance(claims, Mapping):
            raise Untrusted(401, "the token holds no claims")
        return claims


def callers(settings: CallerSettings) -> Callers | None:
    """Who may call, as the settings say; None where nobody is named, as on a laptop."""
    return Callers(frozenset(settings.callers), settings.audience) if settings.callers else None
