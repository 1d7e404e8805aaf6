"""The embedded pipeline with fixed engines: scanning, retries, and what remains after a stop or a crash."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from speechpipe.backends.local import STATE_FOLDER, connect
from speechpipe.backends.local.bus import LocalBus
from speechpipe.backends.ports import Backend
from speechpipe.contract import Options, Partial, Recording, Stage, Status, Task
from speechpipe.contract.errors import EngineUnavailable
from speechpipe.embedded import consumer, leftovers, runner
from speechpipe.embedded.runner import AlreadyRunning, Runner
from speechpipe.pipeline.outcomes import completion_event
from speechpipe.settings import Limits
from tests.doubles import START, FixedEngine, ready, source
from tests.record.test_artifacts import record

Engines = dict[Stage, FixedEngine]


@pytest.fixture
def engines() -> Engines:
    return {stage: FixedEngine(stage) for stage in Stage}


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SCAN_SECONDS", 0.05)
    monkeypatch.setattr(runner, "SETTLE_SECONDS", 0.1)
    monkeypatch.setattr(consumer, "MAX_BACKOFF_SECONDS", 0.05)


@contextmanager
def running(folder: Path, engines: Engines) -> Iterator[Runner]:
    with Runner(folder, ready(engines), Limits()) as work:
        yield work


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.02)


def task() -> Task:
    uploaded = source()
    return Task(
        recording_id=uploaded.recording_id, stage=Stage.STT, source=uploaded, options=Options(), queued_at=START
    )


def partials(work: Runner) -> list[Partial]:
    return [partial for recording in work.store.recordings() for partial in work.store.partials(recording.id)]


def add_file(folder: Path, name: str, body: bytes = b"audio") -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(body)


def by_name(backend: Backend) -> dict[str, Recording]:
    return {recording.source.name: recording for recording in backend.store.recordings()}


def test_every_file_in_the_folder_and_nothing_else_becomes_a_final_recording(folder: Path, engines: Engines) -> None:
    add_file(folder, "a.wav")
    add_file(folder, "deep/b.mp3")
    add_file(folder, "empty.wav", b"")
    add_file(folder, "wrong.wav")
    add_file(folder, "wrong.wav.meta.json", b'{"language": "klingon"}')
    add_file(folder, ".hidden.wav")
    with running(folder, engines) as work:
        until(work.idle)
    recordings = by_name(connect(folder))
    assert {name: recording.status.value for name, recording in recordings.items()} == {
        "a.wav": "completed",
        "deep/b.mp3": "completed",
        "empty.wav": "rejected",
        "wrong.wav": "rejected",
    }
    assert len({event.id for event in connect(folder).completions.receive(1)}) == 4


def test_a_file_that_is_still_growing_is_not_ingested(
    folder: Path, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, scan, sizes = folder / "long.wav", Runner._scan, list(range(4, 84, 4))

    def scan_after_growth(work: Runner) -> None:
        if sizes:
            size = sizes.pop(0)
            path.write_bytes(b"x" * size)
            future = time.time_ns() + 3600 * 10**9 + size  # so that the file's age plays no part, however slow the scan
            os.utime(path, ns=(future, future))
        scan(work)

    monkeypatch.setattr(Runner, "_scan", scan_after_growth)
    with running(folder, engines) as work:
        until(lambda: bool(by_name(connect(folder))))
        until(work.idle)
    (recording,) = by_name(connect(folder)).values()
    assert recording.source.size == 80


def test_an_upload_is_complete_and_does_not_wait_for_a_scan(
    folder: Path, engines: Engines, audio: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_file(folder, "copied.wav")
    connect(folder).uploads.upload(audio, "uploaded.wav", {})
    scan = threading.Event()
    monkeypatch.setattr(Runner, "_scan", lambda self: scan.wait(120))
    with running(folder, engines) as work:
        until(lambda: list(by_name(connect(folder))) == ["uploaded.wav"])
        scan.set()
        monkeypatch.undo()
        until(lambda: len(by_name(connect(folder))) == 2)
        until(work.idle)
    assert [engine.runs for engine in engines.values()] == [2, 2]  # the scan found only the other file


def test_a_second_run_repeats_nothing_and_a_changed_file_is_a_new_recording(folder: Path, engines: Engines) -> None:
    add_file(folder, "a.wav")
    for _ in range(2):
        with running(folder, engines) as work:
            until(work.idle)
    assert engines[Stage.STT].runs == 1
    os.utime(folder / "a.wav", ns=(7, 7))
    with running(folder, engines) as work:
        until(work.idle)
    assert engines[Stage.STT].runs == 2
    assert len(connect(folder).store.recordings()) == 2


def test_a_recording_with_a_stage_that_always_fails_ends_partial(folder: Path, engines: Engines) -> None:
    add_file(folder, "a.wav")
    engines[Stage.SER].error = RuntimeError("broken")
    with running(folder, engines) as work:
        until(work.idle)
    (recording,) = by_name(connect(folder)).values()
    assert recording.status == Status.PARTIAL
    assert recording.error is not None
    assert recording.error.attempts == consumer.MAX_ATTEMPTS == engines[Stage.SER].runs
    assert recording.preview == "where is my order it is late"
    assert [event.data.status for event in connect(folder).completions.receive(1)] == [Status.PARTIAL]


def test_a_temporary_failure_is_retried_until_it_succeeds(folder: Path, engines: Engines) -> None:
    class Flaky(FixedEngine):
        def __call__(self, path, options, progress, part=None):  # type: ignore[no-untyped-def]
            self.error = OSError("for now") if self.runs < 2 else None
            return super().__call__(path, options, progress)

    engines[Stage.STT] = Flaky(Stage.STT)
    add_file(folder, "a.wav")
    with running(folder, engines) as work:
        until(work.idle)
    (recording,) = by_name(connect(folder)).values()
    assert recording.status == Status.COMPLETED
    assert recording.halves[Stage.STT].attempts == 3


def test_stopping_during_an_analysis_is_quick_and_the_next_run_finishes_it(folder: Path, engines: Engines) -> None:
    add_file(folder, "a.wav")
    gate = threading.Event()
    engines[Stage.STT].gate = gate
    with running(folder, engines) as work:
        until(lambda: engines[Stage.STT].runs == 1 and bool(partials(work)))
        began = time.monotonic()
    assert time.monotonic() - began < 60  # the engine itself would never return
    gate.set()
    with running(folder, engines) as work:
        until(work.idle)
    (recording,) = by_name(connect(folder)).values()
    assert recording.status == Status.COMPLETED
    assert engines[Stage.SER].runs == 1  # finished before the stop, so not repeated


def test_the_half_whose_engine_is_ready_begins_while_the_other_loads(folder: Path, engines: Engines) -> None:
    add_file(folder, "a.wav")
    go_on = threading.Event()

    def slowly() -> FixedEngine:
        assert go_on.wait(120)
        return engines[Stage.SER]

    with Runner(folder, lambda: {Stage.STT: lambda: engines[Stage.STT], Stage.SER: slowly}, Limits()) as work:
        until(lambda: [partial.stage for partial in partials(work)] == [Stage.STT])
        assert not work.idle()
        go_on.set()
        until(work.idle)
    assert by_name(connect(folder))["a.wav"].status == Status.COMPLETED


def test_an_engine_that_cannot_be_loaded_ends_the_work_and_nothing_is_lost(folder: Path, engines: Engines) -> None:
    add_file(folder, "a.wav")

    def broken() -> FixedEngine:
        raise EngineUnavailable("the model is damaged")

    loaders = {Stage.STT: lambda: engines[Stage.STT], Stage.SER: broken}
    with Runner(folder, lambda: loaders, Limits()) as work, pytest.raises(EngineUnavailable, match="is damaged"):
        until(work.idle)
    with running(folder, engines) as work:
        until(work.idle)
    (recording,) = by_name(connect(folder)).values()
    assert (recording.status, engines[Stage.SER].runs) == (Status.COMPLETED, 1)


def test_two_processes_cannot_work_on_the_same_folder(folder: Path, engines: Engines) -> None:
    with running(folder, engines), pytest.raises(AlreadyRunning, match="another speechpipe process"):
        Runner(folder, ready(engines), Limits()).__enter__()


def test_a_crash_of_the_process_does_not_count_as_a_failed_attempt(folder: Path) -> None:
    backend = connect(folder)
    assert isinstance(backend.bus, LocalBus)
    backend.bus.publish_completion(completion_event(record()))
    backend.bus.publish_task(task())
    for crashes in range(3):
        message = backend.bus.take("stt-tasks")
        assert message is not None
        assert (message.attempts, message.crashes) == (1, crashes)
        assert backend.bus.take("stt-tasks") is None  # hidden while it is being handled
        backend.bus.recover()
    message = backend.bus.take("stt-tasks")
    assert message is not None
    backend.bus.redeliver(message, 0.0)
    message = backend.bus.take("stt-tasks")
    assert message is not None
    assert (message.attempts, message.crashes) == (2, 3)


def test_a_recording_that_crashes_the_process_every_time_is_given_up(
    folder: Path, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "MAX_CRASHES", 0)
    add_file(folder, "a.wav")
    with running(folder, engines) as work:
        until(work.idle)
    (recording,) = by_name(connect(folder)).values()
    assert recording.status == Status.FAILED
    assert engines[Stage.STT].runs == 0


def test_every_thread_survives_a_full_disk(folder: Path, engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "UNUSABLE_SECONDS", 0.01)
    full = dict.fromkeys(("take", "acknowledge", "redeliver"), 5)  # calls that fail
    counting = threading.Lock()

    def failing(name: str) -> Callable[..., object]:
        real = getattr(LocalBus, name)

        def call(*args: object, **kwargs: object) -> object:
            with counting:  # several threads call
                fails = full[name] > 0
                full[name] -= fails
            if fails:
                raise sqlite3.OperationalError("database or disk is full")
            return real(*args, **kwargs)

        return call

    for name in full:
        monkeypatch.setattr(LocalBus, name, failing(name))
    engines[Stage.SER].error = RuntimeError("broken")
    add_file(folder, "a.wav")
    with running(folder, engines) as work:
        until(work.idle)
    assert full == dict.fromkeys(full, 0)
    (recording,) = by_name(connect(folder)).values()
    assert recording.status == Status.PARTIAL


def test_unfinished_files_of_a_killed_process_are_deleted(folder: Path, engines: Engines) -> None:
    state = folder / STATE_FOLDER
    for unfinished in (state / "scratch" / "speechpipe-x" / "input", state / "staging" / "0123"):
        unfinished.parent.mkdir(parents=True)
        unfinished.write_bytes(b"half of it")
    (state / "uploading").mkdir()
    for name, age in (("killed", 2 * 86_400), ("under way", 60)):
        (state / "uploading" / name).write_bytes(b"half of it")
        os.utime(state / "uploading" / name, (time.time() - age,) * 2)
    add_file(folder, "a.wav")
    with running(folder, engines) as work:
        until(work.idle)
    assert not list((state / "scratch").iterdir())
    assert not list((state / "staging").iterdir())
    assert [path.name for path in (state / "uploading").iterdir()] == ["under way"]
    results = [path.name for path in (state / "results").rglob("*") if path.is_file()]
    assert sorted(results) == ["emotion.vtt", "record.json", "report.html", "transcript.srt", "transcript.vtt"]


def test_a_large_file_of_traces_is_set_aside_at_the_next_start(
    folder: Path, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = folder / STATE_FOLDER
    monkeypatch.setattr(leftovers, "MOST_TRACES", 1000)
    state.mkdir()
    for size, kept in ((1000, False), (1001, True)):
        (state / "traces.jsonl").write_bytes(b"x" * size)
        with running(folder, engines) as work:
            until(work.idle)
        assert (state / "traces.1.jsonl").exists() is kept
    assert (state / "traces.1.jsonl").read_bytes() == b"x" * 1001


def test_a_short_recording_waits_for_no_more_than_the_part_in_hand(folder: Path, engines: Engines) -> None:
    order: list[str] = []

    class Noting(FixedEngine):
        def __call__(self, path, options, progress, part=None):  # type: ignore[no-untyped-def]
            order.append(f"part {part.number}" if part else "short")
            if part and part.number == 1:
                add_file(folder, "short.wav")
                until(lambda: len(connect(folder).store.recordings()) == 2)
            return super().__call__(path, options, progress, part)

    engines = {Stage.STT: Noting(Stage.STT), Stage.SER: FixedEngine(Stage.SER)}
    with wave.open(str(folder / "long.wav"), "wb") as file:
        file.setparams((1, 2, 8_000, 0, "NONE", ""))
        file.writeframes(bytes(16_000 * 600))
    (folder / "long.wav.meta.json").write_text('{"emotion": "off"}')
    with Runner(folder, ready(engines), Limits(part_seconds=120)) as work:
        until(lambda: work.idle() and len(order) == 6)
    assert order == ["part 0", "part 1", "short", "part 2", "part 3", "part 4"]
