"""`speechpipe doctor --cloud`: what only Google's cloud has, with Google's clients replaced by what they answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from google.api_core.exceptions import Forbidden
from google.cloud import storage

from speechpipe.cli.doctor import Finding, _check, _check_trigger, _notification
from speechpipe.contract.errors import SpeechpipeError
from speechpipe.settings import ClientSettings

SETTINGS = ClientSettings(project="p", uploads_bucket="uploads", results_bucket="results")
EVENTARC = "projects/p/subscriptions/eventarc-us-central1-speechpipe-partials-sub-123"


class Subscriber:
    """A client that lists these subscriptions: name and deadline in seconds."""

    def __init__(self, **deadlines: int) -> None:
        self.deadlines = deadlines

    def list_subscriptions(self, project: str) -> list[Any]:
        assert project == "projects/p"
        return [SimpleNamespace(name=name, ack_deadline_seconds=each) for name, each in self.deadlines.items()]


def trigger(**deadlines: int) -> Finding:
    return _check("the trigger", lambda: _check_trigger(Subscriber(**deadlines), "p"), "p")


def test_a_trigger_that_waits_long_enough_is_approved() -> None:
    others = {"projects/p/subscriptions/stt-tasks": 10, EVENTARC.replace("partials", "other"): 10}
    assert trigger(**{EVENTARC: 600}, **others).ok


def test_a_trigger_with_eventarcs_own_deadline_is_found_with_the_command_that_raises_it() -> None:
    found = trigger(**{EVENTARC: 10})
    assert not found.ok
    command = "gcloud pubsub subscriptions update eventarc-us-central1-speechpipe-partials-sub-123 --project=p"
    assert f"is 10, expected 600: {command} --ack-deadline=600" in found.detail


def test_a_missing_trigger_is_found() -> None:
    assert "there is none" in trigger(**{"projects/p/subscriptions/stt-tasks": 600}).detail


def notification(monkeypatch: pytest.MonkeyPatch, *found: Any, error: Exception | None = None) -> Finding:
    def list_notifications() -> list[Any]:
        if error:
            raise error
        return list(found)

    bucket = SimpleNamespace(list_notifications=list_notifications)
    monkeypatch.setattr(storage, "Client", lambda project: SimpleNamespace(bucket=lambda name: bucket))
    return _notification(SETTINGS)


def announces(topic: str, *events: str) -> Any:
    return SimpleNamespace(topic_name=topic, event_types=list(events) or None)


@pytest.mark.parametrize("events", [(), ("OBJECT_FINALIZE",), ("OBJECT_DELETE", "OBJECT_FINALIZE")])
def test_a_bucket_that_announces_its_uploads_is_approved(
    monkeypatch: pytest.MonkeyPatch, events: tuple[str, ...]
) -> None:
    assert notification(monkeypatch, announces("other"), announces("upload-events", *events)).ok


@pytest.mark.parametrize("found", [[], [announces("other")], [announces("upload-events", "OBJECT_DELETE")]])
def test_a_bucket_that_does_not_announce_its_uploads_is_found(
    monkeypatch: pytest.MonkeyPatch, found: list[Any]
) -> None:
    missing = notification(monkeypatch, *found)
    assert (missing.ok, missing.required, missing.remedy) == (False, True, "deploy again")
    assert "none to the topic upload-events" in missing.detail


def test_an_operator_who_may_not_look_is_told_so_and_nothing_is_called_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = notification(monkeypatch, error=Forbidden("no"))  # type: ignore[no-untyped-call]
    assert (found.ok, found.required) == (False, False)
    assert "storage.buckets.get" in found.detail


def test_a_bucket_that_does_not_answer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert notification(monkeypatch, error=SpeechpipeError("away")).required
