"""What every store guarantees (`ports.Store`)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TypeVar

import pytest

from speechpipe.backends.ports import Backend, Store
from speechpipe.contract import Half, HalfStatus, Lease, Options, Recording, Requeued, Retained, Stage, Status, Totals
from speechpipe.contract.errors import Busy
from speechpipe.pipeline.outcomes import tombstone
from tests.backends.examples import LATER, NOW, QUOTE, accepted, finished, held, partial, recording

R = TypeVar("R")
CROWD = 16


@pytest.fixture
def store(backend: Backend) -> Store:
    return backend.store


@pytest.fixture
def known(store: Store) -> Recording:
    """A recording as ingest leaves it."""
    made = recording()
    assert store.create_recording(made)
    return made


def in_parallel(action: Callable[[int], R]) -> list[R | Exception]:
    """Run an action in many threads that start together; the results, or Busy errors."""
    gate = threading.Barrier(CROWD)

    def run(number: int) -> R | Exception:
        gate.wait()
        try:
            return action(number)
        except Busy as error:
            return error

    with ThreadPoolExecutor(CROWD) as pool:
        return list(pool.map(run, range(CROWD)))


def read(store: Store, of: Recording) -> Recording:
    found = store.recording(of.id)
    assert found is not None
    return found


def claim(store: Store, of: Recording, holder: str = "a", *, minute: float = 0, minutes: float = 10) -> Lease:
    now = NOW + timedelta(minutes=minute)
    return store.claim(of.id, Stage.STT, 1, holder=holder, now=now, until=now + timedelta(minutes=minutes))


ODD_LABELS = (
    "生气/angry",
    "__unk__",
    "____",
    "",
    " ",
    "a.b",
    "a`b",
    'sad"<b>',
    "ANGRY",
    "\\",
    "\\__unk__",
    "a/b",
    "*",
    "x" * 100,
)


# ------------------------------------------------------------------------------------------------ recordings


def test_known_tells_which_ids_have_a_recording(store: Store) -> None:
    for number in range(3):
        store.create_recording(recording(number))
    store.erase(tombstone(recording(2), None, NOW))
    ids = [recording(number).id for number in range(5)]
    assert store.known(ids) == set(ids[:3])
    assert store.known(["rec_" + "a" * 26]) == set()
    assert store.known([]) == set()


def test_a_recording_is_read_as_it_was_created(store: Store, known: Recording) -> None:
    assert store.recording(known.id) == known


def test_there_is_nothing_where_nothing_was_created(store: Store) -> None:
    assert store.recording("rec_none") is None
    assert store.partials("rec_none") == []
    assert store.lease("rec_none", Stage.STT, 1) is None
    assert store.recordings() == []
    assert store.unfinished() == []


def test_a_recording_is_created_once(store: Store, known: Recording) -> None:
    assert not store.create_recording(known.model_copy(update={"status": Status.FAILED}))
    assert store.recording(known.id) == known


def test_one_of_many_concurrent_creations_succeeds(store: Store) -> None:
    made = recording()
    assert sorted(map(str, in_parallel(lambda _: store.create_recording(made)))) == ["False"] * (CROWD - 1) + ["True"]


def test_a_recording_with_every_field_set_is_read_as_it_was_finished(store: Store, known: Recording) -> None:
    done = finished(known)
    store.finish(done)
    assert store.recording(known.id) == done


def test_labels_that_are_no_words_are_read_as_they_were_written(store: Store, known: Recording) -> None:
    done = finished(known)
    assert done.result
    assert done.summary
    share = dict.fromkeys(ODD_LABELS, 0.0625)
    summary = done.summary.model_copy(update={"emotion_share": share, "dominant_emotion": "__unk__"})
    done = done.model_copy(
        update={"summary": summary, "result": done.result.model_copy(update={"summary": summary})}, deep=True
    )
    store.finish(done)
    assert store.recording(known.id) == done


def test_metadata_under_any_name_is_read_as_it_was_written(store: Store) -> None:
    long = ("k" * 1001, "é" * 750, "k" * 8000, "\\long " + "0" * 64, "\\long", "k" * 1000)
    metadata = {name: f"value {number}" for number, name in enumerate((*ODD_LABELS, "__class__", *long))}
    made = recording()
    made = made.model_copy(update={"source": made.source.model_copy(update={"metadata": metadata})})
    assert store.create_recording(made)
    assert store.recording(made.id) == made
    done = finished(made)  # its result has the metadata once more, under a longer path
    assert store.finish(done)
    assert store.recording(made.id) == done
    [listed] = store.recordings(uri=made.source.uri)
    assert listed.source.metadata == metadata


def test_lists_have_the_newest_first_and_no_results(store: Store) -> None:
    made = [recording(n, queued_at=NOW + timedelta(seconds=n)) for n in (2, 3, 1)]
    for one in made:
        store.create_recording(one)
        store.finish(finished(one))
    newest = sorted(made, key=lambda one: one.queued_at, reverse=True)
    assert store.recordings() == [finished(one).model_copy(update={"result": None}) for one in newest]
    assert [one.id for one in store.recordings(limit=2)] == [one.id for one in newest[:2]]


def test_lists_can_be_of_one_status_or_one_address(store: Store) -> None:
    one, other, third = recording(1, name="a #?"), recording(2, name="a #?"), recording(3, name="b")
    for each in (one, other, third):
        store.create_recording(each)
    store.finish(finished(one, Status.PARTIAL))
    assert [r.id for r in store.recordings(status=Status.PARTIAL)] == [one.id]
    assert {r.id for r in store.recordings(uri=one.source.uri)} == {one.id, other.id}
    assert [r.id for r in store.recordings(uri=one.source.uri, status=Status.QUEUED)] == [other.id]
    assert store.recordings(uri="gs://uploads/c") == []


def test_a_list_continues_behind_a_recording_of_the_same_moment_or_one_that_has_changed(store: Store) -> None:
    made = [recording(n, queued_at=NOW + timedelta(seconds=n // 3)) for n in range(7)]
    for each in made:
        store.create_recording(each)
        store.finish(finished(each, Status.FAILED))
        store.mark_announced(each.id, 1, LATER)
    seen: list[Recording] = []
    while page := store.recordings(status=Status.FAILED, after=seen[-1] if seen else None, limit=2):
        seen += page
        assert store.revise(next_revision(page[-1]).model_copy(update={"id": page[-1].id}))  # no longer failed
    assert {one.id for one in seen} == {one.id for one in made}
    assert len(seen) == len(made)
    assert [one.queued_at for one in seen] == sorted((one.queued_at for one in made), reverse=True)


def test_unfinished_lists_what_is_not_final_or_not_announced_oldest_first(store: Store) -> None:
    queued, processing, finished_only, announced = (
        recording(n, queued_at=NOW - timedelta(seconds=n)) for n in range(1, 5)
    )
    for each in (queued, processing, finished_only, announced):
        store.create_recording(each)
    store.begin(processing.id, Stage.STT, attempt=1, at=NOW)
    store.finish(finished(finished_only))
    store.finish(finished(announced))
    store.mark_announced(announced.id, 1, LATER)
    assert [r.id for r in store.unfinished()] == [finished_only.id, processing.id, queued.id]
    assert [r.id for r in store.unfinished(limit=1)] == [finished_only.id]
    assert store.count_unfinished() == 3
    assert store.unfinished()[0].result is None


# ---------------------------------------------------------------------------------------------------- status


def test_begin_shows_an_attempt(store: Store, known: Recording) -> None:
    store.begin(known.id, Stage.SER, attempt=3, at=LATER)
    expected = Half(status=HalfStatus.PROCESSING, attempts=3, queued_at=NOW, started_at=LATER)
    halves = {**known.halves, Stage.SER: expected}
    assert read(store, known) == known.model_copy(update={"status": Status.PROCESSING, "halves": halves})


@pytest.mark.parametrize("status", [status for status in Status if status.is_final])
def test_begin_and_requeued_never_change_a_final_recording(store: Store, known: Recording, status: Status) -> None:
    done = finished(known, status)
    store.finish(done)
    store.begin(known.id, Stage.STT, attempt=9, at=LATER)
    store.requeued(known.id, Stage.STT, at=LATER, known=Requeued(rounds=1))
    assert read(store, known) == done


def test_requeued_notes_when_the_task_was_published(store: Store, known: Recording) -> None:
    store.requeued(known.id, Stage.STT, at=LATER, known=Requeued(older_at=NOW))
    assert read(store, known).halves[Stage.STT].queued_at == LATER
    assert read(store, known).halves[Stage.SER].queued_at == NOW
    store.requeued(known.id, Stage.SER, at=LATER, known=Requeued(rounds=2))
    assert read(store, known).requeued == {Stage.STT: Requeued(older_at=NOW), Stage.SER: Requeued(rounds=2)}


def test_progress_shows_a_share_of_one_half(store: Store, known: Recording) -> None:
    store.progress(known.id, Stage.STT, 0.25)
    assert {stage: half.progress for stage, half in read(store, known).halves.items()} == {
        Stage.STT: 0.25,
        Stage.SER: 0,
    }
    assert read(store, known).status is Status.QUEUED


def test_progress_shows_when_a_half_will_be_done_until_its_next_attempt_begins(store: Store, known: Recording) -> None:
    store.progress(known.id, Stage.STT, 0.25, LATER)
    assert {stage: half.expected_at for stage, half in read(store, known).halves.items()} == {
        Stage.STT: LATER,
        Stage.SER: None,
    }
    store.begin(known.id, Stage.STT, attempt=2, at=LATER)
    assert read(store, known).halves[Stage.STT].expected_at is None


def test_late_progress_never_touches_status_or_result(store: Store, known: Recording) -> None:
    done = finished(known)
    store.finish(done)
    store.progress(known.id, Stage.STT, 0.5)
    late = read(store, known)
    assert late.model_copy(update={"halves": done.halves}) == done
    assert late.halves[Stage.STT].status is HalfStatus.COMPLETED


def test_changing_a_recording_that_does_not_exist_creates_nothing(store: Store) -> None:
    store.begin("rec_none", Stage.STT, attempt=1, at=NOW)
    store.progress("rec_none", Stage.STT, 0.5)
    store.requeued("rec_none", Stage.STT, at=NOW, known=Requeued())
    store.mark_announced("rec_none", 1, NOW)
    assert store.recording("rec_none") is None


def test_a_recording_that_becomes_final_stays_final_under_concurrent_writes(store: Store, known: Recording) -> None:
    done = finished(known)

    def act(number: int) -> None:
        if number == 0:
            store.finish(done)
        elif number % 2:
            store.begin(known.id, Stage.STT, attempt=number, at=LATER)
        else:
            store.progress(known.id, Stage.SER, number / CROWD)

    in_parallel(act)
    assert (read(store, known).status, read(store, known).result) == (Status.COMPLETED, done.result)


# ---------------------------------------------------------------------------------------------------- finish


def test_finish_keeps_announced_at(store: Store, known: Recording) -> None:
    store.finish(finished(known))
    store.mark_announced(known.id, 1, LATER)
    store.finish(finished(known))  # by a join that lost the race
    assert read(store, known).announced_at == LATER


def test_only_the_current_revision_can_be_announced(store: Store, known: Recording) -> None:
    store.finish(finished(known))
    store.mark_announced(known.id, 2, LATER)
    assert read(store, known).announced_at is None


def test_finishing_twice_gives_the_same_document(store: Store, known: Recording) -> None:
    in_parallel(lambda _: store.finish(finished(known)))
    assert read(store, known) == finished(known)


# ------------------------------------------------------------------------------------- revisions and erasures


@pytest.fixture
def announced(store: Store, known: Recording) -> Recording:
    """A recording that is final and announced."""
    store.finish(finished(known))
    store.mark_announced(known.id, 1, LATER)
    return read(store, known)


def next_revision(of: Recording) -> Recording:
    return recording().model_copy(
        update={"revision": of.revision + 1, "rerun": (Stage.SER,), "revised_at": LATER, "deadline_at": LATER}
    )


def test_the_next_revision_starts_once_and_is_unfinished(store: Store, announced: Recording) -> None:
    second = next_revision(announced)
    assert store.unfinished() == []
    assert sorted(map(str, in_parallel(lambda _: store.revise(second)))) == ["False"] * (CROWD - 1) + ["True"]
    assert read(store, announced) == second
    assert store.unfinished() == [second]


def test_a_revision_starts_only_after_the_previous_one_is_announced(store: Store, known: Recording) -> None:
    assert not store.revise(next_revision(known))
    store.finish(finished(known))
    assert not store.revise(next_revision(known))  # not announced yet
    store.mark_announced(known.id, 1, LATER)
    assert not store.revise(next_revision(known).model_copy(update={"revision": 3}))
    assert not store.revise(next_revision(known), after=2)
    assert store.revise(next_revision(known))


def test_a_revision_may_leave_out_a_number_and_have_other_options(store: Store, announced: Recording) -> None:
    metadata = {"language": "fr"}
    third = next_revision(announced).model_copy(
        update={
            "revision": 3,
            "options": Options(language="fr"),
            "source": announced.source.model_copy(update={"metadata": metadata}),
        }
    )
    assert store.revise(third, after=1)
    found = read(store, announced)
    assert (found, found.source.metadata) == (third, metadata)  # nothing is left of the earlier metadata


def test_a_join_of_an_earlier_revision_changes_nothing(store: Store, announced: Recording) -> None:
    second = next_revision(announced)
    store.revise(second)
    assert not store.finish(finished(recording()))
    store.mark_announced(second.id, 1, LATER)
    assert read(store, second) == second


def test_an_erased_recording_is_a_tombstone_with_nothing_under_it(store: Store, announced: Recording) -> None:
    store.create_partial(partial(announced))
    store.claim(announced.id, Stage.STT, 1, holder="me", now=NOW, until=LATER)
    stone = tombstone(announced, Retained(hold=True, until=LATER), LATER)
    in_parallel(lambda _: store.erase(stone))
    assert read(store, announced) == stone
    assert store.partials(announced.id) == []
    assert store.lease(announced.id, Stage.STT, 1) is None
    assert store.recordings(uri=announced.source.uri) == []
    assert store.unfinished() == [stone]  # until it is announced
    store.mark_announced(stone.id, stone.revision, LATER)
    assert store.unfinished() == []


def test_writes_of_earlier_revisions_do_not_change_a_tombstone(store: Store, announced: Recording) -> None:
    stone = tombstone(announced, None, LATER)
    store.erase(stone)
    assert not store.create_recording(recording())
    assert not store.create_partial(partial(announced))
    assert not store.revise(next_revision(stone))
    assert not store.finish(finished(recording()))
    store.begin(stone.id, Stage.STT, attempt=1, at=NOW)
    store.mark_announced(stone.id, 1, LATER)
    store.erase(tombstone(announced, None, LATER + timedelta(hours=1)))
    assert read(store, stone) == stone
    assert store.partials(stone.id) == []


def test_unfinished_continues_behind_a_recording_of_the_same_moment(store: Store) -> None:
    made = [recording(n, queued_at=NOW + timedelta(seconds=n // 3)) for n in range(7)]
    for each in made:
        store.create_recording(each)
    seen: list[Recording] = []
    while page := store.unfinished(after=seen[-1] if seen else None, limit=2):
        seen += page
    assert {one.id for one in seen} == {one.id for one in made}
    assert len(seen) == len(made)


# ---------------------------------------------------------------------------------------------------- holds


def test_a_held_recording_is_read_as_it_was_created_and_is_not_unfinished(store: Store) -> None:
    kept = held()
    assert store.create_recording(kept)
    assert store.recording(kept.id) == kept
    assert store.recordings(status=Status.HELD) == [kept]
    assert store.unfinished() == []


def test_held_recordings_do_not_hide_unfinished_ones(store: Store) -> None:
    for number in range(5):
        store.create_recording(held(number, queued_at=NOW))
    waiting = recording(9, queued_at=LATER)
    store.create_recording(waiting)
    assert store.unfinished(limit=1) == [waiting]


def test_a_held_recording_is_accepted_once_and_is_then_unfinished(store: Store) -> None:
    kept = held()
    store.create_recording(kept)
    assert store.accept(accepted(kept))
    assert not store.accept(accepted(kept, LATER + timedelta(hours=1)))
    assert store.recording(kept.id) == accepted(kept)
    assert store.unfinished() == [accepted(kept)]


def test_one_of_many_concurrent_accepts_succeeds(store: Store) -> None:
    kept = held()
    store.create_recording(kept)
    assert sorted(map(str, in_parallel(lambda _: store.accept(accepted(kept))))) == ["False"] * (CROWD - 1) + ["True"]


def test_a_recording_that_is_not_held_cannot_be_accepted(store: Store, known: Recording) -> None:
    assert not store.accept(accepted(known))
    assert not store.accept(accepted(held(77)))
    assert store.recording(known.id) == known
    assert store.recording(held(77).id) is None


def test_quotes_accepted_since_a_time_are_summed(store: Store) -> None:
    midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
    assert store.accepted_since(midnight) == Totals()
    days = {1: midnight - timedelta(milliseconds=1), 2: midnight, 3: midnight + timedelta(milliseconds=1), 4: NOW}
    for number, queued_at in days.items():
        store.create_recording(recording(number, queued_at=queued_at))
    store.create_recording(held(5))  # not accepted
    store.create_recording(recording(6).model_copy(update={"accepted_at": None}))  # rejected by ingest
    store.create_recording(recording(7).model_copy(update={"quote": None}))  # accepted without a quote
    unpriced = QUOTE.model_copy(update={"cost": None})
    store.create_recording(recording(8).model_copy(update={"quote": unpriced}))
    store.finish(finished(recording(2, queued_at=midnight)))  # a finished recording still counts
    assert store.accepted_since(midnight) == Totals(audio_seconds=4 * 12.5, cost=3 * 0.0625)
    store.accept(accepted(held(5)))  # counts on the day it is released
    assert store.accepted_since(LATER) == Totals(audio_seconds=12.5, cost=0.0625)


# ---------------------------------------------------------------------------------------------------- leases


def test_a_claim_starts_an_attempt(store: Store, known: Recording) -> None:
    lease = claim(store, known)
    assert (lease.holder, lease.until) == ("a", LATER)
    assert [(a.number, a.holder, a.started_at, a.ended_at) for a in lease.attempts] == [(1, "a", NOW, None)]
    assert store.lease(known.id, Stage.STT, 1) == lease


def test_one_of_many_concurrent_claims_succeeds(store: Store, known: Recording) -> None:
    results = in_parallel(lambda number: claim(store, known, f"holder {number}"))
    winners = [result for result in results if isinstance(result, Lease)]
    assert len(winners) == 1
    assert store.lease(known.id, Stage.STT, 1) == winners[0]


def test_one_of_many_concurrent_claims_of_an_expired_lease_succeeds(store: Store, known: Recording) -> None:
    claim(store, known, minutes=1)
    results = in_parallel(lambda number: claim(store, known, f"holder {number}", minute=2))
    winners = [result for result in results if isinstance(result, Lease)]
    assert len(winners) == 1
    assert store.lease(known.id, Stage.STT, 1) == winners[0]


def test_a_lease_that_runs_cannot_be_claimed(store: Store, known: Recording) -> None:
    lease = claim(store, known)
    with pytest.raises(Busy):
        claim(store, known, "b", minute=9.99)
    assert store.lease(known.id, Stage.STT, 1) == lease


def test_leases_of_other_stages_and_revisions_are_separate(store: Store, known: Recording) -> None:
    claim(store, known)
    store.claim(known.id, Stage.SER, 1, holder="b", now=NOW, until=LATER)
    store.claim(known.id, Stage.STT, 2, holder="b", now=NOW, until=LATER)
    assert store.lease(known.id, Stage.SER, 2) is None


def test_an_expired_lease_can_be_claimed_and_its_attempt_ends_as_expired(store: Store, known: Recording) -> None:
    claim(store, known, "a")
    second = claim(store, known, "b", minute=10)
    assert [(a.number, a.holder, a.outcome) for a in second.attempts] == [(1, "a", "expired"), (2, "b", None)]


def test_a_lease_that_is_extended_runs_longer(store: Store, known: Recording) -> None:
    until = LATER + timedelta(minutes=5)
    lease = store.extend(claim(store, known), until)
    assert lease.until == until
    with pytest.raises(Busy):
        claim(store, known, "b", minute=12)


def test_a_lease_that_was_lost_cannot_be_extended_or_released(store: Store, known: Recording) -> None:
    lost = claim(store, known, "a")
    mine = claim(store, known, "b", minute=11)
    with pytest.raises(Busy):
        store.extend(lost, LATER + timedelta(hours=1))
    store.release(lost, now=LATER, outcome="done")
    assert store.lease(known.id, Stage.STT, 1) == mine


def test_a_released_lease_is_free_and_remembers_the_attempt(store: Store, known: Recording) -> None:
    store.release(claim(store, known), now=LATER, outcome="failed", error="MemoryError")
    free = store.lease(known.id, Stage.STT, 1)
    assert free is not None
    assert (free.holder, free.until) == (None, None)
    assert [(a.ended_at, a.outcome, a.error) for a in free.attempts] == [(LATER, "failed", "MemoryError")]
    assert [a.number for a in claim(store, known, "b", minute=1).attempts] == [1, 2]


def test_a_released_lease_cannot_be_extended(store: Store, known: Recording) -> None:
    lease = claim(store, known)
    store.release(lease, now=LATER, outcome="done")
    with pytest.raises(Busy):
        store.extend(lease, LATER)


# -------------------------------------------------------------------------------------------------- partials


@pytest.mark.parametrize("stage", list(Stage))
def test_a_partial_is_read_as_it_was_created(store: Store, known: Recording, stage: Stage) -> None:
    made = partial(known, stage)
    assert store.create_partial(made)
    assert store.partials(known.id) == [made]


def test_the_first_partial_wins(store: Store, known: Recording) -> None:
    first = partial(known, attempt=1)
    assert store.create_partial(first)
    assert not store.create_partial(partial(known, attempt=2))
    assert store.partials(known.id) == [first]


def test_one_of_many_concurrent_partials_is_created(store: Store, known: Recording) -> None:
    results = in_parallel(lambda number: store.create_partial(partial(known, attempt=number + 1)))
    assert results.count(True) == 1
    assert [p.attempt for p in store.partials(known.id)] == [results.index(True) + 1]


def test_partials_of_every_revision_are_kept(store: Store, known: Recording) -> None:
    made = [partial(known, stage, revision) for stage in (Stage.SER, Stage.STT) for revision in (1, 2)]
    for one in reversed(made):
        assert store.create_partial(one)
    assert store.partials(known.id) == made


# --------------------------------------------------------------------------------------------------- changes


def changed(store: Store, after: str) -> tuple[list[str], str]:
    page = store.changes(after)
    return [one.id for one in page.recordings], page.cursor


def test_changes_lists_all_recordings_at_first_and_then_those_that_changed(store: Store) -> None:
    one, other, third = (recording(n, queued_at=NOW - timedelta(days=n)) for n in (1, 2, 3))
    for each in (one, other, third):
        store.create_recording(each)
    first, cursor = changed(store, "")
    assert first == [one.id, other.id, third.id]
    assert changed(store, cursor) == ([], cursor)
    store.finish(finished(other))
    page = store.changes(cursor)
    assert page.recordings == [finished(other).model_copy(update={"result": None})]
    assert changed(store, page.cursor) == ([], page.cursor)


def test_every_write_of_a_recording_except_progress_is_a_change(store: Store, known: Recording) -> None:
    writes: list[Callable[[], object]] = [
        lambda: store.begin(known.id, Stage.STT, attempt=1, at=NOW),
        lambda: store.requeued(known.id, Stage.SER, at=NOW, known=Requeued()),
        lambda: store.finish(finished(known)),
        lambda: store.mark_announced(known.id, 1, LATER),
        lambda: store.revise(next_revision(read(store, known))),
        lambda: store.erase(tombstone(read(store, known), None, LATER)),
    ]
    _, cursor = changed(store, "")
    for number, write in enumerate(writes):
        write()
        found, cursor = changed(store, cursor)
        assert found == [known.id], number


def test_releasing_a_held_recording_is_a_change(store: Store) -> None:
    store.create_recording(held())
    _, cursor = changed(store, "")
    assert store.accept(accepted(held()))
    assert changed(store, cursor)[0] == [held().id]


def test_changes_come_a_page_at_a_time(store: Store) -> None:
    made = [recording(n) for n in range(7)]
    for each in made:
        store.create_recording(each)
    seen, cursor = [], ""
    while page := store.changes(cursor, limit=3):
        seen += [one.id for one in page.recordings]
        cursor = page.cursor
        if len(page.recordings) < 3:
            break
    assert seen == [one.id for one in made]
