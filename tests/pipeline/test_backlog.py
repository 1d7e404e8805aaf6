"""A backlog is not a failure: hours of it, with killed workers and dead letters, and nothing ends that nobody tried."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from speechpipe.client.explain import history
from speechpipe.contract import Requeued, Stage, Status
from speechpipe.contract.errors import Busy, ErrorCode
from speechpipe.pipeline.backfill import Brake, Ledger, Outcome, Throttle, backfill
from speechpipe.pipeline.give_up import give_up
from speechpipe.settings import Limits
from tests.doubles import FixedEngine, source
from tests.pipeline.factory import Factory
from tests.pipeline.test_pipeline import first_task
from tests.simulation import Simulation


def statuses(factory: Factory) -> Counter[Status]:
    return Counter(recording.status for recording in factory.sim.store.recordings(limit=1000))


def attempts(factory: Factory) -> list[int]:
    """How many attempts each recording took."""
    leases = (factory.sim.store.lease(each.id, Stage.STT, 1) for each in factory.sim.store.recordings(limit=1000))
    return [len(lease.attempts) if lease else 0 for lease in leases]


def test_ten_hours_of_backlog_end_completed_with_one_attempt_each_and_at_most_two_copies_of_a_task() -> None:
    factory = Factory(minutes=15)
    factory.upload(80)  # ten hours for two slots; a message meets a full worker 200 times or more
    factory.pass_minutes(11 * 60)
    assert statuses(factory) == {Status.COMPLETED: 80}
    assert attempts(factory) == [1] * 80
    assert factory.dead_letters > 0  # the simulation is hard enough
    assert factory.most_copies <= 2
    assert factory.queue == {}


def test_workers_that_are_killed_in_a_backlog_cost_one_more_attempt_each_time_and_nothing_else() -> None:
    factory = Factory(minutes=15)
    factory.upload(40)
    for _ in range(6):
        factory.pass_minutes(50)
        factory.kill()
    factory.pass_minutes(6 * 60)
    assert statuses(factory) == {Status.COMPLETED: 40}
    assert sum(attempts(factory)) == 40 + 6 * 2
    assert factory.most_copies <= 2


def test_without_any_worker_nothing_fails_before_the_deadline_and_then_the_reason_says_that_nobody_tried() -> None:
    factory = Factory(minutes=15)
    factory.upload(3)
    factory.pass_minutes(23 * 60 + 58, working=False)
    assert statuses(factory) == {Status.QUEUED: 3}
    assert factory.most_copies <= 2
    factory.pass_minutes(5, working=False)
    assert statuses(factory) == {Status.FAILED: 3}
    errors = {each.error for each in factory.sim.store.recordings() if each.error}
    assert {(error.code, error.message) for error in errors} == {
        (ErrorCode.TIMEOUT, "the deadline passed before any worker was free")
    }


def test_in_a_backlog_a_recording_that_really_fails_ends_with_its_error_and_the_others_complete() -> None:
    factory = Factory(minutes=3)
    factory.upload(12)
    broken = source("7.wav", metadata={"emotion": "off"}).recording_id
    factory.fails.add(broken)
    factory.pass_minutes(12 * 60)
    assert statuses(factory) == {Status.COMPLETED: 11, Status.FAILED: 1}
    found = factory.sim.store.recording(broken)
    assert found is not None
    assert found.error is not None
    assert found.error.code is ErrorCode.MODEL_ERROR
    assert found.error.message.endswith("attempts; the last error was RuntimeError")


# ------------------------------------------------------------------------------------------------- one dead letter


@pytest.mark.parametrize("ended", ["never tried", "busy", "interrupted", "expired", "runs"])
def test_a_dead_letter_at_which_nobody_failed_is_published_again_and_explain_says_so(ended: str) -> None:
    sim = Simulation()
    task = first_task(sim)
    now = sim.clock()
    if ended != "never tried":
        until = now + timedelta(seconds=30)
        lease = sim.store.claim(task.recording_id, task.stage, 1, holder="worker", now=now, until=until)
        if ended in ("busy", "interrupted"):
            sim.store.release(lease, now=now, outcome=ended, error="Busy")
    sim.lose_messages()
    sim.clock.pass_time(seconds=10 if ended == "runs" else 60)
    assert give_up(task, sim.world) is True
    assert [topic for _, topic, _ in sim.pending()] == ["stt-tasks"]
    assert sim.only().requeued == {Stage.STT: Requeued(rounds=1)}
    assert sim.store.partials(task.recording_id) == []
    assert give_up(task, sim.world) is False  # the same letter again
    assert len(sim.pending()) == 1
    told = [moment.detail for moment in history(sim.only(), [], [], sim.clock()) if moment.stage is Stage.STT]
    assert "it used up its deliveries once, and no attempt had failed" in told[0]


def test_a_dead_letter_is_not_given_up_while_an_attempt_runs_even_if_an_earlier_one_failed() -> None:
    sim = Simulation()
    task = first_task(sim)
    sim.engines[Stage.STT].error = RuntimeError("no")
    with pytest.raises(RuntimeError):
        sim.perform(task)
    now = sim.clock()
    lease = sim.store.claim(task.recording_id, task.stage, 1, holder="w", now=now, until=now + timedelta(seconds=30))
    give_up(task, sim.world)
    assert sim.store.partials(task.recording_id) == []
    sim.store.release(lease, now=now, outcome="busy", error="Busy")
    give_up(task, sim.world)
    (partial,) = sim.store.partials(task.recording_id)
    assert partial.failure is not None
    assert (
        partial.failure.message == "the stt worker could not finish it after 1 attempt; the last error was RuntimeError"
    )


def test_a_recording_that_kills_every_worker_is_given_up() -> None:
    sim = Simulation()
    task = first_task(sim)
    for _ in range(20):
        now = sim.clock()
        sim.store.claim(task.recording_id, task.stage, 1, holder="w", now=now, until=now + timedelta(seconds=30))
        sim.clock.pass_time(minutes=2)
    give_up(task, sim.world)
    (partial,) = sim.store.partials(task.recording_id)
    assert partial.failure is not None
    assert partial.failure.message == "the stt worker could not finish it after 20 attempts"


def test_a_dead_letter_of_a_finished_recording_changes_nothing() -> None:
    sim = Simulation()
    task = first_task(sim)
    sim.settle()
    assert give_up(task, sim.world) is False
    assert sim.only().status is Status.COMPLETED
    assert sim.pending() == []


@pytest.mark.parametrize(("error", "outcome"), [(Busy("full"), "busy"), (KeyboardInterrupt(), "interrupted")])
def test_an_attempt_that_was_cut_short_is_none_that_failed(error: BaseException, outcome: str) -> None:
    sim = Simulation()
    task = first_task(sim)
    sim.engines[Stage.STT] = FixedEngine(Stage.STT, error=error)
    with pytest.raises(type(error)):
        sim.perform(task)
    lease = sim.store.lease(task.recording_id, Stage.STT, 1)
    assert lease is not None
    assert [attempt.outcome for attempt in lease.attempts] == [outcome]
    sim.lose_messages()
    sim.clock.pass_time(minutes=1)
    assert give_up(task, sim.world) is True
    assert sim.only().requeued[Stage.STT].rounds == 1


def test_an_event_that_is_repeated_again_and_again_publishes_each_task_at_most_twice() -> None:
    sim = Simulation()
    for _ in range(5):
        sim.arrive(source())
    for message in sim.pending():
        sim.deliver(message)
    topics = Counter(topic for _, topic, _ in sim.pending())
    assert topics == {"stt-tasks": 2, "ser-tasks": 2}
    sim.settle()
    assert sim.only().status is Status.COMPLETED


# --------------------------------------------------------------------------------------------------------- backfill


def test_backfill_never_makes_the_queue_longer_than_asked_and_goes_on_as_it_drains(tmp_path: Path) -> None:
    sim = Simulation()
    lengths: list[int] = []
    told: list[int | None] = []

    def sleep(seconds: float) -> None:
        lengths.append(sim.store.count_unfinished())
        sim.settle()

    brake = Brake(sim.store, 3, waiting=told.append, sleep=sleep)
    throttle = Throttle(1e9, sleep=lambda seconds: None)
    ledger = Ledger(tmp_path / "ledger", "", resume=False, now=sim.clock())
    outcomes = [
        outcome for _, outcome in backfill([source(f"{n}.wav") for n in range(8)], ledger, sim.world, throttle, brake)
    ]
    assert outcomes == [Outcome.NEW] * 8
    assert lengths == [3, 3]
    assert told == [3, None, 3, None]
    assert sim.store.count_unfinished() == 2  # the last ones, which nobody had to wait for


# ------------------------------------------------------------------------------------------------------------ sweep


def test_sweep_publishes_a_second_copy_after_an_attempt_without_an_outcome_and_never_a_third() -> None:
    sim = Simulation()
    task = first_task(sim)
    sim.engines[Stage.STT].error = RuntimeError("no")
    with pytest.raises(RuntimeError):
        sim.perform(task)
    sim.clock.pass_time(minutes=14)
    assert sim.sweep().republished == 0
    sim.clock.pass_time(minutes=1)
    assert sim.sweep().republished == 1
    for _ in range(20):
        with pytest.raises(RuntimeError):
            sim.perform(task)
        sim.clock.pass_time(minutes=60)
        sim.sweep()
    topics = Counter(topic for _, topic, _ in sim.pending())
    assert topics == {"stt-tasks": 2, "ser-tasks": 2}


def test_a_third_copy_is_published_only_when_the_queue_has_dropped_an_older_one() -> None:
    sim = Simulation(limits=Limits(deadline_seconds=30 * 24 * 3600))
    first_task(sim)
    published = []
    for hour in range(8 * 24):
        published += [hour] * sim.sweep().republished
        sim.clock.pass_time(hours=1)
    assert published == [6, 6, 7 * 24, 7 * 24, 7 * 24 + 6, 7 * 24 + 6]  # hours, for both halves
