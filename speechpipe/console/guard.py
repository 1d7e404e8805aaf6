"""Checks on every request, and security headers on every response.

Host            must name this server, so that a foreign name that resolves to it (DNS rebinding) is refused
Sec-Fetch-Site  a request that changes anything must come from the console's own page; old browsers: by Origin
IAP             behind Identity-Aware Proxy, the request must carry its signed assertion for this service
responses       a strict Content-Security-Policy: the page loads, runs and frames only content from here
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

#: Identity-Aware Proxy's public keys and issuer (https://cloud.google.com/iap/docs/signed-headers-howto).
IAP_KEYS_URL = "https://www.gstatic.com/iap/verify/public_key"
IAP_ISSUER = "https://cloud.google.com/iap"
IAP_HEADER = "x-goog-iap-jwt-assertion"

_SAFE_METHODS = ("GET", "HEAD")


def page_policy(uploads: str) -> str:
    """The page's Content-Security-Policy. `uploads` is the origin of the bucket's upload sessions, if any."""
    connect = " ".join(filter(None, ("'self'", uploads)))
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; frame-src 'self'; "
        f"connect-src {connect}; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


class IapAssertions:
    """Verifies Identity-Aware Proxy's assertions for one audience."""

    def __init__(self, audience: str, fetch: transport.Request | None = None) -> None:
        self._audience, self._keys = audience, Certificates(fetch)

    def valid(self, assertion: str | None) -> bool:
        """Whether it is signed by the proxy, for this service and not expired.

        Blocks on the network. Raises TransportError if the keys cannot be fetched.
        """
        if not assertion:
            return False
        try:
            claims: Mapping[str, Any] = id_token.verify_token(
                assertion, self._keys, audience=self._audience, certs_url=IAP_KEYS_URL
            )
        except exceptions.TransportError:
            raise
        except Exception:  # untrusted bytes: any parser error means that this is not a valid assertion
            return False
        return claims.get("iss") == IAP_ISSUER


class Guard:
    """Middleware around the whole application that enforces the checks of this module."""

    def __init__(
        self, app: ASGIApp, *, hosts: Collection[str] | None, assertions: IapAssertions | None, csp: str
    ) -> None:
        """`hosts`: accepted values of Host; None accepts any, because a proxy in front has checked it."""
        self._app, self._hosts, self._assertions, self._csp = app, hosts, assertions, csp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on and add the security headers to the response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def send_hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._harden(MutableHeaders(scope=message))
            await send(message)

        refusal = await self._refusal(scope["method"], scope["scheme"], headers)
        if refusal is None:
            await self._app(scope, receive, send_hardened)
            return
        status, reason = refusal
        log.warning("refused: %s", reason, extra={"action": "console_refused"})
        await JSONResponse({"error": reason}, status_code=status)(scope, receive, send_hardened)

    async def _refusal(self, method: str, scheme: str, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if self._hosts is not None and host not in self._hosts:
            return 421, "the Host header does not name this server"
        if self._assertions is not None:
            try:
                if not await asyncio.to_thread(self._assertions.valid, headers.get(IAP_HEADER)):
                    return 401, "the request did not come through Identity-Aware Proxy"
            except exceptions.TransportError:
                return 503, "Google's keys could not be fetched"
        if method not in _SAFE_METHODS and not _is_same_origin(headers, host):
            return 403, "this request is only accepted from the console's own page"
        return None

    def _harden(self, headers: MutableHeaders) -> None:
        headers.setdefault("content-security-policy", self._csp)
        headers.setdefault("cache-control", "no-store")
        headers["x-content-type-options"] = "nosniff"
        headers["referrer-policy"] = "no-referrer"
        headers["cross-origin-opener-policy"] = "same-origin"
        headers["cross-origin-resource-policy"] = "same-origin"
        headers["permissions-policy"] = "camera=(), microphone=(), geolocation=()"


def _is_same_origin(headers: Headers, host: str) -> bool:
    """Whether our own page sent the request. Browsers set these headers, and scripts cannot change them."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    return headers.get("origin", "").partition("://")[2] == host
