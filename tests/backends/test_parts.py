"""What every store guarantees about the parts of a long recording (`ports.Store`)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from speechpipe.backends.ports import Backend, Store
from speechpipe.contract import Half, HalfStatus, Lease, Partial, Plan, Recording, Requeued, Stage, Status
from speechpipe.contract.errors import Busy
from speechpipe.pipeline.outcomes import tombstone
from tests.backends.examples import LATER, NOW, finished, partial, recording

PLAN = Plan(seconds=3000, count=12)


@pytest.fixture
def store(backend: Backend) -> Store:
    return backend.store


@pytest.fixture
def known(store: Store) -> Recording:
    made = recording()
    assert store.create_recording(made)
    return made


def part(of: Recording, number: int, stage: Stage = Stage.STT, revision: int = 1) -> Partial:
    return partial(of, stage).model_copy(update={"part": PLAN.parts[number], "revision": revision})


def claim(store: Store, of: Recording, number: int | None, holder: str) -> Lease:
    return store.claim(of.id, Stage.STT, 1, number, holder=holder, now=NOW, until=NOW + timedelta(minutes=5))


def test_a_plan_is_decided_once_and_never_for_a_finished_recording(store: Store, known: Recording) -> None:
    store.plan(known.id, PLAN)
    store.plan(known.id, Plan(seconds=1000, count=3))
    assert store.recording(known.id) == known.model_copy(update={"plan": PLAN})
    other = recording(2)
    store.create_recording(other)
    store.finish(finished(other))
    store.plan(other.id, PLAN)
    found = store.recording(other.id)
    assert found is not None
    assert found.plan is None
    store.plan("rec_nobody", PLAN)


def test_parts_are_created_once_each_and_are_no_partials_of_the_stage(store: Store, known: Recording) -> None:
    for number in (10, 2, 0, 11, 1):
        assert store.create_partial(part(known, number))
    again = part(known, 2)
    assert not store.create_partial(again.model_copy(update={"attempt": 7}))
    assert store.create_partial(part(known, 2, Stage.SER))
    assert store.create_partial(part(known, 3, revision=2))
    assert store.create_partial(part(known, 1, revision=11))
    assert store.part_numbers(known.id, Stage.STT, 1) == {0, 1, 2, 10, 11}
    assert store.parts(known.id, Stage.STT, 1) == [part(known, number) for number in (0, 1, 2, 10, 11)]
    assert store.part_numbers(known.id, Stage.SER, 1) == {2}
    assert store.part_numbers(known.id, Stage.STT, 2) == {3}
    assert store.part_numbers("rec_nobody", Stage.STT, 1) == set()
    assert store.partials(known.id) == []


def test_each_part_has_a_lease_of_its_own(store: Store, known: Recording) -> None:
    first, second, whole = claim(store, known, 0, "a"), claim(store, known, 1, "b"), claim(store, known, None, "c")
    with pytest.raises(Busy):
        claim(store, known, 1, "d")
    first = store.extend(first, NOW + timedelta(minutes=9))
    store.release(second, now=NOW, outcome="failed", error="RuntimeError")
    assert store.lease(known.id, Stage.STT, 1, 0) == first
    assert store.lease(known.id, Stage.STT, 1) == whole
    freed = store.lease(known.id, Stage.STT, 1, 1)
    assert freed is not None
    assert (freed.holder, freed.attempts[-1].outcome) == (None, "failed")
    assert claim(store, known, 1, "d").attempts[-1].number == 2
    assert store.lease(known.id, Stage.STT, 1, 5) is None


def test_the_copies_of_a_part_s_task_are_noted_beside_those_of_its_stage(store: Store, known: Recording) -> None:
    store.requeued(known.id, Stage.STT, at=LATER, known=Requeued(older_at=NOW), part=3)
    found = store.recording(known.id)
    assert found is not None
    assert found.requeued == {"stt.p3": Requeued(older_at=NOW, newest_at=LATER)}
    assert found.halves == known.halves
    store.requeued(known.id, Stage.STT, at=LATER, known=Requeued(rounds=1))
    found = store.recording(known.id)
    assert found is not None
    assert found.requeued == {"stt.p3": Requeued(older_at=NOW, newest_at=LATER), "stt": Requeued(rounds=1)}
    assert found.halves[Stage.STT] == Half(status=HalfStatus.QUEUED, queued_at=LATER)


def test_erasing_deletes_parts_and_their_leases_and_none_is_created_afterwards(store: Store, known: Recording) -> None:
    store.create_partial(part(known, 0))
    claim(store, known, 1, "a")
    store.erase(tombstone(known, None, LATER))
    assert store.part_numbers(known.id, Stage.STT, 1) == set()
    assert store.lease(known.id, Stage.STT, 1, 1) is None
    assert not store.create_partial(part(known, 2))
    found = store.recording(known.id)
    assert found is not None
    assert found.status is Status.ERASED
    assert found.plan is None
