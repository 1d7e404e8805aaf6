"""Google's side of authentication, with our own keys: certificates served over HTTP, and tokens signed with them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

AUDIENCE = "https://speechpipe-stt-worker-123.europe-west4.run.app"
CALLER = "speechpipe-stt-worker-caller@example-project.iam.gserviceaccount.com"
KEY_ID = "key-1"


class Signer:
    """A key and its certificate."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM).decode()

    def token(self, *, alg: str = "RS256", key_id: str | None = KEY_ID, **claims: Any) -> str:
        """A token like Pub/Sub's, with these claims changed; a claim that is None is left out."""
        now = int(time.time())
        sent = {
            "iss": "https://accounts.google.com",
            "aud": AUDIENCE,
            "email": CALLER,
            "email_verified": True,
            "sub": "1",
            "iat": now,
            "exp": now + 3600,
            **claims,
        }
        header = {"alg": alg, "typ": "JWT", **({"kid": key_id} if key_id else {})}
        payload = {key: value for key, value in sent.items() if value is not None}
        signed = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(payload).encode())}"
        return f"{signed}.{encoded(self._signature(alg, signed.encode()))}"

    def _signature(self, alg: str, signed: bytes) -> bytes:
        if alg == "none":
            return b""
        if alg == "HS256":  # an attack: the public key as the shared secret
            return hmac.new(self.certificate.encode(), signed, hashlib.sha256).digest()
        return self._key.sign(signed, padding.PKCS1v15(), hashes.SHA256())


def forwarded(token: str) -> str:
    """A token as Cloud Run hands it on to a container once it has checked it."""
    return ".".join([*token.split(".")[:2], "SIGNATURE_REMOVED_BY_GOOGLE"])


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class Endpoint:
    """The certificates' HTTP server, on the loopback interface; counts its requests."""

    def __init__(self, certificates: dict[str, str]) -> None:
        self.certificates: object = certificates
        self.status, self.requests = 200, 0
        self.headers = {"cache-control": "public, max-age=20000, must-revalidate, no-transform"}
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802, RUF100 - the library's name
                endpoint.requests += 1
                self.send_response(endpoint.status)
                for name, value in endpoint.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(json.dumps(endpoint.certificates).encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/oauth2/v1/certs"


@contextmanager
def serving(signer: Signer) -> Iterator[Endpoint]:
    """Serve a signer's certificates in this block."""
    endpoint = Endpoint({KEY_ID: signer.certificate})
    thread = threading.Thread(target=endpoint.server.serve_forever, args=[0.01])
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.server.shutdown()
        thread.join()
        endpoint.server.server_close()
