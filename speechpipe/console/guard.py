"""Who may talk to the console, and what its pages may do.

Host            names this server: a name of a stranger's that leads here (DNS rebinding) is refused
Sec-Fetch-Site  a request that changes something comes from our own page (or, of an old browser, its Origin does)
IAP             behind Identity-Aware Proxy: its signed assertion, for this service, or nothing
answers         a strict policy: nothing but what comes from here runs, is shown, framed or sent
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from typing import Any

from google.auth import exceptions, transport
from google.oauth2 import id_token
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from speechpipe.backends.gcp.oidc import Certificates

log = logging.getLogger(__name__)

#: Where Identity-Aware Proxy's keys stand, and who signs (https://cloud.google.com/iap/docs/signed-headers-howto).
IAP_KEYS_URL = "https://www.gstatic.com/iap/verify/public_key"
IAP_ISSUER = "https://cloud.google.com/iap"
IAP_HEADER = "x-goog-iap-jwt-assertion"

_SAFE = ("GET", "HEAD")


def policy(uploads: str) -> str:
    """The page's Content-Security-Policy; `uploads` is the origin that files are sent to besides this one, if any."""
    sent = " ".join(filter(None, ("'self'", uploads)))
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; frame-src 'self'; "
        f"connect-src {sent}; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


class Assertions:
    """Identity-Aware Proxy's assertions for one audience."""

    def __init__(self, audience: str, fetch: transport.Request | None = None) -> None:
        self._audience, self._keys = audience, Certificates(fetch)

    def valid(self, assertion: str | None) -> bool:
        """Whether it is one of this service's, signed and in time. Blocks on the network; raises TransportError."""
        if not assertion:
            return False
        try:
            claims: Mapping[str, Any] = id_token.verify_token(
                assertion, self._keys, audience=self._audience, certs_url=IAP_KEYS_URL
            )
        except exceptions.TransportError:
            raise
        except Exception:  # strangers' bytes: whatever the parser makes of them is no assertion
            return False
        return claims.get("iss") == IAP_ISSUER


class Guard:
    """Round the whole application; nothing is let through that is not asked for as our own pages ask."""

    def __init__(self, app: ASGIApp, *, hosts: Collection[str] | None, assertions: Assertions | None, csp: str) -> None:
        """`hosts`: the values of Host that are this server; None: any, since a proxy in front sees to that."""
        self._app, self._hosts, self._assertions, self._csp = app, hosts, assertions, csp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the module."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._harden(MutableHeaders(scope=message))
            await send(message)

        refusal = await self._refusal(scope["method"], scope["scheme"], headers)
        if refusal is None:
            await self._app(scope, receive, sending)
            return
        status, reason = refusal
        log.warning("refused: %s", reason, extra={"action": "console_refused"})
        await JSONResponse({"error": reason}, status_code=status)(scope, receive, sending)

    async def _refusal(self, method: str, scheme: str, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if self._hosts is not None and host not in self._hosts:
            return 421, "this is not the server of that name"
        if self._assertions is not None:
            try:
                if not await asyncio.to_thread(self._assertions.valid, headers.get(IAP_HEADER)):
                    return 401, "this did not come through Identity-Aware Proxy"
            except exceptions.TransportError:
                return 503, "Google's keys could not be fetched"
        if method not in _SAFE and not _own(headers, host):
            return 403, "only the console's own page may do that"
        return None

    def _harden(self, headers: MutableHeaders) -> None:
        headers.setdefault("content-security-policy", self._csp)
        headers.setdefault("cache-control", "no-store")
        headers["x-content-type-options"] = "nosniff"
        headers["referrer-policy"] = "no-referrer"
        headers["cross-origin-opener-policy"] = "same-origin"
        headers["cross-origin-resource-policy"] = "same-origin"
        headers["permissions-policy"] = "camera=(), microphone=(), geolocation=()"


def _own(headers: Headers, host: str) -> bool:
    """Whether our own page sent this: browsers say where from, and a page cannot make them lie."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    return headers.get("origin", "").partition("://")[2] == host
