"""The functions admit only allowed callers, whether Pub/Sub, Scheduler or Eventarc calls."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import functions_framework
import pytest
from cloudevents.conversion import to_binary
from cloudevents.http import CloudEvent
from werkzeug.test import TestResponse

import functions.services
from functions.services import Services
from speechpipe.backends import local
from speechpipe.backends.gcp import oidc
from speechpipe.pipeline.world import World
from speechpipe.settings import FunctionSettings
from tests.backends.examples import recording
from tests.tokens import AUDIENCE, CALLER, Endpoint, Signer, forwarded, serving

FOLDER = Path(functions.services.__file__).parent
GOLDEN = Path(__file__).parents[1] / "contract" / "golden"
NAMES = ("ingest", "join", "give_up", "sweep", "reconcile")
GOOGLE, STRANGER = Signer(), Signer()


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    with serving(GOOGLE) as endpoint:
        monkeypatch.setattr(oidc, "CERTIFICATES_URL", endpoint.url)
        yield endpoint


@pytest.fixture
def services(endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    settings = FunctionSettings(
        project="p", uploads_bucket="uploads", results_bucket="results", audience=AUDIENCE, callers=(CALLER,)
    )
    services = Services(settings, World.over(local.connect(tmp_path), settings))
    monkeypatch.setattr(functions.services, "_services", lambda: services)
    yield services
    for name in NAMES:
        sys.modules.pop(name, None)


def call(name: str, token: str | None, **others: str) -> TestResponse:
    """Call a function with a request of the kind that it serves."""
    app: Any = functions_framework.create_app(name, str(FOLDER / f"{name}.py"))  # type: ignore[no-untyped-call]
    authorization = others if token is None else {"authorization": f"Bearer {token}", **others}
    post = functools.partial(app.test_client().post, "/")
    if name != "join":
        push = "storage-push" if name == "ingest" else "dead-letter-push"
        answer: TestResponse = post(headers=authorization, json=json.loads((GOLDEN / f"{push}.json").read_text()))
        return answer
    headers, body = to_binary(CloudEvent({"type": "t", "source": "s", "document": "recordings/x"}, None))
    answer = post(headers={**headers, **authorization}, data=body)
    return answer


@pytest.mark.parametrize("name", NAMES)
def test_an_allowed_caller_is_admitted(services: Services, name: str) -> None:
    assert call(name, GOOGLE.token()).status_code in (200, 204)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("token", "status"),
    [
        (None, 401),
        (STRANGER.token(), 401),
        (GOOGLE.token(alg="none"), 401),
        (GOOGLE.token(aud="https://elsewhere.example.com"), 403),
        (GOOGLE.token(email="somebody@example.com"), 403),
    ],
    ids=["no token", "another signer", "unsigned", "another audience", "another caller"],
)
def test_other_callers_are_refused_and_the_log_says_why(
    services: Services, capsys: pytest.CaptureFixture[str], name: str, token: str | None, status: int
) -> None:
    store = services.world.store
    store.create_recording(recording())
    before = store.recordings()
    answer = call(name, token)
    assert answer.status_code == status
    assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
    assert store.recordings() == before  # ingest created none
    output = capsys.readouterr()
    (line,) = [line for line in output.err.splitlines() if "action=refused" in line]
    assert "WARNING refused: " in line
    assert answer.get_json()["error"] in line
    assert token is None or not any(part in output.err + output.out for part in token.split(".") if part)


def test_an_ingest_refused_without_a_token_succeeds_when_redelivered(services: Services) -> None:
    assert call("ingest", None).status_code == 401
    assert services.world.store.recordings() == []
    assert call("ingest", GOOGLE.token()).status_code == 204
    assert len(services.world.store.recordings()) == 1


@pytest.mark.parametrize("name", NAMES)
def test_without_certificates_a_function_answers_503_to_be_called_again(
    services: Services, endpoint: Endpoint, name: str
) -> None:
    endpoint.status = 500
    assert call(name, GOOGLE.token()).status_code == 503


@pytest.fixture
def in_cloud_run(services: Services, monkeypatch: pytest.MonkeyPatch) -> Services:
    """The same settings as Cloud Run gives them."""
    settings = services.settings.model_copy(update={"cloud_run_service": "speechpipe-ingest"})
    deployed = replace(services, settings=settings)
    monkeypatch.setattr(functions.services, "_services", lambda: deployed)
    return deployed


@pytest.mark.parametrize("name", NAMES)
def test_in_cloud_run_a_forwarded_token_of_the_caller_is_admitted(
    in_cloud_run: Services, endpoint: Endpoint, name: str
) -> None:
    assert call(name, forwarded(GOOGLE.token())).status_code in (200, 204)
    assert endpoint.requests == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("claims", "others", "status"),
    [
        ({"aud": "https://elsewhere.example.com"}, {}, 403),
        ({"exp": 1, "iat": 0}, {}, 401),
        ({"email": "somebody@example.com"}, {}, 403),
        ({"email_verified": False}, {}, 403),
        ({"iss": "https://accounts.example.com"}, {}, 401),
        ({}, {"x-serverless-authorization": f"Bearer {GOOGLE.token()}"}, 401),
    ],
    ids=["another audience", "expired", "a foreign account", "nobody verified it", "another issuer", "smuggled"],
)
def test_in_cloud_run_other_forwarded_tokens_are_refused(
    in_cloud_run: Services, name: str, claims: dict[str, Any], others: dict[str, str], status: int
) -> None:
    assert call(name, forwarded(GOOGLE.token(**claims)), **others).status_code == status
    assert in_cloud_run.world.store.recordings() == []


@pytest.mark.parametrize("name", NAMES)
def test_outside_cloud_run_a_forwarded_token_is_refused(services: Services, name: str) -> None:
    assert call(name, forwarded(GOOGLE.token())).status_code == 401
