"""The worker's HTTP service as Pub/Sub and Cloud Run see it, on the embedded backend and with a fast engine."""

from __future__ import annotations

import base64
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from speechpipe.backends import local
from speechpipe.backends.ports import Analyse, Backend
from speechpipe.contract import Cost, Emotions, Options, Stage, Task, wire
from speechpipe.contract.errors import Busy, ErrorCode, Rejected
from speechpipe.contract.prices import preset
from speechpipe.pipeline.ingest import ingest
from speechpipe.pipeline.world import World
from speechpipe.settings import EngineSettings, Limits, WorkerSettings
from tests.doubles import START, FixedEngine, SteppedClock
from tests.media import SAMPLES
from workers.models import choice
from workers.service import MAX_BODY_BYTES, Load, create_app
from workers.slots import Slots


def settings(**changes: Any) -> WorkerSettings:
    names: dict[str, Any] = {"project": "p", "uploads_bucket": "u", "results_bucket": "r", "stage": "stt"}
    return WorkerSettings.model_validate({**names, "device": "cpu", **changes})


def push(task: Task) -> bytes:
    data, attributes = wire.task_to_message(task)
    message = {"data": base64.b64encode(data).decode(), "attributes": attributes, "messageId": "1"}
    return json.dumps({"message": message, "subscription": "projects/p/subscriptions/s"}).encode()


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    folder = tmp_path / "recordings"
    folder.mkdir()
    return local.connect(folder)


@pytest.fixture
def make_task(backend: Backend, tmp_path: Path) -> Callable[..., Task]:
    def make(
        name: str = "call.wav", stage: Stage = Stage.STT, *, known: bool = True, content: bytes | None = None
    ) -> Task:
        path = tmp_path / "upload"
        path.write_bytes(content or b"sound of " + name.encode())
        source = backend.uploads.upload(path, name, {})
        if known:
            ingest(source, World.over(backend, Limits.model_validate({}), lambda: START))
        return Task(recording_id=source.recording_id, stage=stage, source=source, options=Options(), queued_at=START)

    return make


def loads(engine: Analyse) -> Load:
    return lambda stage, settings: engine


@pytest.fixture
def serve(backend: Backend) -> Iterator[Callable[..., TestClient]]:
    clients: list[TestClient] = []

    def make(engine: Analyse | None = None, *, load: Load | None = None, **changes: Any) -> TestClient:
        app = create_app(settings(**changes), backend, load or loads(engine or FixedEngine(Stage.STT)))
        client = TestClient(app, raise_server_exceptions=False)
        client.__enter__()
        clients.append(client)
        if load is None:
            wait_until(lambda: client.get("/readyz").status_code == 200)
        return client

    yield make
    for client in clients:
        client.__exit__(None, None, None)


def wait_until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "the condition was not met in time"
        time.sleep(0.01)


# ------------------------------------------------------------------------------------------------------ deliveries


def test_a_task_is_performed_and_acknowledged(
    serve: Callable[..., TestClient], backend: Backend, make_task: Callable[..., Task]
) -> None:
    task = make_task()
    response = serve().post("/", content=push(task))
    assert (response.status_code, response.content) == (204, b"")
    [partial] = backend.store.partials(task.recording_id)
    assert partial.stage is Stage.STT
    assert partial.analysis is not None


@pytest.mark.parametrize(("prices", "cost"), [("", None), ("l4", preset("l4").cost(Stage.STT, 0.25))])
def test_the_cost_is_that_of_the_compute_seconds(
    serve: Callable[..., TestClient], backend: Backend, make_task: Callable[..., Task], prices: str, cost: Cost | None
) -> None:
    task = make_task()
    serve(prices=prices).post("/", content=push(task))
    [partial] = backend.store.partials(task.recording_id)
    assert partial.analysis is not None
    assert partial.analysis.compute_seconds == 0.25
    assert partial.analysis.cost == cost


def test_a_repeated_delivery_is_not_performed_again(
    serve: Callable[..., TestClient], make_task: Callable[..., Task]
) -> None:
    engine = FixedEngine(Stage.STT)
    client, body = serve(engine), push(make_task())
    assert [client.post("/", content=body).status_code for _ in range(3)] == [204, 204, 204]
    assert engine.runs == 1


def test_unusable_audio_is_acknowledged_and_the_reason_stored(
    serve: Callable[..., TestClient], backend: Backend, make_task: Callable[..., Task]
) -> None:
    task = make_task()
    engine = FixedEngine(Stage.STT, error=Rejected(ErrorCode.NO_AUDIO_STREAM, "the file has no audio track"))
    assert serve(engine).post("/", content=push(task)).status_code == 204
    [partial] = backend.store.partials(task.recording_id)
    assert partial.failure is not None
    assert partial.failure.code is ErrorCode.NO_AUDIO_STREAM


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"message": {"data": "!!"}}', b'{"message": {"data": "e30="}}', b"\xff" * 100]
)
def test_a_message_that_is_not_a_task_is_acknowledged_and_logged(
    serve: Callable[..., TestClient], body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert serve().post("/", content=body).status_code == 204
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "not performed" in record.getMessage()


def test_a_task_for_the_other_stage_or_an_unknown_recording_is_acknowledged_and_logged(
    serve: Callable[..., TestClient], make_task: Callable[..., Task], caplog: pytest.LogCaptureFixture
) -> None:
    engine = FixedEngine(Stage.STT)
    client = serve(engine)
    for task in (make_task(stage=Stage.SER), make_task("unknown.wav", known=False)):
        assert client.post("/", content=push(task)).status_code == 204
    assert engine.runs == 0
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "a task for ser came to a worker for stt" in errors[0]
    assert "there is no recording" in errors[1]


def test_an_internal_error_answers_500_and_the_redelivery_succeeds(
    serve: Callable[..., TestClient], make_task: Callable[..., Task], caplog: pytest.LogCaptureFixture
) -> None:
    engine = FixedEngine(Stage.STT, error=RuntimeError("CUDA error: /secret/path"))
    client, body = serve(engine), push(make_task())
    response = client.post("/", content=body)
    assert response.status_code == 500
    assert "secret" not in response.text
    assert any(record.exc_info for record in caplog.records)
    engine.error = None
    assert client.post("/", content=body).status_code == 204


@pytest.fixture
def post() -> Iterator[Callable[[TestClient, bytes], Future[int]]]:
    """Posts a delivery in a thread; the status is the future's result."""
    with ThreadPoolExecutor(16) as threads:
        yield lambda client, body: threads.submit(lambda: client.post("/", content=body).status_code)


Post = Callable[[TestClient, bytes], "Future[int]"]


def slots_of(client: TestClient) -> Slots:
    return client.app.state.worker.slots  # type: ignore[attr-defined, no-any-return]


def test_a_delivery_without_a_free_slot_waits_for_one_and_only_a_full_waiting_room_refuses(
    serve: Callable[..., TestClient], make_task: Callable[..., Task], post: Post
) -> None:
    gate = threading.Event()
    engine = FixedEngine(Stage.STT, gate=gate)
    client = serve(engine, concurrency=2, waiting_room=3)
    slots, bodies = slots_of(client), [push(make_task(f"{n}.wav")) for n in range(6)]
    working = [post(client, body) for body in bodies[:2]]
    wait_until(lambda: engine.runs == 2)
    waiting = [post(client, body) for body in bodies[2:5]]
    wait_until(lambda: slots.waiting == 3)
    response = client.post("/", content=bodies[5])
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) > 0
    assert client.get("/healthz").status_code == 200  # even while the engine is busy
    gate.set()
    assert [each.result(120) for each in working + waiting] == [204] * 5
    assert client.post("/", content=bodies[5]).status_code == 204
    assert engine.runs == 6


def test_deliveries_get_a_slot_in_the_order_in_which_they_came(
    serve: Callable[..., TestClient], make_task: Callable[..., Task], post: Post
) -> None:
    gate, order = threading.Event(), []

    class Noting(FixedEngine):
        def __call__(self, path: Path, *args: Any) -> Any:
            order.append(path.read_text())
            return super().__call__(path, *args)

    client = serve(Noting(Stage.STT, gate=gate), concurrency=1)
    answers = []
    for number in range(4):
        answers.append(post(client, push(make_task(f"{number}.wav"))))
        wait_until(lambda: len(order) + slots_of(client).waiting == len(answers))
    gate.set()
    assert [each.result(120) for each in answers] == [204] * 4
    assert order == [f"sound of {number}.wav" for number in range(4)]


def test_a_delivery_that_waits_in_vain_gets_429_in_time_for_its_request(
    serve: Callable[..., TestClient], make_task: Callable[..., Task], post: Post
) -> None:
    gate = threading.Event()
    engine = FixedEngine(Stage.STT, gate=gate)
    client = serve(engine, concurrency=1, request_seconds=1)
    first = post(client, push(make_task("0.wav")))
    wait_until(lambda: engine.runs == 1)
    assert client.post("/", content=push(make_task("1.wav"))).status_code == 429
    assert slots_of(client).waiting == 0
    gate.set()
    assert first.result(120) == 204


def test_a_stopping_worker_sends_away_those_who_wait(
    serve: Callable[..., TestClient], make_task: Callable[..., Task], post: Post
) -> None:
    gate = threading.Event()
    engine = FixedEngine(Stage.STT, gate=gate)
    client = serve(engine, concurrency=1)
    first, second = post(client, push(make_task("0.wav"))), post(client, push(make_task("1.wav")))
    wait_until(lambda: engine.runs == 1 and slots_of(client).waiting == 1)
    client.app.state.worker.stop()  # type: ignore[attr-defined]
    assert {first.result(120), second.result(120)} == {429, 503}  # the one that runs is interrupted
    assert engine.runs == 1


def test_a_delivery_whose_lease_another_attempt_holds_gets_429(
    serve: Callable[..., TestClient], make_task: Callable[..., Task]
) -> None:
    gate = threading.Event()
    engine = FixedEngine(Stage.STT, gate=gate)
    client, body = serve(engine, concurrency=2), push(make_task())
    first = threading.Thread(target=lambda: client.post("/", content=body))
    first.start()
    wait_until(lambda: engine.runs == 1)
    assert client.post("/", content=body).status_code == 429
    gate.set()
    first.join()
    assert client.post("/", content=body).status_code == 204
    assert engine.runs == 1


def test_an_attempt_that_outlives_its_request_is_not_run_again_beside_itself(
    serve: Callable[..., TestClient],
    backend: Backend,
    make_task: Callable[..., Task],
    post: Post,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SteppedClock()
    monkeypatch.setattr("workers.service.utc_now", clock)
    gate, task = threading.Event(), make_task()
    engine = FixedEngine(Stage.STT, gate=gate)
    client = serve(engine, concurrency=2, request_seconds=1, lease_seconds=0.3)
    first = post(client, push(task))
    wait_until(lambda: engine.runs == 1)

    def until() -> timedelta:
        lease = backend.store.lease(task.recording_id, Stage.STT, 1)
        assert lease is not None
        assert lease.until is not None
        return lease.until - clock()

    for _ in range(6):  # one and a half of its requests' time
        clock.pass_time(seconds=0.25)
        wait_until(lambda: until() > timedelta(seconds=0.25))  # until it was extended
        assert client.post("/", content=push(task)).status_code == 429
    gate.set()
    assert first.result(120) == 204
    assert client.post("/", content=push(task)).status_code == 204
    assert engine.runs == 1


def test_a_delivery_to_an_overloaded_engine_gets_429_and_the_lease_is_released(
    serve: Callable[..., TestClient], backend: Backend, make_task: Callable[..., Task]
) -> None:
    task = make_task()
    assert serve(FixedEngine(Stage.STT, error=Busy("enough"))).post("/", content=push(task)).status_code == 429
    lease = backend.store.lease(task.recording_id, Stage.STT, 1)
    assert lease is not None
    assert lease.holder is None


@pytest.mark.engines
def test_concurrent_deliveries_share_the_engines_batches(
    serve: Callable[..., TestClient],
    backend: Backend,
    make_task: Callable[..., Task],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A second batch would take the rows that the first one waits for.
    monkeypatch.setattr(choice, "PARALLEL_BATCHES", 1)
    engine = choice.load(Stage.SER, EngineSettings.model_validate({"models": "toy", "device": "cpu"}))
    batcher = engine._batcher  # type: ignore[attr-defined]
    run = batcher._run
    sizes: list[int] = []

    def gathering(rows: Sequence[Any]) -> Sequence[Any]:
        if not sizes:  # the first batch waits until the two other recordings are queued
            wait_until(lambda: len(batcher._turns) >= 2)
        sizes.append(len(rows))
        return run(rows)  # type: ignore[no-any-return]

    batcher._run = gathering
    client = serve(load=loads(engine), stage="ser", concurrency=3)
    wait_until(lambda: client.get("/readyz").status_code == 200)
    sound = (SAMPLES / "angry_customer.ogg").read_bytes()
    tasks = [make_task(f"{n}.ogg", Stage.SER, content=sound) for n in range(3)]
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(lambda task: client.post("/", content=push(task)).status_code, tasks))
    assert answers == [204] * 3
    found = [backend.store.partials(task.recording_id)[0].analysis for task in tasks]
    scores = []
    for one in found:
        assert one
        assert isinstance(one.value, Emotions)
        scores.append({(w.start, s.name): s.score for w in one.value.windows for s in (*w.scores, *w.sentiment)})
    for others in scores[1:]:  # batches of different sizes may sum in a different order
        assert others == pytest.approx(scores[0], abs=1e-4)
    assert max(sizes) > 1


def test_a_request_larger_than_any_push_is_refused(serve: Callable[..., TestClient]) -> None:
    client = serve()
    assert client.post("/", content=b" " * (MAX_BODY_BYTES + 1)).status_code == 413
    assert client.post("/", content=b" " * MAX_BODY_BYTES).status_code == 204


def test_other_paths_and_methods_are_refused(serve: Callable[..., TestClient]) -> None:
    client = serve()
    assert client.get("/").status_code == 405
    assert client.post("/readyz").status_code == 405
    assert client.get("/elsewhere").status_code == 404


# ------------------------------------------------------------------------------------------- startup and shutdown


def test_the_service_listens_while_the_model_loads_and_takes_work_only_afterwards(
    serve: Callable[..., TestClient], make_task: Callable[..., Task]
) -> None:
    loaded = threading.Event()

    def load(stage: Stage, settings: EngineSettings) -> Analyse:
        assert loaded.wait(120)
        return FixedEngine(stage)

    client, body = serve(load=load), push(make_task())
    assert client.get("/healthz").status_code == 200
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {"ready": False, "stage": "stt", "reason": "the model is loading"}
    assert client.post("/", content=body).status_code == 503
    loaded.set()
    wait_until(lambda: client.get("/readyz").status_code == 200)
    assert client.get("/readyz").json() == {"ready": True, "stage": "stt", "reason": None}
    assert client.post("/", content=body).status_code == 204


def test_readyz_says_why_the_model_could_not_be_loaded(backend: Backend) -> None:
    failed = threading.Event()

    def load(stage: Stage, settings: EngineSettings) -> Analyse:
        raise FileNotFoundError("no model.bin")

    with TestClient(create_app(settings(), backend, load, failed=failed.set)) as client:
        assert failed.wait(120)
        response = client.get("/readyz")
        assert response.status_code == 503
        assert "no model.bin" in response.json()["reason"]


def test_the_device_is_reported(serve: Callable[..., TestClient]) -> None:
    report = serve().get("/device").json()
    assert report["device"] == "cpu"
    assert report["compute_type"] in ("int8", "int8_float32", "float32")
    assert report["libraries"]["ctranslate2"]
    assert "gpu" in report


def test_a_stopping_worker_takes_no_work_and_finishes_an_analysis_that_ends_soon(
    serve: Callable[..., TestClient], make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.service.DRAIN_SECONDS", 600.0)
    task, gate = make_task(), threading.Event()
    engine = FixedEngine(Stage.STT, gate=gate)
    client = serve(engine)
    answers: list[int] = []
    post = threading.Thread(target=lambda: answers.append(client.post("/", content=push(task)).status_code))
    post.start()
    wait_until(lambda: engine.runs == 1)
    client.app.state.worker.stop()  # type: ignore[attr-defined]
    assert client.post("/", content=push(task)).status_code == 503
    gate.set()
    post.join(120)
    assert answers == [204]


def test_a_stopping_worker_releases_its_lease(
    serve: Callable[..., TestClient],
    backend: Backend,
    make_task: Callable[..., Task],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workers.service.DRAIN_SECONDS", 0.0)
    task = make_task()
    engine = FixedEngine(Stage.STT, gate=threading.Event())  # never opens
    client = serve(engine)
    answers: list[int] = []
    post = threading.Thread(target=lambda: answers.append(client.post("/", content=push(task)).status_code))
    post.start()
    wait_until(lambda: engine.runs == 1)
    client.app.state.worker.stop()  # type: ignore[attr-defined]
    post.join(120)
    assert answers == [429]
    assert client.get("/readyz").status_code == 503
    assert client.post("/", content=push(task)).status_code == 503
    lease = backend.store.lease(task.recording_id, Stage.STT, 1)
    assert lease is not None
    assert lease.holder is None  # so the next delivery does not have to wait


PROGRAM = """
import sys, time
from pathlib import Path
from speechpipe.backends import local
from speechpipe.settings import WorkerSettings
from tests.doubles import FixedEngine
from workers.__main__ import serve

def load(stage, settings):
    if sys.argv[3] == "broken":
        raise FileNotFoundError("no model.bin")
    return FixedEngine(stage)

names = {"project": "p", "uploads_bucket": "u", "results_bucket": "r", "stage": "stt", "port": int(sys.argv[2])}
sys.exit(serve(WorkerSettings.model_validate(names), local.connect(Path(sys.argv[1])), load))
"""


def start(folder: Path, kind: str) -> tuple[subprocess.Popen[str], str]:
    folder.mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), str(port), kind],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    return process, f"http://127.0.0.1:{port}"


def test_the_process_exits_soon_after_sigterm(tmp_path: Path) -> None:
    process, address = start(tmp_path / "recordings", "working")

    def ready() -> bool:
        try:
            with urllib.request.urlopen(f"{address}/readyz", timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    try:
        wait_until(ready)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        process.communicate(timeout=120)
        assert process.returncode == -signal.SIGTERM  # 0: it hung, and the last timer ended it after nine seconds
        assert time.monotonic() - began < 60
    finally:
        process.kill()
        process.communicate()


def test_the_process_exits_with_a_message_if_there_is_no_model(tmp_path: Path) -> None:
    process, _ = start(tmp_path / "recordings", "broken")
    try:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 1
        assert "The stt worker cannot start: FileNotFoundError: no model.bin" in errors
    finally:
        process.kill()


def test_all_missing_settings_are_reported_together(capsys: pytest.CaptureFixture[str]) -> None:
    from workers.__main__ import main

    assert main() == 2
    errors = capsys.readouterr().err
    for name in ("GOOGLE_CLOUD_PROJECT", "SPEECHPIPE_UPLOADS_BUCKET", "SPEECHPIPE_RESULTS_BUCKET", "SPEECHPIPE_STAGE"):
        assert name in errors
