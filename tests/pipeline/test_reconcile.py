"""Uploads whose event was lost are found and finished, and nothing is done twice."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest

from speechpipe.contract import Recording, Source, Stage, Status
from speechpipe.pipeline.backfill import Outcome
from speechpipe.pipeline.ingest import ingest
from speechpipe.pipeline.operations import erase
from speechpipe.pipeline.reconcile import LOOK_BACK, ReconcileReport, reconcile
from speechpipe.pipeline.world import World
from speechpipe.settings import Limits
from tests.doubles import source
from tests.pipeline.test_holds import wav
from tests.simulation import Crash, Simulation

DAY = timedelta(days=1)


def uploaded(
    sim: Simulation,
    *names: str,
    age: timedelta = timedelta(hours=2),
    metadata: dict[str, str] | None = None,
    size: int = 9,
) -> list[Source]:
    """Put objects of this age into the bucket, without an event."""
    at = sim.clock() - age
    made = [source(name, size=size, metadata=metadata).model_copy(update={"created_at": at}) for name in names]
    sim.uploads.listed += made
    return made


Told = dict[str, Outcome | Exception]


def run(sim: Simulation, since: timedelta = LOOK_BACK, *, dry_run: bool = False) -> tuple[ReconcileReport, Told]:
    """Reconcile once; what it reports, and what it tells about each upload without a document."""
    told: Told = {}

    def tell(found: Source, outcome: Outcome | Exception) -> None:
        told[found.name] = outcome

    return reconcile(sim.world, sim.clock() - since, tell=tell, dry_run=dry_run), told


@pytest.mark.slow
def test_of_a_thousand_uploads_the_twenty_whose_event_was_lost_are_found_and_finished() -> None:
    sim = Simulation()
    made = uploaded(sim, *(f"{number:04}.wav" for number in range(1000)))
    lost = {each.name for each in made[7::50]}
    for each in made:
        if each.name not in lost:
            sim.arrive(each)
    sim.settle()
    report, told = run(sim)
    assert report == ReconcileReport(listed=1000, looked_up=1000, missed=20, new=20)
    assert set(told) == lost
    sim.settle()
    recordings = sim.store.recordings(limit=2000)
    assert Counter(each.status for each in recordings) == {Status.COMPLETED: 1000}
    assert {each.id for each in recordings} == {each.recording_id for each in made}
    assert {stage: engine.runs for stage, engine in sim.engines.items()} == dict.fromkeys(Stage, 1000)
    assert Counter(event.id for event in sim.completions()) == {f"{each.recording_id}.r1.completed": 1 for each in made}
    assert run(sim)[0] == ReconcileReport(listed=1000, looked_up=1000)


def test_an_event_that_comes_after_all_changes_nothing() -> None:
    sim = Simulation()
    (late,) = uploaded(sim, "late.wav")
    assert run(sim)[0].new == 1
    sim.settle()
    sim.arrive(late)
    sim.settle()
    assert [event.id for event in sim.completions()] == [f"{late.recording_id}.r1.completed"]
    assert [engine.runs for engine in sim.engines.values()] == [1, 1]


def test_only_the_uploads_of_the_last_days_are_looked_up_and_none_whose_event_may_still_come() -> None:
    sim = Simulation()
    uploaded(sim, "old.wav", age=LOOK_BACK + timedelta(minutes=1))
    uploaded(sim, "young.wav", age=timedelta(minutes=59))
    uploaded(sim, "lost.wav", age=timedelta(minutes=61))
    report, told = run(sim)
    assert report == ReconcileReport(listed=3, too_young=1, looked_up=1, missed=1, new=1)
    assert told == {"lost.wav": Outcome.NEW}
    assert run(sim, since=30 * DAY)[1] == {"old.wav": Outcome.NEW}


def test_objects_that_are_no_recordings_are_left_alone() -> None:
    sim = Simulation(limits=Limits(prefix="calls/"))
    uploaded(sim, "calls/", "calls/folder/", "elsewhere.wav", "calls/a.wav")
    report, told = run(sim)
    assert told == {"calls/a.wav": Outcome.NEW}
    assert (report.listed, report.looked_up) == (3, 1)


def test_a_lost_upload_that_can_never_work_is_rejected_and_one_over_a_cap_is_held() -> None:
    sim = Simulation(limits=Limits(max_duration=30))
    sim.uploads.bodies["long.wav"] = wav(60)
    uploaded(sim, "bad.wav", metadata={"channels": "both"})
    uploaded(sim, "long.wav", size=44 + 60 * 32_000)
    report, told = run(sim)
    assert told == {"bad.wav": Outcome.REJECTED, "long.wav": Outcome.HELD}
    assert (report.missed, report.rejected, report.held) == (2, 1, 1)
    sim.settle()
    statuses = {each.source.name: each.status for each in sim.store.recordings()}
    assert statuses == {"bad.wav": Status.REJECTED, "long.wav": Status.HELD}


def test_an_erased_upload_stays_erased_while_its_file_is_kept() -> None:
    sim = Simulation()
    (kept,) = uploaded(sim, "kept.wav")
    sim.arrive(kept)
    sim.settle()
    erase(kept.recording_id, sim.world, upload=False)
    assert run(sim)[0].missed == 0
    assert sim.only().status is Status.ERASED


def test_an_upload_whose_document_has_expired_is_not_a_lost_one() -> None:
    sim = Simulation(limits=Limits(retention_days=2))
    uploaded(sim, "expired.wav", age=2 * DAY + timedelta(minutes=1))
    uploaded(sim, "lost.wav", age=2 * DAY - timedelta(minutes=1))
    assert run(sim, since=30 * DAY)[1] == {"lost.wav": Outcome.NEW}


def test_a_dry_run_tells_the_same_and_changes_nothing() -> None:
    sim = Simulation()
    uploaded(sim, "a.wav")
    uploaded(sim, "bad.wav", metadata={"channels": "both"})
    report, told = run(sim, dry_run=True)
    assert sim.store.recordings() == []
    assert sim.pending() == []
    assert (report, told) == run(sim)


def refusing(*names: str) -> Callable[[Source, World], Recording | None]:
    def refuse(found: Source, world: World) -> Recording | None:
        if found.name in names:
            raise OSError("no way")
        return ingest(found, world)

    return refuse


def test_an_upload_that_cannot_be_ingested_is_told_and_left_for_the_next_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sim = Simulation()
    uploaded(sim, "a.wav", "b.wav", "c.wav")
    with monkeypatch.context() as patched:
        patched.setattr("speechpipe.pipeline.backfill.ingest", refusing("b.wav"))
        report, told = run(sim)
    assert (report.missed, report.new, report.failed) == (3, 2, 1)
    assert str(told["b.wav"]) == "no way"
    levels = [record.levelname for record in caplog.records if vars(record).get("action") == "not_reconciled"]
    assert levels == ["ERROR"]
    assert run(sim)[1] == {"b.wav": Outcome.NEW}


def test_once_several_in_a_row_cannot_be_ingested_it_stops_with_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = Simulation()
    names = [f"{number}.wav" for number in range(6)]
    uploaded(sim, *names)
    monkeypatch.setattr("speechpipe.pipeline.backfill.ingest", refusing(*names))
    with pytest.raises(OSError, match="no way"):
        run(sim)


def test_out_of_time_it_says_that_it_did_not_reach_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("speechpipe.pipeline.reconcile._LISTED_PAGE", 10)
    sim = Simulation()
    uploaded(sim, *(f"{number:02}.wav" for number in range(50)))
    asked = iter([False, True])
    report = reconcile(sim.world, sim.clock() - DAY, out_of_time=lambda: next(asked))
    assert report == ReconcileReport(listed=20, looked_up=20, missed=20, new=20, complete=False)
    (line,) = [vars(record) for record in caplog.records if vars(record).get("action") == "reconciled"]
    assert (line["levelname"], line["listed"], line["missed"], line["complete"]) == ("ERROR", 20, 20, False)


def test_many_uploads_are_looked_up_in_few_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = Simulation()
    uploaded(sim, *(f"{number}.wav" for number in range(1001)))
    asked: list[int] = []
    known = sim.store.known

    def counting(ids: list[str]) -> set[str]:
        asked.append(len(ids))
        return known(ids)

    monkeypatch.setattr(sim.store, "known", counting)
    assert run(sim, dry_run=True)[0].missed == 1001
    assert asked == [500, 500, 1]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("write", range(6))
def test_killed_at_any_write_and_run_again_it_finishes_both_uploads_once(write: int, when: str) -> None:
    sim = Simulation(crash_at=(write, when))
    made = uploaded(sim, "a.wav", "b.wav")
    try:
        run(sim)
    except Crash:
        run(sim)
    sim.settle()
    if sim.store.unfinished():  # killed between the document and its tasks, which sweep publishes
        sim.clock.pass_time(hours=7)
        sim.sweep()
        sim.settle()
    assert {each.status for each in sim.store.recordings()} == {Status.COMPLETED}
    assert sorted(event.id for event in sim.completions()) == sorted(f"{e.recording_id}.r1.completed" for e in made)
    assert [engine.runs for engine in sim.engines.values()] == [2, 2]
