from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from speechpipe import Client
from speechpipe.contract import Stage, Status
from speechpipe.contract.errors import EngineUnavailable, ErrorCode, NotFound, Rejected, SettingsMissing, WaitTimeout
from speechpipe.pipeline.progress import Progress
from tests.doubles import FixedEngine, ready

WAIT_SECONDS = 120  # a limit for a busy machine; everything here takes under a second


@pytest.fixture
def client(folder: Path) -> Iterator[Client]:
    with Client(folder, engines=ready({stage: FixedEngine(stage) for stage in Stage})) as client:
        yield client


def test_submit_and_result_give_what_was_said_and_how(client: Client, audio: Path) -> None:
    record = client.submit(audio, ref="case-7").result(timeout=WAIT_SECONDS)
    assert record.text == "where is my order it is late"
    assert record.summary.dominant_emotion == "neutral"
    assert record.options.ref == "case-7"


def test_a_recording_is_found_by_id_uri_name_and_path(client: Client, audio: Path, folder: Path) -> None:
    submission = client.submit(audio, name="in/ü #1.wav")
    submission.result(timeout=WAIT_SECONDS)
    for key in (submission.id, submission.source.uri, "in/ü #1.wav", str(folder / "in/ü #1.wav")):
        assert client.get(key).id == submission.id
    with pytest.raises(NotFound, match="speechpipe list"):
        client.get("nobody.wav")


def test_a_bad_option_is_refused_before_anything_is_uploaded(client: Client, audio: Path, folder: Path) -> None:
    with pytest.raises(Rejected, match="allowed: transcribe or translate"):
        client.submit(audio, task="sing")
    assert not (folder / "call.wav").exists()


def test_a_path_that_is_not_a_file_is_named(client: Client, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file .*gone\.wav"):
        client.submit(tmp_path / "gone.wav")
    with pytest.raises(IsADirectoryError, match="name the files in it"):
        client.submit(tmp_path)


def test_wait_times_out(client: Client, audio: Path) -> None:
    client.work()
    with pytest.raises(WaitTimeout, match="not seen yet"):
        client.wait("rec_unknown", timeout=0.1)


def test_what_was_said_is_there_before_the_emotion(folder: Path, audio: Path) -> None:
    go_on = threading.Event()
    engines = {Stage.STT: FixedEngine(Stage.STT), Stage.SER: FixedEngine(Stage.SER, gate=go_on)}
    with Client(folder, engines=ready(engines)) as client:
        submission = client.submit(audio)
        client.work()
        deadline = time.monotonic() + WAIT_SECONDS
        while not (client.find(submission.id) and (transcript := client.transcript(submission.id))):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert " ".join(segment.text for segment in transcript.segments) == "where is my order it is late"
        assert submission.status() is Status.PROCESSING
        go_on.set()
        record = submission.result(timeout=WAIT_SECONDS)
    assert [segment.text for segment in record.segments] == [segment.text for segment in transcript.segments]


def test_an_engine_that_cannot_be_loaded_ends_the_wait(folder: Path, audio: Path) -> None:
    def broken() -> FixedEngine:
        raise EngineUnavailable("the model is damaged")

    engines = {Stage.STT: lambda: FixedEngine(Stage.STT), Stage.SER: broken}
    with Client(folder, engines=lambda: engines) as client, pytest.raises(EngineUnavailable, match="is damaged"):
        client.submit(audio).result(timeout=WAIT_SECONDS)


def test_progress_covers_both_halves_and_estimates_the_time_left(folder: Path, audio: Path) -> None:
    gate = threading.Event()
    engines = {
        Stage.STT: FixedEngine(Stage.STT, gate=gate),  # reports 50% until the gate opens
        Stage.SER: FixedEngine(Stage.SER),
    }
    with Client(folder, engines=ready(engines)) as client:
        submission = client.submit(audio)
        assert submission.progress() == Progress(share=0)
        client.work()
        while submission.progress().share < 0.75:
            assert submission.status() in (Status.QUEUED, Status.PROCESSING)
            time.sleep(0.02)
        partway = client.progress(submission.id)
        gate.set()
        submission.result(timeout=WAIT_SECONDS)
        assert submission.progress() == Progress(share=1, remaining_seconds=0)
    assert partway.share == 0.75
    assert partway.remaining_seconds is not None


def test_a_rejected_recording_has_a_record(client: Client, tmp_path: Path) -> None:
    empty = tmp_path / "empty.wav"
    empty.touch()
    record = client.submit(empty).result(timeout=WAIT_SECONDS)
    assert record.status == Status.REJECTED
    assert record.error is not None
    assert record.error.code == ErrorCode.EMPTY_OBJECT


def test_explain_has_every_step_in_order(client: Client, audio: Path) -> None:
    submission = client.submit(audio)
    submission.result(timeout=WAIT_SECONDS)
    event = next(iter(client.completions(timeout=WAIT_SECONDS)))
    assert event.data.recording_id == submission.id
    limit = time.monotonic() + WAIT_SECONDS
    while client.get(submission.id).announced_at is None and time.monotonic() < limit:  # noted after the event
        time.sleep(0.02)
    steps = [moment.what for moment in client.explain(submission.id)]
    assert steps[:2] == ["uploaded", "seen"]
    assert steps.count("queued") == steps.count("attempt") == steps.count("partial") == 2
    assert {"joined", "announced"} <= set(steps)
    assert steps.index("joined") > steps.index("partial")


def test_without_settings_the_error_names_the_choices() -> None:
    with pytest.raises(SettingsMissing, match=r"--dir DIR.*SPEECHPIPE_UPLOADS_BUCKET"):
        Client()
    with pytest.raises(SettingsMissing, match="GOOGLE_CLOUD_PROJECT"):
        Client(environ={"SPEECHPIPE_UPLOADS_BUCKET": "b", "SPEECHPIPE_RESULTS_BUCKET": "r"})
    with pytest.raises(NotADirectoryError):
        Client("/nonexistent")
