"""Any possible file name works with the runner and the client."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from speechpipe import Client
from speechpipe.backends.local import connect
from speechpipe.backends.local.folder import METADATA_SUFFIX
from speechpipe.contract import Stage, Status
from speechpipe.contract.errors import ErrorCode, NotFound, Rejected
from speechpipe.embedded import runner
from tests.doubles import FixedEngine, ready
from tests.names import LONGEST_NAME, ODD_NAMES, PARTED_NAME

PATIENCE = 120.0  #: how long a busy machine may take, in seconds
AT_THE_LIMIT = ["x" * 251 + ".wav", "é" * 125 + ".wav"]  # no room for `.meta.json`


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SCAN_SECONDS", 0.05)


def test_every_name_becomes_a_record_and_is_found_by_itself(folder: Path, audio: Path) -> None:
    names = [os.path.normpath(name) for name in [*ODD_NAMES, PARTED_NAME, *AT_THE_LIMIT]]
    with Client(folder, engines=ready({stage: FixedEngine(stage) for stage in Stage})) as client:
        submissions = {name: client.submit(audio, name=name) for name in names}
        assert {name: client.wait(each.id, timeout=PATIENCE).source.name for name, each in submissions.items()} == {
            name: name for name in names
        }
        for name, submission in submissions.items():
            assert client.get(name).id == submission.id
            assert client.record(submission.source.uri).status is Status.COMPLETED
            assert client.explain(name)


def test_a_file_whose_name_is_not_text_is_ignored_and_the_others_are_processed(
    folder: Path, audio: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "before.wav").write_bytes(b"RIFF")
    (folder / os.fsdecode(b"\xff\xfe.wav")).write_bytes(b"RIFF")
    with caplog.at_level(logging.WARNING):
        with Client(folder, engines=ready({stage: FixedEngine(stage) for stage in Stage})) as client:
            assert client.submit(audio, name="z.wav").result(timeout=PATIENCE).status is Status.COMPLETED
            assert client.wait("before.wav", timeout=PATIENCE).status is Status.COMPLETED
        uploads = connect(folder).uploads
        assert [source.name for source in uploads.objects()] == ["before.wav", "z.wav"]
    warnings = [record.getMessage() for record in caplog.records if "not UTF-8" in record.getMessage()]
    assert warnings
    assert all(message.isascii() for message in warnings)


@pytest.mark.parametrize("name", ["y" * 256, LONGEST_NAME, "a\0b.wav", "\ud800.wav", "ok/" + "z" * 300 + "/ok.wav"])
def test_an_impossible_file_name_is_refused_in_one_line(folder: Path, audio: Path, name: str) -> None:
    with pytest.raises(NotFound) as caught:
        Client(folder).submit(audio, name=name)
    assert len(str(caught.value)) < 250
    assert [path.name for path in folder.iterdir()] == [".speechpipe"]


@pytest.mark.parametrize("name", AT_THE_LIMIT)
def test_options_need_room_for_their_file(folder: Path, audio: Path, name: str) -> None:
    uploads = connect(folder).uploads
    with pytest.raises(NotFound, match="too long"):
        uploads.upload(audio, name, {"language": "en"})
    assert uploads.find(name) is None
    source = uploads.upload(audio, name, {})
    assert source.metadata == {}
    assert list(uploads.objects()) == [source]
    assert not list(folder.glob(f"*{METADATA_SUFFIX}"))


def test_a_link_that_leads_elsewhere_is_rejected_with_the_reason(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.wav").write_bytes(b"secret")
    (folder / "link.wav").symlink_to(tmp_path / "secret.wav")
    uploads = connect(folder).uploads
    (source,) = uploads.objects()
    with pytest.raises(Rejected, match="link") as caught:
        uploads.download(source, tmp_path / "copy")
    assert caught.value.code is ErrorCode.OBJECT_GONE
    with pytest.raises(Rejected), uploads.open(source):
        pass
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("seconds", [-1, 2**34, 2**40])
def test_a_file_of_any_modification_time_is_an_object(folder: Path, audio: Path, seconds: int) -> None:
    uploads = connect(folder).uploads
    uploads.upload(audio, "call.wav", {})
    os.utime(folder / "call.wav", (seconds, seconds))
    (source,) = uploads.objects()
    assert uploads.find("call.wav") == source


def test_a_scan_that_fails_is_repeated(
    folder: Path, audio: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scans = 0
    scan = runner.Runner._scan

    def failing_once(self: runner.Runner) -> None:
        nonlocal scans
        scans += 1
        if scans == 1:
            raise OSError("a disk with a fault")
        scan(self)

    monkeypatch.setattr(runner.Runner, "_scan", failing_once)
    with Client(folder, engines=ready({stage: FixedEngine(stage) for stage in Stage})) as client:
        assert client.submit(audio).result(timeout=PATIENCE).status is Status.COMPLETED
    assert [record.__dict__.get("action") for record in caplog.records] == ["scan_failed"]
