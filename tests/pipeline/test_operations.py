"""Redrives, replays and erasures; each may be repeated, and interrupted anywhere."""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechpipe.client.explain import history
from speechpipe.contract import Failure, HalfStatus, Recording, Retained, Source, Stage, Status, Task
from speechpipe.contract.errors import ErrorCode, NotFinal, NotFound, Rejected
from speechpipe.contract.options import parse_options
from speechpipe.pipeline import analyses, operations, outcomes, perform
from speechpipe.pipeline.give_up import end
from tests.doubles import FixedEngine, source
from tests.simulation import Crash, Simulation


def done(error: BaseException | None = None) -> Simulation:
    """A simulation with one finished recording; with an `error`, its ser half failed."""
    sim = Simulation()
    sim.arrive(source())
    sim.deliver(sim.pending()[0])
    if error:
        task = next(Task.model_validate_json(body) for _, topic, body in sim.pending() if topic == "ser-tasks")
        end(task, sim.world, code=ErrorCode.MODEL_ERROR, reason="ser failed")
    sim.settle()
    return sim


def redrive(sim: Simulation, *stages: Stage) -> Recording:
    return operations.redrive(sim.only().id, stages or tuple(Stage), sim.world)


def erase(sim: Simulation, **given: Any) -> Recording:
    return operations.erase(source().recording_id, sim.world, **{"upload": False, **given})


# ------------------------------------------------------------------------------------------------- redrive


@pytest.mark.parametrize("rejected", [source(metadata={"language": "klingon"}), source(size=0)])
def test_a_redriven_reject_is_rejected_again_for_the_same_reason(rejected: Source) -> None:
    """It does not run without the option that could not be read."""
    sim = Simulation()
    sim.arrive(rejected)
    sim.settle()
    before = sim.only()
    redrive(sim, Stage.SER)
    sim.settle()
    assert (sim.only().status, sim.only().revision) == (Status.REJECTED, 2)
    assert sim.only().error == before.error
    assert [engine.runs for engine in sim.engines.values()] == [0, 0]


def test_a_redrive_runs_one_half_and_reuses_the_other() -> None:
    sim = done(RuntimeError())
    assert sim.only().status is Status.PARTIAL
    before = dict(sim.results.objects)
    sim.clock.pass_time(hours=30)
    assert redrive(sim, Stage.SER).status is Status.QUEUED
    assert sim.only().halves[Stage.SER].status is HalfStatus.QUEUED
    assert sim.only().deadline_at > sim.clock()
    sim.settle()
    recording = sim.only()
    assert (recording.status, recording.revision) == (Status.COMPLETED, 2)
    assert [sim.engines[stage].runs for stage in (Stage.STT, Stage.SER)] == [1, 1]
    assert [event.id for event in sim.completions()] == [f"{recording.id}.r1.partial", f"{recording.id}.r2.completed"]
    assert before.items() <= sim.results.objects.items()  # the first record is still there
    assert recording.artifacts is not None
    assert recording.artifacts.record.endswith("/r2/record.json")


def test_a_redrive_of_both_stages_reuses_nothing() -> None:
    sim = done()
    redrive(sim)
    sim.settle()
    assert [engine.runs for engine in sim.engines.values()] == [2, 2]
    assert [event.data.revision for event in sim.completions()] == [1, 2]


def test_repeating_a_redrive_while_it_runs_does_not_start_another() -> None:
    sim = done()
    for _ in range(3):
        assert redrive(sim, Stage.STT).revision == 2
    sim.settle()
    assert sim.engines[Stage.STT].runs == 2
    assert sim.only().status is Status.COMPLETED


def test_a_recording_that_is_not_final_cannot_be_redriven() -> None:
    sim = Simulation()
    sim.arrive(source())
    sim.deliver(sim.pending()[0])
    with pytest.raises(NotFinal, match="queued"):
        redrive(sim)
    sim.settle()
    redrive(sim, Stage.STT)
    with pytest.raises(NotFinal):
        redrive(sim, Stage.SER)


def test_redriving_a_stage_that_was_not_requested_does_nothing() -> None:
    sim = Simulation()
    sim.arrive(source(metadata={"emotion": "off"}))
    sim.settle()
    assert redrive(sim, Stage.SER).revision == 1
    assert sim.pending() == []


def test_operations_on_an_unknown_recording_raise_not_found() -> None:
    sim = Simulation()
    with pytest.raises(NotFound):
        operations.redrive("rec_none", [Stage.STT], sim.world)
    with pytest.raises(NotFound):
        operations.replay("rec_none", sim.world)
    with pytest.raises(NotFound):
        operations.erase("rec_none", sim.world, upload=True)


def correct(sim: Simulation, **metadata: str) -> None:
    """Change the metadata of the uploaded object, as `gcloud storage objects update --custom-metadata` does."""
    sim.uploads.metadata[source().name] = {name.replace("_", "-"): value for name, value in metadata.items()}


def runs(sim: Simulation) -> list[int]:
    return [sim.engines[stage].runs for stage in (Stage.STT, Stage.SER)]


def test_a_rejected_option_is_corrected_without_a_new_upload() -> None:
    sim = Simulation()
    sim.arrive(source(metadata={"language": "klingon"}))
    sim.settle()
    assert sim.only().status is Status.REJECTED
    correct(sim, language="de")
    redrive(sim, Stage.STT)  # the other half has no value either
    sim.settle()
    recording = sim.only()
    assert (recording.status, recording.revision, recording.error) == (Status.COMPLETED, 2, None)
    assert recording.result is not None
    assert (recording.result.options.language, recording.result.source.metadata) == ("de", {"language": "de"})
    assert runs(sim) == [1, 1]


@pytest.mark.parametrize(
    ("corrected", "asked", "expected"),
    [
        ({"language": "de"}, Stage.SER, [2, 2]),  # the text was made with another language
        ({"language": "de"}, Stage.STT, [2, 1]),  # the emotions do not depend on it
        ({"hotwords": "Köln"}, Stage.SER, [2, 2]),
        ({"channels": "split"}, Stage.STT, [2, 2]),
        ({"channels": "split", "emotion": "1"}, Stage.SER, [2, 2]),
        ({"emotion": "off"}, Stage.STT, [2, 1]),
        ({"emotion": "off"}, Stage.SER, [2, 1]),
        ({"ref": "8"}, Stage.SER, [1, 2]),
        ({}, Stage.SER, [1, 2]),
    ],
)
def test_a_revision_holds_results_of_one_set_of_options(
    corrected: dict[str, str], asked: Stage, expected: list[int]
) -> None:
    sim = done()
    correct(sim, **corrected)
    redrive(sim, asked)
    tasks = [Task.model_validate_json(body) for _, topic, body in sim.pending() if topic.endswith("-tasks")]
    assert {task.options for task in tasks} == {parse_options(corrected)}
    sim.settle()
    recording = sim.only()
    assert runs(sim) == expected
    assert (recording.status, recording.options) == (Status.COMPLETED, parse_options(corrected))
    if corrected.get("emotion") == "off":
        assert recording.halves[Stage.SER].status is HalfStatus.SKIPPED
        assert recording.result is not None
        assert recording.result.emotion_windows == ()


def test_a_half_that_was_not_asked_for_at_first_runs_once_it_is() -> None:
    sim = Simulation()
    sim.arrive(source(metadata={"emotion": "off"}))
    sim.settle()
    correct(sim)
    redrive(sim, Stage.SER)
    sim.settle()
    assert runs(sim) == [1, 1]
    assert sim.only().halves[Stage.SER].status is HalfStatus.COMPLETED


def test_a_correction_that_cannot_be_read_is_refused_and_changes_nothing() -> None:
    sim = done()
    before = sim.only()
    correct(sim, language="klingon")
    with pytest.raises(Rejected, match="klingon"):
        redrive(sim)
    assert sim.only() == before
    assert sim.pending() == []


def test_a_correction_while_a_revision_runs_waits_for_the_next_redrive() -> None:
    sim = done()
    redrive(sim)
    correct(sim, language="de")
    redrive(sim)
    sim.settle()
    assert sim.only().options.language is None
    redrive(sim, Stage.STT)
    sim.settle()
    assert (sim.only().revision, sim.only().options.language) == (3, "de")


def test_a_recording_whose_object_is_gone_keeps_its_options() -> None:
    sim = done()
    correct(sim, language="de")
    sim.uploads.gone.add(source().name)
    assert redrive(sim, Stage.STT).options.language is None


def test_what_a_late_attempt_brings_is_not_mixed_with_corrected_options() -> None:
    """It was given up, and its options were corrected; then its value comes after all."""
    sim = Simulation()
    sim.arrive(source())
    sim.deliver(sim.pending()[0])
    tasks = {topic: Task.model_validate_json(body) for _, topic, body in sim.pending() if topic.endswith("-tasks")}
    late = tasks["stt-tasks"]
    end(late, sim.world, code=ErrorCode.TIMEOUT, reason="stt was too slow")
    sim.lose_messages()
    sim.perform(tasks["ser-tasks"])
    sim.join(late.recording_id, 1, "stt")
    assert sim.only().status is Status.PARTIAL
    correct(sim, language="de")
    redrive(sim, Stage.STT)
    begun = sim.only()
    analysis = sim.engines[Stage.STT](Path(__file__), late.options, lambda share: None)
    value = outcomes.failed(late, Failure(code=ErrorCode.TIMEOUT, message=""), attempt=2, at=sim.clock())
    value = value.model_copy(update={"failure": None, "analysis": analysis, "traceparent": "late"})
    assert perform._create(value, sim.world.attempt(sim.engines[Stage.STT], holder="late", lease_seconds=60))
    sim.settle()
    recording = sim.only()
    assert (recording.status, recording.revision) == (Status.COMPLETED, begun.revision)
    [taken] = [each for each in sim.store.partials(recording.id) if each.revision == begun.revision]
    assert (taken.stage, taken.traceparent) == (Stage.STT, None)  # from the task with the corrected options
    assert recording.options.language == "de"


# -------------------------------------------------------------------------------------------------- replay


def test_a_replay_publishes_the_same_event_and_computes_nothing() -> None:
    sim = done()
    operations.replay(sim.only().id, sim.world)
    first, second = sim.completions()
    assert first == second
    assert [engine.runs for engine in sim.engines.values()] == [1, 1]


def test_a_recording_that_is_not_final_cannot_be_replayed() -> None:
    sim = Simulation()
    sim.arrive(source())
    sim.deliver(sim.pending()[0])
    with pytest.raises(NotFinal):
        operations.replay(sim.only().id, sim.world)


# --------------------------------------------------------------------------------------------------- erase


def test_an_erasure_leaves_a_tombstone_without_content_and_an_event() -> None:
    sim = done()
    recording_id = sim.only().id
    erase(sim, upload=True)
    left = sim.only()
    assert left.status is Status.ERASED
    assert left.id == recording_id
    assert "call.wav" not in left.model_dump_json()
    assert "order" not in left.model_dump_json()
    assert sim.store.partials(recording_id) == []
    assert all(sim.store.lease(recording_id, stage, 1) is None for stage in Stage)
    assert sim.results.objects == {}
    assert sim.uploads.gone == {"call.wav"}
    event = sim.completions()[-1]
    assert event.id == f"{recording_id}.r2.erased"
    assert event.type == "dev.speechpipe.recording.v1.erased"
    assert "call.wav" not in event.model_dump_json()
    assert sim.store.unfinished() == []


def test_erasing_keeps_the_upload_unless_requested() -> None:
    sim = done()
    erase(sim)
    assert sim.uploads.gone == set()


def test_an_upload_under_retention_stays_and_everything_else_is_erased() -> None:
    sim = done()
    until = sim.clock() + timedelta(days=365)
    sim.uploads.retained["call.wav"] = Retained(until=until)
    tombstone = erase(sim, upload=True)
    assert tombstone.retained == Retained(until=until)
    assert sim.only() == tombstone.model_copy(update={"announced_at": sim.clock()})
    assert "call.wav" not in sim.only().model_dump_json()
    assert (sim.uploads.gone, sim.results.objects) == (set(), {})
    assert sim.store.partials(tombstone.id) == []
    assert sim.completions()[-1].type.endswith(".erased")
    assert sim.only().expires_at is None  # it outlives the object, so that nobody takes that in again
    sim.arrive(source())
    sim.settle()
    assert sim.only().status is Status.ERASED
    [moment] = [m for m in history(sim.only(), [], [], sim.clock()) if m.what == "erased"]
    assert f"it stays until {until:%Y-%m-%d %H:%M:%SZ}" in moment.detail


def test_neither_a_repeated_event_nor_a_sweep_brings_an_erased_recording_back() -> None:
    sim = done()
    erase(sim)
    sim.arrive(source())
    sim.settle()
    sim.clock.pass_time(hours=30)
    sim.sweep()
    sim.settle()
    assert sim.only().status is Status.ERASED
    assert [engine.runs for engine in sim.engines.values()] == [1, 1]


def perform_while_erasing(sim: Simulation) -> Task:
    """Run a worker's attempt during which somebody erases the recording; returns its task."""
    sim.arrive(source())
    sim.deliver(sim.pending()[0])
    task = next(Task.model_validate_json(body) for _, topic, body in sim.pending() if topic == "stt-tasks")

    class Erased(FixedEngine):
        def __call__(self, path, options, progress, part=None):  # type: ignore[no-untyped-def]
            erase(sim)
            return super().__call__(path, options, progress)

    sim.engines[Stage.STT] = Erased(Stage.STT)
    assert sim.perform(task) is False
    return task


def test_a_worker_that_is_still_running_restores_nothing() -> None:
    sim = Simulation()
    task = perform_while_erasing(sim)
    sim.settle()
    assert sim.store.partials(task.recording_id) == []
    assert sim.store.lease(task.recording_id, Stage.STT, 1) is None
    assert sim.results.objects == {}


def test_a_running_worker_with_a_large_analysis_restores_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The analysis is in the results bucket before the partial that refers to it, which is then never created."""
    monkeypatch.setattr(analyses, "PARTIAL_INLINE_BYTES", 10)
    sim = Simulation()
    perform_while_erasing(sim)
    assert sim.results.objects == {}


def test_a_lease_claimed_after_the_erasure_is_deleted() -> None:
    sim = Simulation()
    sim.arrive(source())
    sim.deliver(sim.pending()[0])
    task = next(Task.model_validate_json(body) for _, topic, body in sim.pending() if topic == "stt-tasks")
    claim = sim.store.claim

    def late(*args, **kwargs):  # type: ignore[no-untyped-def]
        erase(sim)
        return claim(*args, **kwargs)

    sim.store.claim = late  # type: ignore[method-assign]
    assert sim.perform(task) is False
    assert sim.store.lease(task.recording_id, Stage.STT, 1) is None


def test_a_join_that_is_still_running_restores_nothing() -> None:
    sim = Simulation()
    sim.arrive(source())
    for _ in range(3):
        sim.deliver(sim.pending()[0])
    create = sim.results.create

    def erased_meanwhile(path: str, body: bytes, content_type: str) -> str:
        if path.endswith("report.html"):
            erase(sim)
        return create(path, body, content_type)

    sim.results.create = erased_meanwhile  # type: ignore[method-assign]
    sim.settle()
    assert sim.only().status is Status.ERASED
    assert sim.results.objects == {}
    assert [event.data.status for event in sim.completions()] == [Status.ERASED]


# ------------------------------------------------------------------- all of it together: repeats and crashes


@given(
    seed=st.integers(0, 2**32),
    operations_to_do=st.lists(st.sampled_from(["redrive stt", "redrive ser", "erase"]), min_size=1, max_size=3),
    crashes=st.lists(st.tuples(st.integers(0, 15), st.sampled_from(["before", "after"])), max_size=4),
)
def test_each_revision_has_one_outcome_despite_operations_repeats_and_crashes(
    seed: int, operations_to_do: list[str], crashes: list[tuple[int, str]]
) -> None:
    chance = random.Random(seed)
    sim = Simulation()
    sim.arrive(source())
    todo = list(operations_to_do)
    for _ in range(600):
        pending = sim.pending()
        if not pending and not todo:
            break
        if sim.crash_at is None and crashes:
            count, when = crashes.pop()
            sim.crash_at = (sim._writes + 1 + count, when)
        if pending and (chance.random() < 0.8 or not todo or not sim.store.recordings()):
            sim.deliver(chance.choice(pending), acknowledge=chance.random() < 0.7)
        else:
            carry_out(sim, todo)
    else:
        raise AssertionError("never settles")
    sim.crash_at = None
    sim.clock.pass_time(hours=1)
    sim.sweep()
    sim.settle()
    check_outcomes(sim, erased="erase" in operations_to_do)


def carry_out(sim: Simulation, todo: list[str]) -> None:
    """Carry out the first operation on the list; it stays there until it succeeds."""
    try:
        if todo[0] == "erase":
            erase(sim)
        else:
            redrive(sim, Stage(todo[0].split()[1]))
    except Crash:
        return
    except NotFinal:  # a later sweep moves forward what a crash left
        sim.clock.pass_time(hours=1)
        with suppress(Crash):
            sim.sweep()
        return
    except NotFound:  # already erased
        pass
    del todo[0]


def check_outcomes(sim: Simulation, *, erased: bool) -> None:
    recording = sim.only()
    assert recording.announced_at is not None
    assert sim.store.unfinished() == []
    assert (recording.status is Status.ERASED) == erased
    if erased:
        assert sim.results.objects == {}
        assert sim.store.partials(recording.id) == []
    outcomes: dict[int, set[str]] = {}
    for event in sim.completions():
        outcomes.setdefault(event.data.revision, set()).add(event.id)
    assert len(outcomes.pop(recording.revision)) == 1
    # Only an erasure may end a revision before its own completion event.
    assert {revision: len(ids) for revision, ids in outcomes.items()} == {n: 1 for n in outcomes}
    assert set(range(1, recording.revision)) - set(outcomes) <= ({recording.revision - 1} if erased else set())
    assert sim.results.conflicts == []
