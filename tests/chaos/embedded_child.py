"""A real Runner on a folder, with faults: the process that the embedded chaos kills and restarts.

    python -m tests.chaos.embedded_child FOLDER COUNTERS --seed S --incarnation N [--calm] [--past-deadline]

Exits with 0 once the folder has settled and the file `FOLDER/.speechpipe/enough` exists, and with 3 when one of the
Runner's threads dies.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import sqlite3
import threading
import time
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from speechpipe.backends.local import STATE_FOLDER, bus, store
from speechpipe.backends.local.bus import LocalBus
from speechpipe.contract import Stage
from speechpipe.embedded import consumer, runner
from speechpipe.settings import Limits
from tests.chaos import faults
from tests.chaos.books import LEASE_SECONDS
from tests.chaos.counters import Counters
from tests.chaos.engine import HashEngine, length_of
from tests.chaos.faults import Faults, FaultyPort, JumpingClock
from tests.chaos.plan import PART_SECONDS
from tests.doubles import ready

ENOUGH = "enough"
THREAD_DIED = 3
LATEST_SECONDS = 2.0  #: the longest delay of a repeated message
#: As in production, but faster; and more attempts, because faults alone must not use them up.
FASTER = {
    "SCAN_SECONDS": 2.0,
    "SETTLE_SECONDS": 1.0,
    "SWEEP_SECONDS": 5.0,
    "MAX_BACKOFF_SECONDS": 0.5,
    "LEASE_SECONDS": LEASE_SECONDS,
    "UNUSABLE_SECONDS": 0.05,
}
MAX_ATTEMPTS = 15
LIMITS = Limits(part_seconds=PART_SECONDS, parts_in_flight=3)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("counters", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--incarnation", type=int, default=0)
    parser.add_argument("--calm", action="store_true")
    parser.add_argument("--past-deadline", action="store_true")
    given = parser.parse_args()
    logging.disable(logging.ERROR)  # thousands of tracebacks of injected faults
    threading.excepthook = _die
    for name, value in FASTER.items():
        setattr(runner if hasattr(runner, name) else consumer, name, value)
    consumer.MAX_ATTEMPTS = MAX_ATTEMPTS
    engines = {stage: HashEngine(stage, Counters(given.counters / "runs")) for stage in Stage}
    cast(Any, consumer).length_of = length_of
    work = runner.Runner(given.folder, ready(engines), LIMITS, traces="off")
    if not given.calm:
        _disturb(work, f"{given.seed} {given.incarnation}", Counters(given.counters / "faults"), given.past_deadline)
    with work:
        while not (work.idle() and (given.folder / STATE_FOLDER / ENOUGH).exists()):
            time.sleep(0.2)


def _die(problem: threading.ExceptHookArgs) -> None:
    """Exit when a thread dies; otherwise the next kill and restart would hide it."""
    traceback.print_exception(problem.exc_type, problem.exc_value, problem.exc_traceback)
    os._exit(THREAD_DIED)


def _disturb(work: runner.Runner, seed: str, counters: Counters, past_deadline: bool) -> None:
    chaos = Faults(seed, counters)
    deadline = timedelta(seconds=LIMITS.deadline_seconds) if past_deadline else None
    clock = JumpingClock(random.Random(f"{seed} clock"), counters, deadline)
    cast(Any, runner).utc_now = clock
    work._backend = faults.inject(work._backend, chaos)
    work.bus = cast(LocalBus, FaultyPort(work.bus, "bus", chaos))

    def enqueue(connection: sqlite3.Connection, topic: str, body: str) -> None:
        """Enqueue every event one to three times, each immediately or later: in any order."""
        for _ in range(chaos.copies()):
            late = chaos.rng.choice((0.0, chaos.rng.uniform(0, LATEST_SECONDS)))
            connection.execute(
                "INSERT INTO messages (topic, body, visible_at) VALUES (?, ?, ?)", (topic, body, time.time() + late)
            )

    for module in (runner, bus, store):
        cast(Any, module).enqueue = enqueue


if __name__ == "__main__":
    main()
