"""Several worker processes on one folder: `speechpipe run --workers N`, with the toy models."""

from __future__ import annotations

import os
import signal
import time
import wave
from pathlib import Path

import numpy as np
import pytest

from speechpipe.backends.local import connect
from speechpipe.contract import Stage, Status
from speechpipe.contract.errors import EngineUnavailable
from speechpipe.embedded.engines import find_engines
from speechpipe.embedded.runner import Runner
from speechpipe.settings import EngineSettings, Limits
from tests.embedded.test_runner import until
from tests.media import SAMPLES
from tests.workers.audio.media import decode

pytestmark = [pytest.mark.engines, pytest.mark.slow, pytest.mark.timeout(600)]

SETTINGS = EngineSettings.model_validate({"models": "toy"})


def lay_out(folder: Path, minutes: int) -> None:
    """A recording of the bundled samples, over and over."""
    sounds = [decode(path, max_seconds=600).samples[0] for path in sorted(SAMPLES.iterdir()) if path.suffix != ".json"]
    samples = np.resize((np.concatenate(sounds) * 32767).astype(np.int16), minutes * 60 * 16_000)
    with wave.open(str(folder / "long.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(samples.tobytes())


def runner(folder: Path, **environ: str) -> Runner:
    part = {"SPEECHPIPE_PART_SECONDS": "120", "SPEECHPIPE_MODELS": "toy", "SPEECHPIPE_THREADS": "1"}
    return Runner(
        folder,
        lambda: find_engines(SETTINGS),
        Limits(part_seconds=120),
        traces="off",
        settle_seconds=0.1,
        workers=2,
        environ={**os.environ, **part, **environ},
    )


def keep_checking(work: Runner) -> None:
    while True:  # until the test's timeout
        work.check()
        time.sleep(0.1)


def test_a_killed_worker_costs_the_part_in_hand_and_nothing_else(tmp_path: Path) -> None:
    lay_out(tmp_path, minutes=10)
    with runner(tmp_path) as work:
        store = connect(tmp_path).store
        until(lambda: any(store.part_numbers(each.id, Stage.STT, 1) for each in store.recordings()))
        assert work._crew is not None
        os.kill(work._crew.processes[0], signal.SIGKILL)
        until(work.idle, seconds=300)
        assert len(work._crew.processes) == 2  # another one was started
    (listed,) = store.recordings()
    assert listed.status is Status.COMPLETED
    assert listed.plan is not None
    assert listed.plan.count == 5
    leases = [store.lease(listed.id, stage, 1, number) for stage in Stage for number in range(5)]
    outcomes = [[attempt.outcome for attempt in lease.attempts] for lease in leases if lease]
    assert len(outcomes) == 10
    assert sum(len(each) - 1 for each in outcomes) <= 2  # a worker holds a part of each stage
    assert {outcome for each in outcomes for outcome in each[:-1]} <= {"expired"}
    # None: it was killed after it had created the partial, and before it could free the lease.
    assert sorted(each[-1] or "killed" for each in outcomes)[:8] == ["done"] * 8


def test_workers_end_with_the_runner(tmp_path: Path) -> None:
    with runner(tmp_path) as work:
        assert work._crew is not None
        until(lambda: work._crew is not None and len(work._crew.processes) == 2)
        processes = work._crew.processes
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{process}").exists() for process in processes):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_engine_that_cannot_be_loaded_ends_the_run_in_words(tmp_path: Path) -> None:
    with runner(tmp_path, SPEECHPIPE_DEVICE="cuda") as work, pytest.raises(EngineUnavailable, match="no usable GPU"):
        keep_checking(work)
