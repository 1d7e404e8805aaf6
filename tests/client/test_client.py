from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from speechpipe import Client
from speechpipe.contract import Stage, Status
from speechpipe.contract.errors import ErrorCode, NotFound, Rejected, SettingsMissing, WaitTimeout
from speechpipe.pipeline.progress import Progress
from tests.doubles import FixedEngine


@pytest.fixture
def client(folder: Path) -> Iterator[Client]:
    with Client(folder, engines=lambda: {stage: FixedEngine(stage) for stage in Stage}) as client:
        yield client


def test_one_call_gives_what_was_said_and_how(client: Client, audio: Path) -> None:
    record = client.submit(audio, ref="case-7").result(timeout=30)
    assert record.text == "where is my order it is late"
    assert record.summary.dominant_emotion == "neutral"
    assert record.options.ref == "case-7"


def test_a_recording_is_found_by_id_uri_name_and_path(client: Client, audio: Path, folder: Path) -> None:
    submission = client.submit(audio, name="in/ü #1.wav")
    submission.result(timeout=30)
    for key in (submission.id, submission.source.uri, "in/ü #1.wav", str(folder / "in/ü #1.wav")):
        assert client.get(key).id == submission.id
    with pytest.raises(NotFound, match="speechpipe list"):
        client.get("nobody.wav")


def test_a_bad_option_is_refused_before_anything_is_uploaded(client: Client, audio: Path, folder: Path) -> None:
    with pytest.raises(Rejected, match="allowed: transcribe or translate"):
        client.submit(audio, task="sing")
    assert not (folder / "call.wav").exists()


def test_what_is_no_file_is_said(client: Client, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file .*gone\.wav"):
        client.submit(tmp_path / "gone.wav")
    with pytest.raises(IsADirectoryError, match="name the files in it"):
        client.submit(tmp_path)


def test_waiting_has_an_end(client: Client, audio: Path) -> None:
    client.work()
    with pytest.raises(WaitTimeout, match="not seen yet"):
        client.wait("rec_unknown", timeout=0.1)


def test_progress_is_of_the_whole_with_the_time_left(folder: Path, audio: Path) -> None:
    gate = threading.Event()
    engines = {
        Stage.STT: FixedEngine(Stage.STT, gate=gate),  # shows a half, again and again
        Stage.SER: FixedEngine(Stage.SER),
    }
    with Client(folder, engines=lambda: engines) as client:
        submission = client.submit(audio)
        assert submission.progress() == Progress(share=0)
        client.work()
        while submission.progress().share < 0.75:
            assert submission.status() in (Status.QUEUED, Status.PROCESSING)
        partway = client.progress(submission.id)
        gate.set()
        submission.result(timeout=30)
        assert submission.progress() == Progress(share=1, remaining_seconds=0)
    assert partway.share == 0.75
    assert partway.remaining_seconds is not None


def test_a_reject_has_a_record_too(client: Client, tmp_path: Path) -> None:
    empty = tmp_path / "empty.wav"
    empty.touch()
    record = client.submit(empty).result(timeout=30)
    assert record.status == Status.REJECTED
    assert record.error is not None
    assert record.error.code == ErrorCode.EMPTY_OBJECT


def test_the_life_story_has_every_step_in_order(client: Client, audio: Path) -> None:
    submission = client.submit(audio)
    submission.result(timeout=30)
    for event in client.completions(timeout=10):
        assert event.data.recording_id == submission.id
        break
    steps = [moment.what for moment in client.explain(submission.id)]
    assert steps[:2] == ["uploaded", "seen"]
    assert steps.count("queued") == steps.count("attempt") == steps.count("partial") == 2
    assert {"joined", "announced"} <= set(steps)
    assert steps.index("joined") > steps.index("partial")


def test_without_any_setting_the_choices_are_named() -> None:
    with pytest.raises(SettingsMissing, match=r"--dir DIR.*SPEECHPIPE_UPLOADS_BUCKET"):
        Client()
    with pytest.raises(SettingsMissing, match="GOOGLE_CLOUD_PROJECT"):
        Client(environ={"SPEECHPIPE_UPLOADS_BUCKET": "b", "SPEECHPIPE_RESULTS_BUCKET": "r"})
    with pytest.raises(NotADirectoryError):
        Client("/nonexistent")
