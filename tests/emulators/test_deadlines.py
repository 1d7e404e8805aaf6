"""A join that outlasts the ten seconds of its event is called again beside itself, and still makes one record."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from speechpipe.contract import Status
from speechpipe.contract.resources import FUNCTIONS
from speechpipe.emulators import LocalCloud
from tests.emulators.conftest import CANNED_WORKER, TEST_SECONDS, User, started, using, wait_for

pytestmark = [pytest.mark.emulators, pytest.mark.timeout(TEST_SECONDS)]

#: Each partial has one event, so the third call that finds both is a repetition of one that is still running.
SLOW_JOIN = """
import threading
from pathlib import Path

from functions.join import join
from speechpipe.pipeline import join as verb

real, together = verb.join, threading.Barrier(3)


def slow(recording, revision, world):
    if len(world.store.partials(recording)) == 2 and not Path({done!r}).exists():
        together.wait()
        Path({done!r}).touch()
    real(recording, revision, world)


verb.join = slow
"""


@pytest.fixture
def done(tmp_path: Path) -> Path:
    """A file that exists once three joins have begun together."""
    return tmp_path / "three-at-once"


@pytest.fixture
def slow(tmp_path: Path, done: Path) -> Iterator[User]:
    """A user of a cloud whose join takes longer than its event's deadline."""
    functions = tmp_path / "functions"
    functions.mkdir()
    for name in FUNCTIONS:
        (functions / f"{name.value}.py").write_text(f"from functions.{name.value} import {name.value}\n")
    (functions / "join.py").write_text(SLOW_JOIN.format(done=str(done)))
    cloud = LocalCloud(
        state=tmp_path / "cloud",
        workers=lambda stage: (sys.executable, str(CANNED_WORKER)),
        functions=functions,
        sweep_seconds=3600,  # it would join as well
    )
    yield from using(started(cloud))


def test_a_join_that_outlasts_its_deadline_is_repeated_beside_itself_and_makes_one_record(
    slow: User, done: Path
) -> None:
    recording = slow.drop(b"RIFF0", "long.wav")
    final = slow.final(recording)
    assert done.exists()
    assert (final.status, final.revision) == (Status.COMPLETED, 1)
    wait_for(lambda: slow.cloud.status().events_pending == 0)  # every call has been answered with a 2xx
    assert {event.id for event in slow.events_of(recording)} == {f"{recording}.r1.completed"}
