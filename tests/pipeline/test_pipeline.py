"""The guarantees of the pipeline, each with a test that fails without it."""

from __future__ import annotations

import random
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechpipe.contract import Lease, Recording, Source, Stage, Status, Task
from speechpipe.contract.errors import Busy, ErrorCode, Rejected, Unreadable
from speechpipe.pipeline import sweep
from speechpipe.pipeline.give_up import end
from speechpipe.pipeline.ingest import ingest
from speechpipe.pipeline.join import join
from speechpipe.settings import Limits
from tests.doubles import TRANSCRIPT, FixedEngine, segment, source
from tests.simulation import Simulation


def undisturbed(*sources_options: dict[str, str]) -> Simulation:
    sim = Simulation()
    for options in sources_options or ({},):
        sim.arrive(source(metadata=options))
    sim.settle()
    return sim


def without_times(recording: Recording) -> str:
    """The outcome without what may differ between two runs: times and numbers of attempts."""
    assert recording.result is not None
    record = recording.result.model_dump(mode="json", exclude={"timing"})
    for half in record["halves"].values():
        for moving in ("attempts", "queued_at", "started_at", "finished_at"):
            half.pop(moving)
    return str(record)


# ------------------------------------------------------------------------------------ an undisturbed run


def test_an_upload_becomes_a_record_and_one_completion_event() -> None:
    sim = undisturbed({"ref": "case-7"})
    recording = sim.only()
    assert recording.status == Status.COMPLETED
    assert recording.result is not None
    assert recording.result.text == "where is my order it is late"
    assert recording.announced_at is not None
    (event,) = sim.completions()
    assert event.id == f"{recording.id}.r1.completed"
    assert event.type == "dev.speechpipe.recording.v1.completed"
    assert event.data.ref == "case-7"
    assert event.data.summary.dominant_emotion == "neutral"
    folder = f"gs://results/{recording.id}/r1"
    assert set(sim.results.objects) == {
        f"{folder}/{name}" for name in ("record.json", "transcript.vtt", "transcript.srt", "emotion.vtt", "report.html")
    }


# -------------------------------------------------------------------------------------------- 1. identity


def test_the_id_is_derived_from_the_object_alone() -> None:
    assert undisturbed().only().id == source().recording_id
    assert source(generation="2").recording_id != source().recording_id


def test_a_repeated_event_is_the_same_recording_and_repeats_no_work() -> None:
    sim = undisturbed()
    sim.arrive(source())
    sim.settle()
    assert sim.only().status == Status.COMPLETED
    assert [engine.runs for engine in sim.engines.values()] == [1, 1]
    assert len(sim.completions()) == 1


def test_a_new_upload_under_the_same_name_names_the_one_it_supersedes() -> None:
    sim = undisturbed()
    for generation in ("3", "12"):  # compared as numbers, not as text
        sim.arrive(source(generation=generation))
        sim.settle()
    ids = {g: source(generation=g).recording_id for g in ("1", "3", "12")}
    newest, middle = sim.store.recording(ids["12"]), sim.store.recording(ids["3"])
    assert newest is not None
    assert newest.supersedes == ids["3"]
    assert middle is not None
    assert middle.supersedes == ids["1"]


# ----------------------------------------------------------------------------- 2. the recording comes first


@pytest.mark.parametrize(
    ("upload", "code"),
    [
        (source(size=0), ErrorCode.EMPTY_OBJECT),
        (source(size=10**13), ErrorCode.TOO_LARGE),
        (source(metadata={"language": "klingon"}), ErrorCode.INVALID_OPTION),
        (source(metadata={"langauge": "de"}), ErrorCode.INVALID_OPTION),
    ],
)
def test_a_reject_has_a_document_a_reason_and_an_event(upload: Source, code: ErrorCode) -> None:
    sim = Simulation()
    sim.arrive(upload)
    sim.settle()
    recording = sim.only()
    assert recording.status == Status.REJECTED
    assert recording.error is not None
    assert recording.error.code == code
    assert not recording.error.retryable
    assert [event.type.rsplit(".", 1)[1] for event in sim.completions()] == ["rejected"]
    assert [engine.runs for engine in sim.engines.values()] == [0, 0]


@pytest.mark.parametrize("name", ["folder/", "elsewhere/call.wav"])
def test_an_object_that_is_not_a_recording_is_ignored(name: str) -> None:
    sim = Simulation(limits=Limits(prefix="incoming/"))
    assert ingest(source(name), sim.world) is None
    assert sim.store.recordings() == []
    assert sim.pending() == []


# ---------------------------------------------------------------------------- 3. partials are create-only


def first_task(sim: Simulation, stage: Stage = Stage.STT) -> Task:
    sim.arrive(source())
    sim.deliver(sim.pending()[0])
    return next(t for t in (Task.model_validate_json(body) for _, _, body in sim.pending()) if t.stage == stage)


def test_a_delivery_whose_partial_exists_never_touches_the_engine() -> None:
    sim = Simulation()
    task = first_task(sim)
    assert sim.perform(task) is True
    assert sim.perform(task) is False
    assert sim.engines[Stage.STT].runs == 1
    lease = sim.store.lease(task.recording_id, Stage.STT, 1)
    assert lease is not None
    assert len(lease.attempts) == 1  # it did not even claim the lease


def test_an_overlapping_delivery_is_busy_and_never_touches_the_engine() -> None:
    sim = Simulation()
    task = first_task(sim)
    inner: list[BaseException] = []

    class Overlapped(FixedEngine):
        def __call__(self, *args: object) -> object:  # type: ignore[override]
            try:
                sim.perform(task, holder="another")
            except Busy as busy:
                inner.append(busy)
            return super().__call__(*args)  # type: ignore[arg-type]

    sim.engines[Stage.STT] = Overlapped(Stage.STT)
    assert sim.perform(task) is True
    assert len(inner) == 1
    assert sim.engines[Stage.STT].runs == 1


def test_of_two_attempts_the_first_to_write_wins() -> None:
    sim = Simulation()
    task = first_task(sim)
    results: list[bool] = []

    class Slow(FixedEngine):
        def __call__(self, path, options, progress, part=None):  # type: ignore[no-untyped-def]
            if not results:
                results.append(False)
                sim.clock.pass_time(seconds=700)  # the lease expires, and another attempt does all the work
                results[0] = sim.perform(task, holder="another")
            return super().__call__(path, options, progress)

    sim.engines[Stage.STT] = Slow(Stage.STT)
    assert sim.perform(task) is False
    assert results == [True]
    (partial,) = sim.store.partials(task.recording_id)
    assert partial.attempt == 2


def test_a_failed_attempt_frees_the_lease_for_the_next() -> None:
    sim = Simulation()
    task = first_task(sim)
    sim.engines[Stage.STT].error = RuntimeError("/secret/path")
    with pytest.raises(RuntimeError):
        sim.perform(task)
    sim.engines[Stage.STT].error = None
    assert sim.perform(task, holder="another") is True
    lease = sim.store.lease(task.recording_id, Stage.STT, 1)
    assert lease is not None
    assert [(a.outcome, a.error) for a in lease.attempts] == [("failed", "RuntimeError"), ("done", None)]


def test_a_running_attempt_shows_progress() -> None:
    sim = Simulation()
    task = first_task(sim)
    seen: list[float] = []
    left: list[float] = []

    class Long(FixedEngine):
        def __call__(self, path, options, progress, part=None):  # type: ignore[no-untyped-def]
            for tenth in range(1, 10):
                sim.clock.pass_time(seconds=20)
                progress(tenth / 10)
                half = sim.only().halves[Stage.STT]
                assert half.expected_at is not None
                seen.append(half.progress)
                left.append((half.expected_at - sim.clock()).total_seconds())
            return super().__call__(path, options, progress)

    sim.engines[Stage.STT] = Long(Stage.STT)
    assert sim.perform(task) is True
    assert seen == [tenth / 10 for tenth in range(1, 10)]
    assert left == pytest.approx([20 * (10 - tenth) for tenth in range(1, 10)], abs=0.01)


def test_progress_is_written_at_most_once_a_second() -> None:
    sim = Simulation()
    task = first_task(sim)
    written: list[float] = []
    show = sim.store.progress

    def watched(recording_id: str, stage: Stage, share: float, expected_at: datetime | None = None) -> None:
        written.append(share)
        show(recording_id, stage, share, expected_at)

    class Eager(FixedEngine):
        def __call__(self, path, options, progress, part=None):  # type: ignore[no-untyped-def]
            for hundredth in range(100):
                sim.clock.pass_time(milliseconds=40)
                progress(hundredth / 100)
            return super().__call__(path, options, progress)

    sim.engines[Stage.STT] = Eager(Stage.STT)
    sim.store.progress = watched  # type: ignore[method-assign]
    assert sim.perform(task) is True
    assert written == [0.24, 0.49, 0.74, 0.99, 1.0]  # the end is written without delay


def test_a_silent_attempt_keeps_its_lease_for_as_long_as_an_attempt_may_take_and_no_longer(tmp_path: Path) -> None:
    sim = Simulation(file=tmp_path / "state.sqlite3")
    task = first_task(sim)
    began = sim.clock()
    extended_to: list[float] = []
    beaten = threading.Event()
    extend = sim.store.extend

    def watched(lease: Lease, until: datetime) -> Lease:
        extended = extend(lease, until)
        extended_to.append((until - began).total_seconds())
        beaten.set()
        return extended

    class Wedged(FixedEngine):  # reports no progress, as in a download, hours of silence or a slow batch
        def __call__(self, path, options, progress, part=None):  # type: ignore[no-untyped-def]
            for _ in range(3):
                beaten.clear()
                sim.clock.pass_time(seconds=0.25)  # the lease is 0.3 seconds long, the longest attempt one second
                assert beaten.wait(60)
                with pytest.raises(Busy):
                    sim.perform(task, holder="another")
            sim.clock.pass_time(seconds=0.3)
            sim.engines[Stage.STT] = FixedEngine(Stage.STT)
            assert sim.perform(task, holder="another") is True
            return super().__call__(path, options, lambda share: None)

    sim.store.extend = watched  # type: ignore[method-assign]
    sim.engines[Stage.STT] = Wedged(Stage.STT)
    assert sim.perform(task, lease_seconds=0.3, longest_seconds=1) is False
    assert extended_to == [0.55, 0.8, 1.0]


def test_an_attempt_that_lost_its_lease_stops_when_it_next_reports_progress(tmp_path: Path) -> None:
    sim = Simulation(file=tmp_path / "state.sqlite3")
    task = first_task(sim)

    class Slow(FixedEngine):
        def __call__(self, path, options, progress, part=None):  # type: ignore[no-untyped-def]
            sim.clock.pass_time(seconds=1)
            now = sim.clock()
            until = now + timedelta(hours=1)
            sim.store.claim(task.recording_id, Stage.STT, 1, holder="another", now=now, until=until)
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:  # until the heartbeat has noticed
                time.sleep(0.01)
                progress(0.5)
            raise AssertionError("it continued")

    sim.engines[Stage.STT] = Slow(Stage.STT)
    with pytest.raises(Busy):
        sim.perform(task, lease_seconds=0.3)
    assert sim.store.partials(task.recording_id) == []


# --------------------------------------------------------------------------- 5 and 6. join, announce, mark


def test_two_joins_that_race_write_the_same_bytes_and_announce_one_id() -> None:
    sim = undisturbed()
    recording = sim.only()
    before = dict(sim.results.objects)
    unmarked = recording.model_copy(update={"announced_at": None})
    with sim.database.write() as connection:
        connection.execute("UPDATE recordings SET body = ?", (unmarked.model_dump_json(exclude={"result"}),))
    join(recording.id, 1, sim.world)
    assert sim.results.objects == before
    assert sim.results.conflicts == []
    assert len(sim.completions()) == 2
    assert len({event.model_dump_json() for event in sim.completions()}) == 1
    assert without_times(sim.only()) == without_times(recording)


def test_a_large_transcript_is_stored_in_the_bucket_and_read_back_whole() -> None:
    sim = Simulation()
    many = tuple(segment(i, i + 1, f"word{i} " * 20, i) for i in range(600))

    class Talkative(FixedEngine):
        def __call__(self, path, options, progress, part=None):  # type: ignore[no-untyped-def]
            analysis = super().__call__(path, options, progress)
            return analysis.model_copy(update={"value": TRANSCRIPT.model_copy(update={"segments": many})})

    sim.engines[Stage.STT] = Talkative(Stage.STT)
    sim.arrive(source())
    sim.settle()
    recording = sim.only()
    assert recording.status == Status.COMPLETED
    assert recording.result is None  # too large for the document, which refers to the file instead
    assert recording.preview is not None
    assert recording.preview.startswith("word0")
    stt = next(p for p in sim.store.partials(recording.id) if p.stage == Stage.STT)
    assert stt.analysis is None
    assert len(stt.model_dump_json()) < 1000
    assert recording.artifacts is not None
    assert b"word599" in sim.results.read(recording.artifacts.record)
    assert len(sim.completions()[0].model_dump_json()) < 20_000


def test_with_two_attempts_and_large_transcripts_the_record_is_the_winners() -> None:
    sim = Simulation()
    task = first_task(sim)
    texts = iter(["winner", "loser"])
    late: list[bool] = []

    class Talkative(FixedEngine):
        def __call__(self, path, options, progress, part=None):  # type: ignore[no-untyped-def]
            if not late:
                late.append(True)
                sim.clock.pass_time(seconds=700)
                sim.perform(task, holder="another")
            many = tuple(segment(i, i + 1, f"{text} " * 20, i) for text in [next(texts)] for i in range(600))
            analysis = super().__call__(path, options, lambda share: None)
            return analysis.model_copy(update={"value": TRANSCRIPT.model_copy(update={"segments": many})})

    sim.engines[Stage.STT] = Talkative(Stage.STT)
    assert sim.perform(task) is False
    sim.settle()
    assert sim.only().preview == ("winner " * 40)[:200]
    assert sim.results.conflicts == []


# ------------------------------------------------------------------------------- 7. a failure is an outcome


def test_unusable_audio_is_rejected_without_a_retry() -> None:
    sim = Simulation()
    for engine in sim.engines.values():
        engine.error = Rejected(ErrorCode.NO_AUDIO_STREAM, "a video without sound")
    sim.arrive(source())
    sim.settle()
    recording = sim.only()
    assert recording.status == Status.REJECTED
    assert recording.error is not None
    assert recording.error.message == "a video without sound"
    assert [engine.runs for engine in sim.engines.values()] == [1, 1]


def test_an_object_deleted_before_it_was_read_is_rejected() -> None:
    sim = Simulation()
    sim.uploads.gone.add("call.wav")
    sim.arrive(source())
    sim.settle()
    assert sim.only().error is not None
    assert sim.only().status == Status.REJECTED


def test_a_stage_given_up_leaves_the_other_half_intact() -> None:
    sim = Simulation()
    task = first_task(sim, Stage.SER)
    sim.engines[Stage.SER].error = RuntimeError("no")
    for _ in range(3):
        with pytest.raises(RuntimeError):
            sim.perform(task)
    end(task, sim.world, code=ErrorCode.MODEL_ERROR, reason="ser failed")
    sim.settle()
    recording = sim.only()
    assert recording.status == Status.PARTIAL
    assert recording.result is not None
    assert recording.result.text == "where is my order it is late"
    assert recording.error is not None
    assert (recording.error.stage, recording.error.attempts) == (Stage.SER, 3)
    assert "RuntimeError" in recording.error.message
    assert [event.id for event in sim.completions()] == [f"{recording.id}.r1.partial"]


def test_giving_up_a_finished_stage_changes_nothing() -> None:
    sim = Simulation()
    task = first_task(sim)
    sim.settle()
    assert end(task, sim.world, code=ErrorCode.TIMEOUT, reason="late") is False
    assert sim.only().status == Status.COMPLETED


def test_sweep_republishes_lost_tasks_no_more_often_than_needed() -> None:
    sim = Simulation()
    first_task(sim)
    sim.lose_messages()
    sim.clock.pass_time(minutes=359)
    assert sim.sweep().republished == 0  # they may only wait
    sim.clock.pass_time(minutes=1)
    assert sim.sweep().republished == 2
    assert sim.sweep().republished == 0
    sim.settle()
    assert sim.only().status == Status.COMPLETED


def test_sweep_does_not_wait_for_a_lease_set_by_a_clock_hours_ahead() -> None:
    """A worker with a wrong clock was killed and its task lost, so nothing would ever renew or release its lease."""
    sim = Simulation()
    task = first_task(sim)
    now = sim.clock()
    ahead = now + timedelta(hours=5)
    sim.store.claim(task.recording_id, task.stage, 1, holder="lost", now=ahead, until=ahead + timedelta(seconds=30))
    sim.lose_messages()
    sim.clock.pass_time(minutes=16)
    assert sim.sweep().republished == 1
    assert sim.sweep().republished == 0
    sim.settle()
    assert sim.only().halves[task.stage].progress == 1


def test_sweep_gives_up_past_the_deadline() -> None:
    sim = Simulation()
    first_task(sim)
    sim.lose_messages()
    sim.clock.pass_time(hours=25)
    assert sim.sweep().given_up == 2
    sim.settle()
    assert sim.only().status == Status.FAILED
    assert sim.only().error is not None
    assert sim.only().error.code == ErrorCode.TIMEOUT  # type: ignore[union-attr]


def test_sweep_joins_a_recording_whose_partial_events_were_lost() -> None:
    sim = Simulation()
    for stage in Stage:
        sim.perform(first_task(sim, stage))
    sim.lose_messages()
    assert sim.sweep().joined == 1
    assert sim.only().announced_at is not None
    assert len(sim.completions()) == 1
    assert sim.sweep() == sweep.SweepReport()


def test_sweep_examines_every_page_of_unfinished_recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "_PAGE", 2)
    sim = Simulation()
    for number in range(5):
        sim.arrive(source(f"{number}.wav"))
        sim.deliver(sim.pending()[0])
        sim.lose_messages()
    sim.clock.pass_time(hours=6)
    assert sim.sweep().examined == 5
    sim.settle()
    assert {recording.status for recording in sim.store.recordings()} == {Status.COMPLETED}


def test_sweep_continues_after_a_recording_that_it_cannot_move_forward(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sim = Simulation()
    for number in range(3):
        sim.arrive(source(f"{number}.wav"))
        sim.clock.pass_time(seconds=1)
    for message in sim.pending():
        sim.deliver(message)
    for message in sim.pending():
        sim.deliver(message)  # performs both halves; their events are lost below
    sim.lose_messages()
    first, *others = [source(f"{number}.wav").recording_id for number in range(3)]
    there = sim.results.create

    def create(path: str, body: bytes, content_type: str) -> str:
        if path.startswith(first):
            raise OSError("refused")
        return there(path, body, content_type)

    with monkeypatch.context() as patch:
        patch.setattr(sim.results, "create", create)
        report = sim.sweep()
    assert (report.examined, report.joined, report.failed) == (3, 2, 1)
    assert {event.data.recording_id for event in sim.completions()} == set(others)
    assert [(r.__dict__["action"], r.__dict__["recording_id"]) for r in caplog.records if r.levelname == "ERROR"] == [
        ("not_swept", first)
    ]
    assert (sim.sweep().joined, sim.sweep().examined) == (1, 0)


def test_a_value_that_arrives_after_its_stage_was_given_up_makes_the_next_revision() -> None:
    sim = Simulation()
    task = first_task(sim)

    class Late(FixedEngine):
        def __call__(self, path, options, progress, part=None):  # type: ignore[no-untyped-def]
            sim.clock.pass_time(hours=25)
            sim.sweep()
            sim.settle()
            return super().__call__(path, options, lambda share: None)

    sim.engines[Stage.STT] = Late(Stage.STT)
    assert sim.perform(task) is True
    sim.settle()
    recording = sim.only()
    assert (recording.status, recording.revision, recording.rerun) == (Status.PARTIAL, 2, (Stage.STT,))
    assert recording.result is not None
    assert recording.result.text == "where is my order it is late"
    assert recording.result.halves[Stage.SER].error is not None  # given up, and not redriven
    assert [event.id for event in sim.completions()] == [f"{recording.id}.r1.failed", f"{recording.id}.r2.partial"]
    assert sim.store.unfinished() == []


def test_a_late_value_waits_for_the_other_half() -> None:
    sim = Simulation()
    task = first_task(sim)
    end(task, sim.world, code=ErrorCode.MODEL_ERROR, reason="stt failed")
    assert sim.perform(task) is False  # a delivery after the stage was given up
    late = next(p for p in undisturbed().store.partials(task.recording_id) if p.stage is Stage.STT)
    assert sim.store.create_partial(late.model_copy(update={"revision": 2}))
    join(task.recording_id, 2, sim.world)
    assert sim.only().revision == 1
    sim.settle()
    recording = sim.only()
    assert (recording.revision, recording.status) == (2, Status.COMPLETED)
    assert [event.id for event in sim.completions()] == [f"{recording.id}.r1.partial", f"{recording.id}.r2.completed"]


def test_a_task_without_a_recording_is_unreadable() -> None:
    sim = Simulation()
    task = first_task(sim)
    with sim.database.write() as connection:
        connection.execute("DELETE FROM recordings")
    with pytest.raises(Unreadable):
        sim.perform(task)
    with pytest.raises(Unreadable):
        join(task.recording_id, 1, sim.world)


# ------------------------------------------------------- all of it together: reordering, repeats and crashes

UPLOADS: list[dict[str, str]] = [{}, {"emotion": "off"}, {"language": "klingon"}]


@given(
    seed=st.integers(0, 2**32),
    upload=st.sampled_from(UPLOADS),
    crashes=st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["before", "after"])), max_size=4),
)
def test_repeats_reordering_and_crashes_do_not_change_the_outcome(
    seed: int, upload: dict[str, str], crashes: list[tuple[int, str]]
) -> None:
    chance = random.Random(seed)
    sim = Simulation()
    for _ in range(chance.randint(1, 3)):
        sim.arrive(source(metadata=upload))
    for _ in range(400):
        pending = sim.pending()
        if not pending:
            break
        if sim.crash_at is None and crashes:
            count, when = crashes.pop()
            sim.crash_at = (sim._writes + 1 + count, when)
        sim.deliver(chance.choice(pending), acknowledge=chance.random() < 0.7)
    else:
        raise AssertionError(f"never settles: {sim.pending()}")
    sim.clock.pass_time(hours=1)
    sim.sweep()  # announces what a crash left recorded but unannounced
    sim.settle()
    expected = undisturbed(upload)
    assert without_times(sim.only()) == without_times(expected.only())
    assert sim.only().announced_at is not None
    assert {event.id for event in sim.completions()} == {event.id for event in expected.completions()}
    assert sim.store.unfinished() == []
    assert sim.results.conflicts == []
    assert len(sim.store.partials(sim.only().id)) == len(expected.store.partials(expected.only().id))


def test_a_crash_at_every_single_write_of_a_run_is_survived() -> None:
    survived = 0
    for when in ("before", "after"):
        for count in range(100):
            sim = Simulation(crash_at=(count, when))
            sim.arrive(source())
            sim.settle()
            if not sim.crashes:
                break
            survived += 1
            assert sim.only().status == Status.COMPLETED, (count, when)
            assert len({event.id for event in sim.completions()}) == 1
            assert sim.results.conflicts == [], (count, when)
    assert survived >= 30  # a run has at least this many places to crash at
