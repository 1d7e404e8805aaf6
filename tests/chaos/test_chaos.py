"""A short chaos run (`make chaos` is the long one), and tests that the books notice what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from speechpipe.contract import Status
from speechpipe.emulators import EmulatorsMissing
from tests.chaos import books, cloud, embedded, left
from tests.chaos.books import Baseline, Check, Inventory, balance
from tests.chaos.plan import Plan

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

LIMIT_SECONDS = 900.0  #: for a run to settle, on a busy machine

Books = tuple[Inventory, Baseline]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Books:
    """An undisturbed run, and itself as the baseline to compare it with."""
    inventory = embedded.Run(Plan(0, 40), tmp_path_factory.mktemp("quiet") / "run", calm=True).work(LIMIT_SECONDS)
    return inventory, Baseline(inventory)


def broken(checks: list[Check]) -> list[str]:
    return [f"{check.promise}: {problem}" for check in checks for problem in check.broken]


def test_an_undisturbed_run_balances(calm: Books) -> None:
    assert broken(balance(*calm)) == []


def test_killed_disturbed_and_out_of_disk_nothing_is_lost_and_nothing_done_twice(calm: Books, tmp_path: Path) -> None:
    root = tmp_path / "run"
    plan = Plan(6, 40)  # a seed whose clocks pass the deadline
    with embedded.file_system(root, plan.count):
        run = embedded.Run(plan, root, calm=False)
        inventory = run.work(LIMIT_SECONDS)
    assert broken(balance(inventory, calm[1], past_deadline=plan.past_deadline)) == []
    assert sum(count for what, count in run.counts.items() if "failed" in what) > 10


@pytest.mark.emulators
def test_every_process_of_the_emulators_killed_or_stopped_nothing_is_lost(calm: Books, tmp_path: Path) -> None:
    run = cloud.Run(Plan(5, 12), tmp_path)
    try:
        inventory = run.work(LIMIT_SECONDS)
    except EmulatorsMissing as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))
    assert broken(balance(inventory, calm[1])) == []


# ------------------------------------------------------------------------------------- the books notice errors


def _lose_an_upload(inventory: Inventory) -> Inventory:
    return replace(inventory, recordings=dict(list(inventory.recordings.items())[1:]))


def _lose_an_event(inventory: Inventory) -> Inventory:
    return replace(inventory, events=inventory.events[1:])


def _announce_twice_differently(inventory: Inventory) -> Inventory:
    event = inventory.events[0]
    other = event.model_copy(update={"data": event.data.model_copy(update={"ref": "another"})})
    return replace(inventory, events=[*inventory.events, other])


def _end_in_two_ways(inventory: Inventory) -> Inventory:
    event = next(event for event in inventory.events if event.data.status is Status.COMPLETED)
    data = event.data.model_copy(update={"status": Status.PARTIAL})
    id = f"{data.recording_id}.r1.partial"
    return replace(inventory, events=[*inventory.events, event.model_copy(update={"id": id, "data": data})])


def _overwrite_a_partial(inventory: Inventory) -> Inventory:
    key, partial = next(iter(inventory.partials.items()))
    return replace(inventory, partials=inventory.partials | {key: partial.model_copy(update={"attempt": 77})})


def _change_an_analysis(inventory: Inventory) -> Inventory:
    key, analysis = next(iter(inventory.analyses.items()))
    return replace(inventory, analyses=inventory.analyses | {key: analysis.model_copy(update={"compute_seconds": 7.0})})


def _change_a_record(inventory: Inventory) -> Inventory:
    key, record = next(iter(inventory.records.items()))
    return replace(inventory, records=inventory.records | {key: record.model_copy(update={"text": "something else"})})


def _leave_a_file(inventory: Inventory) -> Inventory:
    return replace(inventory, litter=["scratch/speechpipe-1 was left"])


def _leave_work(inventory: Inventory) -> Inventory:
    return replace(inventory, unfinished=1)


@pytest.mark.parametrize(
    "wrong",
    [
        _lose_an_upload,
        _lose_an_event,
        _announce_twice_differently,
        _end_in_two_ways,
        _overwrite_a_partial,
        _change_an_analysis,
        _change_a_record,
        _leave_a_file,
        _leave_work,
    ],
)
def test_books_that_are_wrong_do_not_balance(calm: Books, wrong: Callable[[Inventory], Inventory]) -> None:
    inventory, baseline = calm
    assert broken(balance(wrong(inventory), baseline))


def test_a_process_that_outlives_a_run_is_found(tmp_path: Path) -> None:
    with left.marked(tmp_path / "tmp") as mark:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        while not (found := left.processes(mark)):  # its environment may not be readable yet
            assert child.poll() is None
        assert len(found) == 1
        child.communicate(b"\n")
        assert left.processes(mark) == []


def test_the_table_says_what_is_wrong(calm: Books, capsys: pytest.CaptureFixture[str]) -> None:
    inventory, baseline = calm
    assert books.show(balance(inventory, baseline), {"seconds": 1}, "a run")
    assert not books.show(balance(_lose_an_event(inventory), baseline), {"seconds": 1}, "a run")
    printed = capsys.readouterr().out
    assert "the books balance" in printed
    assert "THE BOOKS DO NOT BALANCE" in printed
