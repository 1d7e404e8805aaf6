"""A worker admits only its allowed caller, and refuses others with statuses that Pub/Sub understands."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from starlette.testclient import TestClient

from speechpipe.backends.gcp import oidc
from speechpipe.contract import Stage, Task
from tests.doubles import FixedEngine
from tests.tokens import AUDIENCE, CALLER, Endpoint, Signer, forwarded, serving
from tests.workers.test_service import backend, make_task, push, serve
from workers.service import MAX_BODY_BYTES

__all__ = ["backend", "make_task", "serve"]  # fixtures
GOOGLE, STRANGER = Signer(), Signer()
NAMED = {"audience": AUDIENCE, "callers": (CALLER,)}


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    with serving(GOOGLE) as endpoint:
        monkeypatch.setattr(oidc, "CERTIFICATES_URL", endpoint.url)
        yield endpoint


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_the_allowed_caller_is_admitted(
    endpoint: Endpoint, serve: Callable[..., TestClient], make_task: Callable[..., Task]
) -> None:
    engine = FixedEngine(Stage.STT)
    client = serve(engine, **NAMED)
    for name in ("a.wav", "b.wav"):
        assert client.post("/", content=push(make_task(name)), headers=bearer(GOOGLE.token())).status_code == 204
    assert engine.runs == 2
    assert endpoint.requests == 1  # the certificates are cached


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        (bearer(STRANGER.token()), 401),
        (bearer(GOOGLE.token(alg="none")), 401),
        (bearer(GOOGLE.token(alg="HS256")), 401),
        (bearer(GOOGLE.token(exp=1, iat=0)), 401),
        (bearer(GOOGLE.token(aud="https://elsewhere.example.com")), 403),
        (bearer(GOOGLE.token(email="somebody@example.com")), 403),
    ],
    ids=["no token", "another signer", "unsigned", "HS256", "expired", "another audience", "another caller"],
)
def test_other_callers_are_refused(
    endpoint: Endpoint,
    serve: Callable[..., TestClient],
    make_task: Callable[..., Task],
    caplog: pytest.LogCaptureFixture,
    headers: dict[str, str],
    status: int,
) -> None:
    engine = FixedEngine(Stage.STT)
    client, body = serve(engine, **NAMED), push(make_task())
    answer = client.post("/", content=body, headers=headers)
    assert answer.status_code == status
    assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
    (line,) = [record for record in caplog.records if vars(record).get("action") == "refused"]
    assert answer.json()["error"] in line.getMessage()
    assert engine.runs == 0
    # The refusal is a NACK, so the message is redelivered; with a valid token it is performed.
    assert client.post("/", content=body, headers=bearer(GOOGLE.token())).status_code == 204


def test_the_body_of_an_unauthenticated_request_is_not_read(
    endpoint: Endpoint, serve: Callable[..., TestClient]
) -> None:
    client, large = serve(**NAMED), b" " * (MAX_BODY_BYTES + 1)
    assert client.post("/", content=large).status_code == 401
    assert client.post("/", content=large, headers=bearer(GOOGLE.token())).status_code == 413


def test_probes_need_no_token(endpoint: Endpoint, serve: Callable[..., TestClient]) -> None:
    client = serve(**NAMED)
    assert [client.get(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]
    assert endpoint.requests == 0


def test_without_certificates_the_answer_is_503_and_the_redelivery_succeeds(
    endpoint: Endpoint, serve: Callable[..., TestClient], make_task: Callable[..., Task]
) -> None:
    client, body = serve(**NAMED), push(make_task())
    endpoint.status = 500
    answer = client.post("/", content=body, headers=bearer(GOOGLE.token()))
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    endpoint.status = 200
    assert client.post("/", content=body, headers=bearer(GOOGLE.token())).status_code == 204


IN_CLOUD_RUN = {**NAMED, "cloud_run_service": "speechpipe-stt-worker"}


def test_in_cloud_run_a_forwarded_token_of_the_caller_is_admitted(
    endpoint: Endpoint, serve: Callable[..., TestClient], make_task: Callable[..., Task]
) -> None:
    client = serve(**IN_CLOUD_RUN)
    answer = client.post("/", content=push(make_task()), headers=bearer(forwarded(GOOGLE.token())))
    assert (answer.status_code, endpoint.requests) == (204, 0)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (bearer(forwarded(GOOGLE.token(aud="https://elsewhere.example.com"))), 403),
        (bearer(forwarded(GOOGLE.token(exp=1, iat=0))), 401),
        (bearer(forwarded(GOOGLE.token(email="somebody@example.com"))), 403),
        (bearer(forwarded(GOOGLE.token(email_verified=False))), 403),
        (bearer(forwarded(GOOGLE.token(iss="https://accounts.example.com"))), 401),
        ({**bearer(forwarded(GOOGLE.token())), "x-serverless-authorization": f"Bearer {GOOGLE.token()}"}, 401),
        (bearer(STRANGER.token()), 401),
    ],
    ids=[
        "another audience",
        "expired",
        "a foreign account",
        "nobody verified it",
        "another issuer",
        "smuggled",
        "whole",
    ],
)
def test_in_cloud_run_other_tokens_are_refused(
    endpoint: Endpoint,
    serve: Callable[..., TestClient],
    make_task: Callable[..., Task],
    headers: dict[str, str],
    status: int,
) -> None:
    engine = FixedEngine(Stage.STT)
    client = serve(engine, **IN_CLOUD_RUN)
    assert client.post("/", content=push(make_task()), headers=headers).status_code == status
    assert engine.runs == 0


def test_outside_cloud_run_a_forwarded_token_is_refused(
    endpoint: Endpoint, serve: Callable[..., TestClient], make_task: Callable[..., Task]
) -> None:
    answer = serve(**NAMED).post("/", content=push(make_task()), headers=bearer(forwarded(GOOGLE.token())))
    assert answer.status_code == 401
