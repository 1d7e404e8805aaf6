"""The console behind Identity-Aware Proxy: only requests with the proxy's assertion get through."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from google.auth import exceptions
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp

from speechpipe.console.guard import IAP_HEADER, IAP_KEYS_URL, Guard, IapAssertions

AUDIENCE = "/projects/1/locations/europe-west4/services/speechpipe-console"
KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())


def encoded(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def assertion(key: ec.EllipticCurvePrivateKey = KEY, **claims: Any) -> str:
    """An assertion as the proxy signs it: ES256, valid for ten minutes."""
    now = int(time.time())
    body = {"iss": "https://cloud.google.com/iap", "aud": AUDIENCE, "iat": now, "exp": now + 600, "email": "a@b.c"}
    head = {"alg": "ES256", "typ": "JWT", "kid": "one"}
    signed = b".".join(encoded(json.dumps(part).encode()) for part in (head, body | claims))
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
    return (signed + b"." + encoded(r.to_bytes(32, "big") + s.to_bytes(32, "big"))).decode()


def keys(url: str, **_: Any) -> Any:
    """Google's response with the public keys."""
    assert url == IAP_KEYS_URL
    public = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return SimpleNamespace(status=200, data=json.dumps({"one": public.decode()}).encode(), headers={})


def unreachable(*_: Any, **__: Any) -> Any:
    raise exceptions.TransportError("no network")  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("make", "valid"),
    [
        (lambda: assertion(), True),
        (lambda: assertion(aud="/projects/1/locations/europe-west4/services/other"), False),
        (lambda: assertion(iss="https://accounts.google.com"), False),
        (lambda: assertion(exp=int(time.time()) - 600, iat=int(time.time()) - 1200), False),
        (lambda: assertion(OTHER), False),
        (lambda: "no token", False),
        (lambda: "", False),
        (lambda: None, False),
    ],
)
def test_an_assertion_must_be_signed_by_the_proxy_for_this_service_and_not_expired(
    make: Callable[[], str | None], valid: bool
) -> None:
    assert IapAssertions(AUDIENCE, cast(Any, keys)).valid(make()) is valid


def answer(app: ASGIApp, **headers: str) -> httpx.Response:
    """The response to a GET."""

    async def get() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://console") as client:
            return await client.get("/", headers=headers)

    return asyncio.run(get())


@pytest.mark.parametrize(
    ("fetch", "headers", "status"),
    [
        (keys, lambda: {IAP_HEADER: assertion()}, 200),
        (keys, lambda: {IAP_HEADER: assertion(OTHER)}, 401),
        (keys, lambda: {}, 401),
        (keys, lambda: {"x-goog-authenticated-user-email": "accounts.google.com:a@b.c"}, 401),
        (unreachable, lambda: {IAP_HEADER: assertion()}, 503),
    ],
)
def test_without_a_valid_assertion_nothing_is_served(
    fetch: Any, headers: Callable[[], dict[str, str]], status: int
) -> None:
    guarded = Guard(
        PlainTextResponse("inside"), hosts=None, assertions=IapAssertions(AUDIENCE, fetch), csp="default-src 'none'"
    )
    response = answer(guarded, **headers())
    assert response.status_code == status
    assert ("inside" in response.text) is (status == 200)
