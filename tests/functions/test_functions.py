"""The entry points decode envelopes, call verbs and answer with status codes; on the embedded backend."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import functions_framework
import pytest
from cloudevents.conversion import to_binary
from cloudevents.http import CloudEvent
from flask.testing import FlaskClient

import functions.services
from functions.services import Services
from speechpipe.backends import local
from speechpipe.contract import Stage, Status, Task, wire
from speechpipe.contract.errors import SettingsMissing
from speechpipe.pipeline.reconcile import ReconcileReport
from speechpipe.pipeline.world import World
from speechpipe.settings import FunctionSettings
from tests.backends.examples import partial, recording, task

FOLDER = Path(functions.services.__file__).parent
GOLDEN = Path(__file__).parents[1] / "contract" / "golden"
NAMES = ("ingest", "join", "give_up", "sweep", "reconcile")


@dataclass
class EntryPoints:
    """The functions, on an embedded backend."""

    services: Services

    def client(self, name: str) -> FlaskClient:
        """A client of the function as the framework serves it: loaded from its file, under its bare name."""
        app: Any = functions_framework.create_app(name, str(FOLDER / f"{name}.py"))  # type: ignore[no-untyped-call]
        client: FlaskClient = app.test_client()
        return client

    def tasks(self) -> list[Task]:
        bus: Any = self.services.world.bus
        taken = [bus.take(f"{stage.value}-tasks") for stage in Stage]
        return [Task.model_validate_json(message.body) for message in taken if message]


@pytest.fixture
def entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EntryPoints]:
    settings = FunctionSettings(project="p", uploads_bucket="uploads", results_bucket="results", prefix="team a/")
    services = Services(settings, World.over(local.connect(tmp_path), settings))
    monkeypatch.setattr(functions.services, "_services", lambda: services)
    yield EntryPoints(services)
    for name in NAMES:
        sys.modules.pop(name, None)


def post_event(client: FlaskClient, data: object, **attributes: str) -> int:
    event = CloudEvent({"type": "t", "source": "s", **attributes}, data)
    headers, body = to_binary(event)
    return client.post("/", headers=headers, data=body).status_code


def finalized() -> dict[str, Any]:
    event: dict[str, Any] = json.loads((GOLDEN / "storage-finalized.json").read_text())
    return event


def notify(client: FlaskClient, obj: object) -> int:
    """Push the notification about an object, as Pub/Sub does."""
    push = json.loads((GOLDEN / "storage-push.json").read_text())
    push["message"]["data"] = base64.b64encode(json.dumps(obj).encode()).decode()
    return client.post("/", json=push).status_code


def test_ingest_creates_a_recording_and_its_tasks(entry_points: EntryPoints) -> None:
    assert notify(entry_points.client("ingest"), finalized()) == 204
    (made,) = entry_points.services.world.store.recordings()
    assert made.source == wire.source_from_event(finalized())
    assert {t.stage for t in entry_points.tasks()} == set(Stage)


@pytest.mark.parametrize("name", ["elsewhere.wav", "team a/", "team a/folder/"])
def test_ingest_ignores_objects_that_are_not_recordings(entry_points: EntryPoints, name: str) -> None:
    assert notify(entry_points.client("ingest"), finalized() | {"name": name}) == 204
    assert entry_points.services.world.store.recordings() == []


@pytest.mark.parametrize("data", [None, {}, {"bucket": "b"}])
def test_ingest_acknowledges_an_event_that_it_cannot_read(entry_points: EntryPoints, data: object) -> None:
    assert notify(entry_points.client("ingest"), data) == 204


@pytest.mark.parametrize("attribute", ["document", "subject"])
@pytest.mark.parametrize("prefix", ["", "documents/"])
def test_join_assembles_the_record_once_both_halves_exist(
    entry_points: EntryPoints, attribute: str, prefix: str
) -> None:
    store, made = entry_points.services.world.store, recording()
    store.create_recording(made)
    for stage in Stage:
        found = store.recording(made.id)
        assert found is not None
        assert found.status is Status.QUEUED
        store.create_partial(partial(made, stage))
        path = prefix + wire.partial_document(made.id, stage, 1)
        assert post_event(entry_points.client("join"), None, **{attribute: path}) == 200
    found = store.recording(made.id)
    assert found is not None
    assert found.status is Status.COMPLETED
    assert found.announced_at is not None


@pytest.mark.parametrize(
    "attributes", [{}, {"document": "recordings/x"}, {"document": "recordings/rec_none/partials/stt.r1"}]
)
def test_join_acknowledges_an_event_that_it_cannot_read(entry_points: EntryPoints, attributes: dict[str, str]) -> None:
    assert post_event(entry_points.client("join"), None, **attributes) == 200


def test_give_up_creates_the_missing_partial(entry_points: EntryPoints) -> None:
    store, made = entry_points.services.world.store, recording()
    store.create_recording(made)
    data, attributes = wire.task_to_message(task(made).model_copy(update={"revision": 1}))
    push = json.loads((GOLDEN / "dead-letter-push.json").read_text())
    push["message"] |= {"data": base64.b64encode(data).decode(), "attributes": attributes}
    assert entry_points.client("give_up").post("/", json=push).status_code == 204
    (failed,) = store.partials(made.id)
    assert failed.failure is not None


@pytest.mark.parametrize("body", [b"", b"no", b"{}", b'{"message":{"data":"e30="}}'])
def test_give_up_acknowledges_a_message_that_it_cannot_read(entry_points: EntryPoints, body: bytes) -> None:
    assert entry_points.client("give_up").post("/", data=body).status_code == 204


def test_give_up_acknowledges_a_task_for_an_unknown_recording(entry_points: EntryPoints) -> None:
    push = json.loads((GOLDEN / "dead-letter-push.json").read_text())
    assert entry_points.client("give_up").post("/", json=push).status_code == 204


def test_sweep_answers_with_its_report(entry_points: EntryPoints) -> None:
    made = recording()
    entry_points.services.world.store.create_recording(made)
    answer = entry_points.client("sweep").post("/")
    assert answer.status_code == 200
    assert answer.get_json()["examined"] == 1


def test_a_sweep_that_could_not_move_a_recording_forward_answers_500(
    entry_points: EntryPoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("refused")

    store = entry_points.services.world.store
    store.create_recording(recording())
    monkeypatch.setattr(store, "partials", refuse)
    answer = entry_points.client("sweep").post("/")
    assert answer.status_code == 500  # so the alert on missing successful sweeps fires
    assert answer.get_json()["failed"] == 1


def lost(world: World, number: int) -> None:
    """Put files whose events were lost into the bucket, two hours ago."""
    folder = world.uploads.root / "team a"  # type: ignore[attr-defined]
    folder.mkdir(exist_ok=True)
    for each in range(number):
        path = folder / f"{each}.wav"
        path.write_bytes(b"audio")
        os.utime(path, (time.time() - 7200,) * 2)


def test_reconcile_ingests_uploads_without_a_document_and_answers_with_its_report(entry_points: EntryPoints) -> None:
    lost(entry_points.services.world, 2)
    answer = entry_points.client("reconcile").post("/")
    assert answer.status_code == 200
    assert ReconcileReport(**answer.get_json()) == ReconcileReport(listed=2, looked_up=2, missed=2, new=2)
    assert len(entry_points.services.world.store.recordings()) == 2
    assert entry_points.client("reconcile").post("/").get_json()["missed"] == 0


def test_a_reconciliation_that_did_not_reach_the_end_answers_500(
    entry_points: EntryPoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = entry_points.client("reconcile")
    monkeypatch.setattr("speechpipe.pipeline.reconcile._LISTED_PAGE", 1)
    monkeypatch.setattr(sys.modules["reconcile"], "SECONDS", -1.0)
    lost(entry_points.services.world, 3)
    answer = client.post("/")
    assert answer.status_code == 500  # so that the scheduler calls once more, and the alert fires if that fails too
    assert answer.get_json()["complete"] is False
    assert answer.get_json()["missed"] == 1  # what it had listed by then


def test_an_unexpected_error_answers_500_so_that_the_event_is_redelivered(
    entry_points: EntryPoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Services:
        raise RuntimeError("the store is away")

    client = entry_points.client("ingest")
    monkeypatch.setattr(functions.services, "_services", broken)
    assert notify(client, finalized()) == 500


def test_all_missing_settings_are_reported_together(monkeypatch: pytest.MonkeyPatch) -> None:
    functions.services._services.cache_clear()
    with pytest.raises(SettingsMissing, match=r"GOOGLE_CLOUD_PROJECT(.|\n)*RESULTS_BUCKET"):
        functions.services.services()


def test_missing_settings_fail_a_deployment_to_cloud_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K_SERVICE", "ingest")
    with pytest.raises(SettingsMissing):
        functions.services.start()


@pytest.mark.parametrize("name", NAMES)
def test_a_function_imports_no_engine_and_no_client(name: str) -> None:
    unwanted = {"torch", "numpy", "transformers", "workers", "grpc", "google.cloud.firestore", "speechpipe.client"}
    script = f"import functions.{name}, sys; print(sorted({unwanted!r} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
