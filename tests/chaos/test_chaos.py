"""The chaos, a minute of it; `make chaos` has the whole. And that its books are no rubber stamp."""

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
from tests.chaos.books import Line, Made, Quiet, balance
from tests.chaos.plan import Plan

pytestmark = pytest.mark.slow

Books = tuple[Made, Quiet]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Books:
    """A quiet run, and what it is to be compared with: itself."""
    made = embedded.Run(Plan(0, 40), tmp_path_factory.mktemp("quiet") / "run", calm=True).work(120)
    return made, Quiet(made)


def broken(lines: list[Line]) -> list[str]:
    return [f"{line.promise}: {problem}" for line in lines for problem in line.broken]


def test_a_quiet_run_balances(calm: Books) -> None:
    assert broken(balance(*calm)) == []


def test_killed_disturbed_and_out_of_disk_nothing_is_lost_and_nothing_done_twice(calm: Books, tmp_path: Path) -> None:
    root = tmp_path / "run"
    plan = Plan(6, 40)  # a seed whose clocks pass the deadline
    with embedded.file_system(root, plan.count):
        run = embedded.Run(plan, root, calm=False)
        made = run.work(200)
    assert broken(balance(made, calm[1], past_deadline=plan.past_deadline)) == []
    assert sum(count for what, count in run.counts.items() if "failed" in what) > 10


@pytest.mark.emulators
def test_every_process_of_the_emulators_killed_or_stopped_nothing_is_lost(calm: Books, tmp_path: Path) -> None:
    run = cloud.Run(Plan(5, 12), tmp_path, max_attempts=25)
    try:
        made = run.work(200)
    except EmulatorsMissing as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))
    assert broken(balance(made, calm[1])) == []


# ------------------------------------------------------------------------------------------- the books can fail


def _lose_an_upload(made: Made) -> Made:
    return replace(made, recordings=dict(list(made.recordings.items())[1:]))


def _lose_an_event(made: Made) -> Made:
    return replace(made, events=made.events[1:])


def _announce_twice_differently(made: Made) -> Made:
    event = made.events[0]
    other = event.model_copy(update={"data": event.data.model_copy(update={"ref": "another"})})
    return replace(made, events=[*made.events, other])


def _end_in_two_ways(made: Made) -> Made:
    event = next(event for event in made.events if event.data.status is Status.COMPLETED)
    data = event.data.model_copy(update={"status": Status.PARTIAL})
    id = f"{data.recording_id}.r1.partial"
    return replace(made, events=[*made.events, event.model_copy(update={"id": id, "data": data})])


def _overwrite_a_partial(made: Made) -> Made:
    key, partial = next(iter(made.partials.items()))
    return replace(made, partials=made.partials | {key: partial.model_copy(update={"attempt": 77})})


def _change_an_analysis(made: Made) -> Made:
    key, analysis = next(iter(made.analyses.items()))
    return replace(made, analyses=made.analyses | {key: analysis.model_copy(update={"compute_seconds": 7.0})})


def _change_a_record(made: Made) -> Made:
    key, record = next(iter(made.records.items()))
    return replace(made, records=made.records | {key: record.model_copy(update={"text": "something else"})})


def _leave_a_file(made: Made) -> Made:
    return replace(made, litter=["scratch/speechpipe-1 was left"])


def _leave_work(made: Made) -> Made:
    return replace(made, unfinished=1)


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
def test_books_that_are_wrong_do_not_balance(calm: Books, wrong: Callable[[Made], Made]) -> None:
    made, quiet = calm
    assert broken(balance(wrong(made), quiet))


def test_a_process_that_outlives_a_run_is_found(tmp_path: Path) -> None:
    with left.marked(tmp_path / "tmp") as mark:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        assert len(left.processes(mark)) == 1
        child.communicate(b"\n")
        assert left.processes(mark) == []


def test_the_table_says_what_is_wrong(calm: Books, capsys: pytest.CaptureFixture[str]) -> None:
    made, quiet = calm
    assert books.show(balance(made, quiet), {"seconds": 1}, "a run")
    assert not books.show(balance(_lose_an_event(made), quiet), {"seconds": 1}, "a run")
    printed = capsys.readouterr().out
    assert "the books balance" in printed
    assert "THE BOOKS DO NOT BALANCE" in printed
