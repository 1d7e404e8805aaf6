"""The entry points: envelopes in, verbs called, status codes out; over the embedded backend."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
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
from speechpipe.pipeline.world import World
from speechpipe.settings import FunctionSettings
from tests.backends.examples import partial, recording, task

FOLDER = Path(functions.services.__file__).parent
GOLDEN = Path(__file__).parents[1] / "contract" / "golden"
NAMES = ("ingest", "join", "give_up", "sweep")


@dataclass
class Functions:
    """Functions over an embedded backend."""

    services: Services

    def client(self, name: str) -> FlaskClient:
        """As the framework serves it: loaded from its file, under its bare name."""
        app: Any = functions_framework.create_app(name, str(FOLDER / f"{name}.py"))  # type: ignore[no-untyped-call]
        client: FlaskClient = app.test_client()
        return client

    def tasks(self) -> list[Task]:
        bus: Any = self.services.world.bus
        taken = [bus.take(f"{stage.value}-tasks") for stage in Stage]
        return [Task.model_validate_json(message.body) for message in taken if message]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Functions]:
    settings = FunctionSettings(project="p", uploads_bucket="uploads", results_bucket="results", prefix="team a/")
    services = Services(settings, World.over(local.connect(tmp_path), settings))
    monkeypatch.setattr(functions.services, "_services", lambda: services)
    yield Functions(services)
    for name in NAMES:
        sys.modules.pop(name, None)


def post_event(client: FlaskClient, data: object, **attributes: str) -> int:
    event = CloudEvent({"type": "t", "source": "s", **attributes}, data)
    headers, body = to_binary(event)
    return client.post("/", headers=headers, data=body).status_code


def finalized() -> dict[str, Any]:
    event: dict[str, Any] = json.loads((GOLDEN / "storage-finalized.json").read_text())
    return event


def test_ingest_makes_a_recording_and_its_tasks(world: Functions) -> None:
    assert post_event(world.client("ingest"), finalized()) == 200
    (made,) = world.services.world.store.recordings()
    assert made.source == wire.source_from_event(finalized())
    assert {t.stage for t in world.tasks()} == set(Stage)


@pytest.mark.parametrize("name", ["elsewhere.wav", "team a/", "team a/folder/"])
def test_ingest_ignores_what_is_none_of_ours(world: Functions, name: str) -> None:
    assert post_event(world.client("ingest"), finalized() | {"name": name}) == 200
    assert world.services.world.store.recordings() == []


@pytest.mark.parametrize("data", [None, {}, {"bucket": "b"}])
def test_ingest_acknowledges_what_it_cannot_read(world: Functions, data: object) -> None:
    assert post_event(world.client("ingest"), data) == 200


@pytest.mark.parametrize("attribute", ["document", "subject"])
@pytest.mark.parametrize("prefix", ["", "documents/"])
def test_join_assembles_when_every_half_is_there(world: Functions, attribute: str, prefix: str) -> None:
    store, made = world.services.world.store, recording()
    store.create_recording(made)
    for stage in Stage:
        found = store.recording(made.id)
        assert found is not None
        assert found.status is Status.QUEUED
        store.create_partial(partial(made, stage))
        path = prefix + wire.partial_document(made.id, stage, 1)
        assert post_event(world.client("join"), None, **{attribute: path}) == 200
    found = store.recording(made.id)
    assert found is not None
    assert found.status is Status.COMPLETED
    assert found.announced_at is not None


@pytest.mark.parametrize(
    "attributes", [{}, {"document": "recordings/x"}, {"document": "recordings/rec_none/partials/stt.r1"}]
)
def test_join_acknowledges_what_it_cannot_read(world: Functions, attributes: dict[str, str]) -> None:
    assert post_event(world.client("join"), None, **attributes) == 200


def test_give_up_creates_the_missing_partial(world: Functions) -> None:
    store, made = world.services.world.store, recording()
    store.create_recording(made)
    data, attributes = wire.task_to_message(task(made).model_copy(update={"revision": 1}))
    push = json.loads((GOLDEN / "dead-letter-push.json").read_text())
    push["message"] |= {"data": base64.b64encode(data).decode(), "attributes": attributes}
    assert world.client("give_up").post("/", json=push).status_code == 204
    (failed,) = store.partials(made.id)
    assert failed.failure is not None


@pytest.mark.parametrize("body", [b"", b"no", b"{}", b'{"message":{"data":"e30="}}'])
def test_give_up_acknowledges_what_it_cannot_read(world: Functions, body: bytes) -> None:
    assert world.client("give_up").post("/", data=body).status_code == 204


def test_give_up_acknowledges_a_task_of_no_recording(world: Functions) -> None:
    push = json.loads((GOLDEN / "dead-letter-push.json").read_text())
    assert world.client("give_up").post("/", json=push).status_code == 204


def test_sweep_reports(world: Functions) -> None:
    made = recording()
    world.services.world.store.create_recording(made)
    answer = world.client("sweep").post("/")
    assert answer.status_code == 200
    assert answer.get_json()["examined"] == 1


def test_a_sweep_that_could_not_bring_a_recording_on_counts_as_an_error(
    world: Functions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("refused")

    store = world.services.world.store
    store.create_recording(recording())
    monkeypatch.setattr(store, "partials", refuse)
    answer = world.client("sweep").post("/")
    assert answer.status_code == 500  # the alert on sweeps that end well hears of it
    assert answer.get_json()["failed"] == 1


def test_anything_else_goes_up_so_that_it_is_delivered_again(world: Functions, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Services:
        raise RuntimeError("the store is away")

    client = world.client("ingest")
    monkeypatch.setattr(functions.services, "_services", broken)
    assert post_event(client, finalized()) == 500


def test_missing_settings_are_all_named(monkeypatch: pytest.MonkeyPatch) -> None:
    functions.services._services.cache_clear()
    with pytest.raises(SettingsMissing, match=r"GOOGLE_CLOUD_PROJECT(.|\n)*RESULTS_BUCKET"):
        functions.services.services()


def test_in_cloud_run_missing_settings_end_the_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K_SERVICE", "ingest")
    with pytest.raises(SettingsMissing):
        functions.services.start()


@pytest.mark.parametrize("name", NAMES)
def test_a_function_imports_no_engine_and_no_client(name: str) -> None:
    unwanted = {"torch", "numpy", "transformers", "workers", "grpc", "google.cloud.firestore", "speechpipe.client"}
    script = f"import functions.{name}, sys; print(sorted({unwanted!r} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
