"""What people decide: runs again, repeated announcements, erasures; each may be repeated and cut off anywhere."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechpipe.contract import HalfStatus, Recording, Source, Stage, Status, Task
from speechpipe.contract.errors import ErrorCode, NotFinal, NotFound
from speechpipe.pipeline import operations, steps
from tests.doubles import FixedEngine, source
from tests.world import Crash, World

ALL = ("store", "bus", "uploads", "results")


def done(error: BaseException | None = None) -> World:
    """A world with one recording at its end, of which the ser half failed if there is an error."""
    world = World()
    world.arrive(source())
    world.deliver(world.pending()[0])
    if error:
        task = next(Task.model_validate_json(body) for _, topic, body in world.pending() if topic == "ser-tasks")
        steps.give_up(task, **world.ports("store"), code=ErrorCode.MODEL_ERROR, reason="ser failed")
    world.settle()
    return world


def redrive(world: World, *stages: Stage) -> Recording:
    return operations.redrive(world.only().id, stages or tuple(Stage), **world.ports("store", "bus", "results"))


def erase(world: World, **given: Any) -> Recording:
    return operations.erase(source().recording_id, **{"upload": False, **given}, **world.ports(*ALL))


# ------------------------------------------------------------------------------------------------- redrive


@pytest.mark.parametrize("rejected", [source(metadata={"language": "klingon"}), source(size=0)])
def test_what_was_rejected_is_rejected_again_for_the_same(rejected: Source) -> None:
    """And not run without the option that it asked for."""
    world = World()
    world.arrive(rejected)
    world.settle()
    before = world.only()
    redrive(world, Stage.SER)
    world.settle()
    assert (world.only().status, world.only().revision) == (Status.REJECTED, 2)
    assert world.only().error == before.error
    assert [engine.runs for engine in world.engines.values()] == [0, 0]


def test_a_half_runs_again_and_the_other_is_not_computed_again() -> None:
    world = done(RuntimeError())
    assert world.only().status is Status.PARTIAL
    before = dict(world.results.objects)
    world.clock.pass_time(hours=30)
    assert redrive(world, Stage.SER).status is Status.QUEUED
    assert world.only().halves[Stage.SER].status is HalfStatus.QUEUED
    assert world.only().deadline_at > world.clock()
    world.settle()
    recording = world.only()
    assert (recording.status, recording.revision) == (Status.COMPLETED, 2)
    assert [world.engines[stage].runs for stage in (Stage.STT, Stage.SER)] == [1, 1]
    assert [event.id for event in world.completions()] == [f"{recording.id}.r1.partial", f"{recording.id}.r2.completed"]
    assert before.items() <= world.results.objects.items()  # the first record is still there
    assert recording.artifacts is not None
    assert recording.artifacts.record.endswith("/r2/record.json")


def test_running_all_again_takes_nothing_of_before() -> None:
    world = done()
    redrive(world)
    world.settle()
    assert [engine.runs for engine in world.engines.values()] == [2, 2]
    assert [event.data.revision for event in world.completions()] == [1, 2]


def test_a_redrive_that_is_repeated_while_it_runs_is_one() -> None:
    world = done()
    for _ in range(3):
        assert redrive(world, Stage.STT).revision == 2
    world.settle()
    assert world.engines[Stage.STT].runs == 2
    assert world.only().status is Status.COMPLETED


def test_what_is_not_at_its_end_cannot_run_again() -> None:
    world = World()
    world.arrive(source())
    world.deliver(world.pending()[0])
    with pytest.raises(NotFinal, match="queued"):
        redrive(world)
    world.settle()
    redrive(world, Stage.STT)
    with pytest.raises(NotFinal):
        redrive(world, Stage.SER)


def test_a_redrive_of_a_stage_that_was_never_asked_for_does_nothing() -> None:
    world = World()
    world.arrive(source(metadata={"emotion": "off"}))
    world.settle()
    assert redrive(world, Stage.SER).revision == 1
    assert world.pending() == []


def test_there_is_nothing_to_decide_about_what_is_not_there() -> None:
    world = World()
    with pytest.raises(NotFound):
        operations.redrive("rec_none", [Stage.STT], **world.ports("store", "bus", "results"))
    with pytest.raises(NotFound):
        operations.replay("rec_none", store=world.store, bus=world.bus, results=world.results)
    with pytest.raises(NotFound):
        operations.erase("rec_none", upload=True, **world.ports(*ALL))


# -------------------------------------------------------------------------------------------------- replay


def test_a_replay_is_the_same_event_and_computes_nothing() -> None:
    world = done()
    operations.replay(world.only().id, store=world.store, bus=world.bus, results=world.results)
    first, second = world.completions()
    assert first == second
    assert [engine.runs for engine in world.engines.values()] == [1, 1]


def test_there_is_nothing_to_replay_before_the_end() -> None:
    world = World()
    world.arrive(source())
    world.deliver(world.pending()[0])
    with pytest.raises(NotFinal):
        operations.replay(world.only().id, store=world.store, bus=world.bus, results=world.results)


# --------------------------------------------------------------------------------------------------- erase


def test_an_erasure_leaves_a_tombstone_without_content_and_an_event() -> None:
    world = done()
    recording_id = world.only().id
    erase(world, upload=True)
    left = world.only()
    assert left.status is Status.ERASED
    assert left.id == recording_id
    assert "call.wav" not in left.model_dump_json()
    assert "order" not in left.model_dump_json()
    assert world.store.partials(recording_id) == []
    assert all(world.store.lease(recording_id, stage, 1) is None for stage in Stage)
    assert world.results.objects == {}
    assert world.uploads.gone == {"call.wav"}
    event = world.completions()[-1]
    assert event.id == f"{recording_id}.r2.erased"
    assert event.type == "dev.speechpipe.recording.v1.erased"
    assert "call.wav" not in event.model_dump_json()
    assert world.store.unfinished() == []


def test_the_upload_stays_unless_it_is_asked_for() -> None:
    world = done()
    erase(world)
    assert world.uploads.gone == set()


def test_neither_a_repeated_event_nor_a_sweep_brings_an_erased_recording_back() -> None:
    world = done()
    erase(world)
    world.arrive(source())
    world.settle()
    world.clock.pass_time(hours=30)
    world.sweep()
    world.settle()
    assert world.only().status is Status.ERASED
    assert [engine.runs for engine in world.engines.values()] == [1, 1]


def perform_while_it_is_erased(world: World) -> Task:
    """A worker's attempt, during which somebody erases the recording; its task."""
    world.arrive(source())
    world.deliver(world.pending()[0])
    task = next(Task.model_validate_json(body) for _, topic, body in world.pending() if topic == "stt-tasks")

    class Erased(FixedEngine):
        def __call__(self, path, options, progress):  # type: ignore[no-untyped-def]
            erase(world)
            return super().__call__(path, options, progress)

    world.engines[Stage.STT] = Erased(Stage.STT)
    assert world.perform(task) is False
    return task


def test_a_worker_that_is_at_it_brings_nothing_back() -> None:
    world = World()
    task = perform_while_it_is_erased(world)
    world.settle()
    assert world.store.partials(task.recording_id) == []
    assert world.store.lease(task.recording_id, Stage.STT, 1) is None
    assert world.results.objects == {}


def test_a_worker_with_a_large_analysis_brings_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """It lies in the results bucket before its partial, which there will not be, would say so."""
    monkeypatch.setattr(steps, "PARTIAL_INLINE_BYTES", 10)
    world = World()
    perform_while_it_is_erased(world)
    assert world.results.objects == {}


def test_a_lease_that_is_claimed_after_the_erasure_goes_again() -> None:
    world = World()
    world.arrive(source())
    world.deliver(world.pending()[0])
    task = next(Task.model_validate_json(body) for _, topic, body in world.pending() if topic == "stt-tasks")
    claim = world.store.claim

    def late(*args, **kwargs):  # type: ignore[no-untyped-def]
        erase(world)
        return claim(*args, **kwargs)

    world.store.claim = late  # type: ignore[method-assign]
    assert world.perform(task) is False
    assert world.store.lease(task.recording_id, Stage.STT, 1) is None


def test_a_join_that_is_at_it_brings_nothing_back() -> None:
    world = World()
    world.arrive(source())
    for _ in range(3):
        world.deliver(world.pending()[0])
    create = world.results.create

    def erased_meanwhile(path: str, body: bytes, content_type: str) -> str:
        if path.endswith("report.html"):
            erase(world)
        return create(path, body, content_type)

    world.results.create = erased_meanwhile  # type: ignore[method-assign]
    world.settle()
    assert world.only().status is Status.ERASED
    assert world.results.objects == {}
    assert [event.data.status for event in world.completions()] == [Status.ERASED]


# -------------------------------------------------------------------- everything at once: repeats and crashes


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    decisions=st.lists(st.sampled_from(["redrive stt", "redrive ser", "erase"]), min_size=1, max_size=3),
    crashes=st.lists(st.tuples(st.integers(0, 15), st.sampled_from(["before", "after"])), max_size=4),
)
def test_whatever_is_decided_repeated_and_cut_off_each_revision_has_one_outcome(
    seed: int, decisions: list[str], crashes: list[tuple[int, str]]
) -> None:
    chance = random.Random(seed)
    world = World()
    world.arrive(source())
    todo = list(decisions)
    for _ in range(600):
        pending = world.pending()
        if not pending and not todo:
            break
        if world.crash_at is None and crashes:
            count, when = crashes.pop()
            world.crash_at = (world._writes + 1 + count, when)
        if pending and (chance.random() < 0.8 or not todo or not world.store.recordings()):
            world.deliver(chance.choice(pending), acknowledge=chance.random() < 0.7)
        else:
            decide(world, todo)
    else:
        raise AssertionError("never settles")
    world.crash_at = None
    world.clock.pass_time(hours=1)
    world.sweep()
    world.settle()
    check_books(world, erased="erase" in decisions)


def decide(world: World, todo: list[str]) -> None:
    """Do the first thing on the list; it stays there until it could be done to its end."""
    try:
        if todo[0] == "erase":
            erase(world)
        else:
            redrive(world, Stage(todo[0].split()[1]))
    except Crash:
        return
    except NotFinal:  # what a crash left is brought on by the sweep, later
        world.clock.pass_time(hours=1)
        with suppress(Crash):
            world.sweep()
        return
    except NotFound:  # erased before
        pass
    del todo[0]


def check_books(world: World, *, erased: bool) -> None:
    recording = world.only()
    assert recording.announced_at is not None
    assert world.store.unfinished() == []
    assert (recording.status is Status.ERASED) == erased
    if erased:
        assert world.results.objects == {}
        assert world.store.partials(recording.id) == []
    outcomes: dict[int, set[str]] = {}
    for event in world.completions():
        outcomes.setdefault(event.data.revision, set()).add(event.id)
    assert len(outcomes.pop(recording.revision)) == 1
    # Only an erasure may come before the end of the revision that it ends.
    assert {revision: len(ids) for revision, ids in outcomes.items()} == {n: 1 for n in outcomes}
    assert set(range(1, recording.revision)) - set(outcomes) <= ({recording.revision - 1} if erased else set())
    assert world.results.conflicts == []
