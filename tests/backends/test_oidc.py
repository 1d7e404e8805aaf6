"""Who may call a service: tokens signed here, certificates over real HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from google.auth.exceptions import TransportError
from starlette.datastructures import Headers

from speechpipe.backends.gcp import oidc
from speechpipe.backends.gcp.oidc import Callers, Certificates
from speechpipe.contract.errors import SettingsMissing, Untrusted
from speechpipe.settings import CallerSettings, read
from tests.tokens import AUDIENCE, CALLER, Endpoint, Signer, encoded, forwarded, serving

GOOGLE = Signer()
STRANGER = Signer()


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    with serving(GOOGLE) as endpoint:
        monkeypatch.setattr(oidc, "CERTIFICATES_URL", endpoint.url)
        yield endpoint


@pytest.fixture
def callers(endpoint: Endpoint) -> Callers:
    named = {"SPEECHPIPE_PUSH_AUDIENCE": AUDIENCE, "SPEECHPIPE_PUSH_CALLERS": f" {CALLER} , other@example.com"}
    found = oidc.callers(read(CallerSettings, named))
    assert found is not None
    return found


def sent(*authorization: str | None, **others: str) -> Headers:
    """The headers of a request."""
    named = [("authorization", value) for value in authorization if value is not None]
    named += [(name.replace("_", "-").lower(), value) for name, value in others.items()]
    return Headers(raw=[(name.encode(), value.encode()) for name, value in named])


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_caller_is_let_in(callers: Callers, scheme: str) -> None:
    callers.check(sent(f"{scheme} {GOOGLE.token()}"))


@pytest.mark.parametrize(
    "claims", [{"iss": "accounts.google.com"}, {"email": "other@example.com"}, {"key_id": None}], ids=str
)
def test_other_claims_that_google_may_send_are_let_in(callers: Callers, claims: dict[str, Any]) -> None:
    callers.check(sent(f"Bearer {GOOGLE.token(**claims)}"))


HOUR = 3600
REFUSED: dict[str, tuple[str | None, int, str]] = {
    "no header": (None, 401, "has no token"),
    "empty header": ("", 401, "has no token"),
    "no token": ("Bearer ", 401, "no bearer token"),
    "another scheme": ("Basic dXNlcjpzZWNyZXQ=", 401, "no bearer token"),
    "two tokens": (f"Bearer {GOOGLE.token()} {GOOGLE.token()}", 401, "no bearer token"),
    "letters of another script": ("Bearer ключ", 401, "no bearer token"),
    "garbage": ("Bearer secret.secret.secret", 401, "not a token that Google signed"),
    "one segment": ("Bearer secret", 401, "not a token that Google signed"),
    "a list": (f"Bearer {encoded(b'[]')}.{encoded(b'[]')}.{encoded(b'x')}", 401, "not a token that Google signed"),
    "deeply nested": (f"Bearer {encoded(b'[' * 100_000)}.a.a", 401, "not a token that Google signed"),
    "another signer": (f"Bearer {STRANGER.token()}", 401, "not a token that Google signed"),
    "another key": (f"Bearer {STRANGER.token(key_id='key-2')}", 401, "not a token that Google signed"),
    "unsigned": (f"Bearer {GOOGLE.token(alg='none')}", 401, "not a token that Google signed"),
    "unsigned, no key": (f"Bearer {GOOGLE.token(alg='none', key_id=None)}", 401, "not a token that Google signed"),
    "the public key as secret": (f"Bearer {GOOGLE.token(alg='HS256')}", 401, "not a token that Google signed"),
    "another algorithm": (f"Bearer {GOOGLE.token(alg='ES256')}", 401, "not a token that Google signed"),
    "expired": (f"Bearer {GOOGLE.token(iat=1, exp=int(time.time()) - 60)}", 401, "has expired"),
    "of the future": (f"Bearer {GOOGLE.token(iat=int(time.time()) + HOUR)}", 401, "not valid yet"),
    "for ever": (f"Bearer {GOOGLE.token(exp=None)}", 401, "not a token that Google signed"),
    "a word for a time": (f"Bearer {GOOGLE.token(exp='tomorrow')}", 401, "not a token that Google signed"),
    "another issuer": (f"Bearer {GOOGLE.token(iss='https://accounts.example.com')}", 401, "another issuer"),
    "no issuer": (f"Bearer {GOOGLE.token(iss=None)}", 401, "another issuer"),
    "another audience": (f"Bearer {GOOGLE.token(aud='https://secret.example.com')}", 403, "another audience"),
    "the audience with a path": (f"Bearer {GOOGLE.token(aud=AUDIENCE + '/')}", 403, "another audience"),
    "no audience": (f"Bearer {GOOGLE.token(aud=None)}", 403, "another audience"),
    "another caller": (f"Bearer {GOOGLE.token(email='secret@example.com')}", 403, "another caller"),
    "no caller": (f"Bearer {GOOGLE.token(email=None)}", 403, "another caller"),
    "a caller nobody verified": (f"Bearer {GOOGLE.token(email_verified=False)}", 403, "another caller"),
    "verified in words": (f"Bearer {GOOGLE.token(email_verified='true')}", 403, "another caller"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_everybody_else_is_refused_with_a_reason_that_never_quotes_the_token(callers: Callers, name: str) -> None:
    header, status, reason = REFUSED[name]
    with pytest.raises(Untrusted) as refused:
        callers.check(sent(header))
    assert refused.value.status == status
    assert reason in str(refused.value)
    for part in [*(header or "").removeprefix("Bearer ").split("."), "secret"]:
        assert len(part) < 4 or part not in str(refused.value)
    # A traceback does not show it either.
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_a_changed_claim_is_no_longer_signed(callers: Callers) -> None:
    head, _, signature = GOOGLE.token().split(".")
    _, payload, _ = GOOGLE.token(sub="2").split(".")
    with pytest.raises(Untrusted, match="not a token that Google signed"):
        callers.check(sent(f"Bearer {head}.{payload}.{signature}"))


def test_without_an_audience_the_caller_is_still_verified(endpoint: Endpoint) -> None:
    callers = oidc.callers(read(CallerSettings, {"SPEECHPIPE_PUSH_CALLERS": CALLER}))
    assert callers is not None
    callers.check(sent(f"Bearer {GOOGLE.token(aud='https://chosen.by.eventarc')}"))
    with pytest.raises(Untrusted, match="another caller"):
        callers.check(sent(f"Bearer {GOOGLE.token(email='secret@example.com')}"))


def test_without_callers_no_token_is_checked() -> None:
    assert oidc.callers(read(CallerSettings, {})) is None
    assert oidc.callers(read(CallerSettings, {"SPEECHPIPE_PUSH_CALLERS": " , "})) is None


@pytest.mark.parametrize("callers", ["", " , "])
def test_an_audience_alone_lets_in_everybody_and_is_refused(callers: str) -> None:
    with pytest.raises(SettingsMissing, match="SPEECHPIPE_PUSH_AUDIENCE needs SPEECHPIPE_PUSH_CALLERS"):
        read(CallerSettings, {"SPEECHPIPE_PUSH_AUDIENCE": AUDIENCE, "SPEECHPIPE_PUSH_CALLERS": callers})


def test_two_headers_are_refused_even_if_both_are_good(callers: Callers) -> None:
    with pytest.raises(Untrusted, match="no bearer token"):
        callers.check(sent(f"Bearer {GOOGLE.token()}", f"Bearer {GOOGLE.token()}"))


# ------------------------------------------------------------------------------------------------------ in Cloud Run


def in_cloud_run(**more: str) -> Callers:
    """The callers of a service in Cloud Run."""
    settings = {"SPEECHPIPE_PUSH_AUDIENCE": AUDIENCE, "SPEECHPIPE_PUSH_CALLERS": CALLER, "K_SERVICE": "stt-worker"}
    found = oidc.callers(read(CallerSettings, settings | more))
    assert found is not None
    return found


def test_a_token_that_cloud_run_has_checked_is_let_in_without_certificates(endpoint: Endpoint) -> None:
    in_cloud_run().check(sent(f"Bearer {forwarded(GOOGLE.token())}"))
    assert endpoint.requests == 0


def test_in_cloud_run_a_whole_token_is_verified_as_everywhere(endpoint: Endpoint) -> None:
    callers = in_cloud_run()
    callers.check(sent(f"Bearer {GOOGLE.token()}"))
    with pytest.raises(Untrusted, match="not a token that Google signed"):
        callers.check(sent(f"Bearer {STRANGER.token()}"))
    assert endpoint.requests == 1


NOW = int(time.time())
#: Claims that Cloud Run may have let through, or a caller invented; with the status and the reason of the refusal.
CLAIMS: dict[str, tuple[dict[str, Any], int, str]] = {
    "expired": ({"iat": 1, "exp": NOW - 60}, 401, "has expired"),
    "of the future": ({"iat": NOW + HOUR, "exp": NOW + 2 * HOUR}, 401, "not valid yet"),
    "for ever": ({"exp": None}, 401, "cannot be read"),
    "never issued": ({"iat": None}, 401, "cannot be read"),
    "a word for a time": ({"exp": "tomorrow"}, 401, "cannot be read"),
    "no number for a time": ({"exp": float("nan")}, 401, "cannot be read"),
    "the end of time": ({"exp": float("inf")}, 401, "cannot be read"),
    "another issuer": ({"iss": "https://accounts.example.com"}, 401, "another issuer"),
    "no issuer": ({"iss": None}, 401, "another issuer"),
    "another audience": ({"aud": "https://secret.example.com"}, 403, "another audience"),
    "no audience": ({"aud": None}, 403, "another audience"),
    "a foreign account": ({"email": "secret@example.com"}, 403, "another caller"),
    "no account": ({"email": None}, 403, "another caller"),
    "an account nobody verified": ({"email_verified": False}, 403, "another caller"),
    "verified in words": ({"email_verified": "true"}, 403, "another caller"),
    "nothing about verification": ({"email_verified": None}, 403, "another caller"),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_forwarded_token_with_other_claims_is_refused(name: str) -> None:
    claims, status, reason = CLAIMS[name]
    with pytest.raises(Untrusted, match=reason) as refused:
        in_cloud_run().check(sent(f"Bearer {forwarded(GOOGLE.token(**claims))}"))
    assert refused.value.status == status
    assert "secret" not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


@pytest.mark.parametrize(
    "token",
    [
        "a.b",
        "a.!!!!",
        "a.",
        f"a.{encoded(b'[]')}",
        f"a.{encoded(b'null')}",
        f"a.{encoded(b'[' * 100_000)}",
        f"a.{encoded(bytes([0xFF, 0xFE]))}",
        f"a.{encoded(b'{')}",
    ],
    ids=["short", "no base64", "empty", "a list", "null", "deeply nested", "no text", "cut off"],
)
def test_a_forwarded_token_that_is_none_is_refused(token: str) -> None:
    with pytest.raises(Untrusted, match=r"cannot be read|no bearer token"):
        in_cloud_run().check(sent(f"Bearer {token}.SIGNATURE_REMOVED_BY_GOOGLE"))


@pytest.mark.parametrize("checked", ["Bearer another.token.x", ""])
def test_a_forwarded_token_beside_the_one_that_cloud_run_checked_is_refused(checked: str) -> None:
    forged = f"Bearer {forwarded(STRANGER.token())}"
    with pytest.raises(Untrusted, match="Cloud Run checked another token") as refused:
        in_cloud_run().check(sent(forged, X_Serverless_Authorization=checked))
    assert refused.value.status == 401


def test_outside_cloud_run_a_token_without_its_signature_is_refused(callers: Callers) -> None:
    with pytest.raises(Untrusted, match="not a token that Google signed"):
        callers.check(sent(f"Bearer {forwarded(GOOGLE.token())}"))


@pytest.mark.parametrize(
    "last", ["signature_removed_by_google", "SIGNATURE_REMOVED_BY_GOOGLE.", "SIGNATURE_REMOVED_BY_GOOGLE.x", "REMOVED"]
)
def test_only_the_exact_mark_of_cloud_run_stands_for_a_signature(endpoint: Endpoint, last: str) -> None:
    head, payload, _ = GOOGLE.token().split(".")
    with pytest.raises(Untrusted, match="not a token that Google signed"):
        in_cloud_run().check(sent(f"Bearer {head}.{payload}.{last}"))


def test_in_cloud_run_without_an_audience_of_ours_the_caller_is_still_checked() -> None:
    callers = in_cloud_run(SPEECHPIPE_PUSH_AUDIENCE="")
    callers.check(sent(f"Bearer {forwarded(GOOGLE.token(aud='https://chosen.by.eventarc'))}"))
    with pytest.raises(Untrusted, match="another caller"):
        callers.check(sent(f"Bearer {forwarded(GOOGLE.token(email='secret@example.com'))}"))


# ------------------------------------------------------------------------------------------------------ certificates


class Clock:
    """A clock that tests move."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def caching(endpoint: Endpoint, clock: Clock) -> Callers:
    return Callers(frozenset({CALLER}), AUDIENCE, Certificates(clock=clock))


def test_certificates_are_cached_for_as_long_as_google_says(caching: Callers, endpoint: Endpoint, clock: Clock) -> None:
    for _ in range(3):
        caching.check(sent(f"Bearer {GOOGLE.token()}"))
    clock.now += 19_999
    caching.check(sent(f"Bearer {GOOGLE.token()}"))
    assert endpoint.requests == 1
    clock.now += 2
    caching.check(sent(f"Bearer {GOOGLE.token()}"))
    assert endpoint.requests == 2


def test_a_stranger_cannot_make_us_fetch_certificates_again(caching: Callers, endpoint: Endpoint) -> None:
    for number in range(5):
        with pytest.raises(Untrusted):
            caching.check(sent(f"Bearer {STRANGER.token(key_id=f'key-{number}')}"))
    assert endpoint.requests == 1


def test_a_new_key_is_known_once_the_cached_certificates_expire(
    caching: Callers, endpoint: Endpoint, clock: Clock
) -> None:
    caching.check(sent(f"Bearer {GOOGLE.token()}"))
    endpoint.certificates = {"key-2": STRANGER.certificate}
    clock.now += 20_001
    caching.check(sent(f"Bearer {STRANGER.token(key_id='key-2')}"))
    with pytest.raises(Untrusted):
        caching.check(sent(f"Bearer {GOOGLE.token()}"))


@pytest.mark.parametrize("broken", [{"status": 500}, {"certificates": ["not", "an", "object"]}], ids=str)
def test_stale_certificates_are_used_while_none_can_be_fetched_but_not_for_ever(
    caching: Callers, endpoint: Endpoint, clock: Clock, broken: dict[str, Any]
) -> None:
    caching.check(sent(f"Bearer {GOOGLE.token()}"))
    vars(endpoint).update(broken)
    clock.now += 20_001
    caching.check(sent(f"Bearer {GOOGLE.token()}"))
    clock.now += oidc.STALE_SECONDS
    with pytest.raises(TransportError):
        caching.check(sent(f"Bearer {GOOGLE.token()}"))


def test_certificates_without_a_max_age_are_cached_for_an_hour(
    caching: Callers, endpoint: Endpoint, clock: Clock
) -> None:
    endpoint.headers = {}
    caching.check(sent(f"Bearer {GOOGLE.token()}"))
    clock.now += oidc.CACHED_SECONDS - 1
    caching.check(sent(f"Bearer {GOOGLE.token()}"))
    assert endpoint.requests == 1
    clock.now += 2
    caching.check(sent(f"Bearer {GOOGLE.token()}"))
    assert endpoint.requests == 2


def test_without_any_certificates_nobody_is_let_in(callers: Callers, endpoint: Endpoint) -> None:
    endpoint.status = 503
    with pytest.raises(TransportError):
        callers.check(sent(f"Bearer {GOOGLE.token()}"))
