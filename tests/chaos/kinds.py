"""Kills each kind of process once, with -9, while 50 recordings go through the emulators, and measures the time lost.

Every recording must complete. The engine takes half a second, and there are no other faults. Time is lost because the
local cloud looks only every two seconds for processes to restart, and because a killed worker's recording waits for its
lease to expire (30 s, as in production).
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from speechpipe.contract import Stage, Status
from speechpipe.contract.resources import WORKERS, Service
from tests.chaos import cloud
from tests.chaos.cloud import Cloud

RECORDINGS = 50
KILLED_AFTER = 15  #: announced recordings
LEASE_SECONDS = 30  #: as in production
LIMIT_SECONDS = 300.0


@dataclass(frozen=True)
class Outcome:
    """One run."""

    killed: str
    seconds: float
    completed: int
    attempts: int  #: of both stages, beyond the first of each


def run(root: Path) -> bool:
    """All runs, one after the other on one cloud. Returns whether every recording completed."""
    outcomes = []
    with cloud.running(root, lease_seconds=LEASE_SECONDS) as local:
        _killing(local, 0, None)  # the first run is slower: clients are created, code is loaded
        for number, kind in enumerate((None, *Service, None), start=1):
            outcomes.append(_killing(local, number, kind))
    baseline = [outcome.seconds for outcome in outcomes if outcome.killed == "nothing"]
    undisturbed = sum(baseline) / len(baseline)
    table = Table(title=f"{RECORDINGS} recordings on the emulators", title_justify="left")
    for column in ("killed with -9", "completed", "extra attempts", "seconds", "lost"):
        table.add_column(column)
    for each in outcomes:
        lost = "" if each.killed == "nothing" else f"{each.seconds - undisturbed:.1f} s"
        row = (each.killed, f"{each.completed} of {RECORDINGS}", str(each.attempts), f"{each.seconds:.1f}", lost)
        table.add_row(*row)
    Console(width=100).print(table)
    return all(outcome.completed == RECORDINGS for outcome in outcomes)


def _killing(local: Cloud, number: int, kind: Service | None) -> Outcome:
    """A run of new recordings in which one kind of process is killed."""
    began = time.monotonic()
    ids = [local.upload(f"{number}-{each}.wav", f"slow {number * 1000 + each}\n".encode(), {}) for each in range(10)]
    pending = kind
    while True:
        done = {event.data.recording_id for event in local.events} & set(ids)
        if len(ids) < RECORDINGS:
            each = len(ids)
            ids.append(local.upload(f"{number}-{each}.wav", f"slow {number * 1000 + each}\n".encode(), {}))
        if pending and len(done) >= KILLED_AFTER:
            _kill(local, pending)
            pending = None
        if len(done) == RECORDINGS and not local.backend.store.unfinished(limit=1):
            break
        assert time.monotonic() - began < LIMIT_SECONDS, f"{kind}: {len(done)} of {RECORDINGS} after {LIMIT_SECONDS} s"
        time.sleep(0.05)
    seconds = time.monotonic() - began
    store = local.backend.store
    completed = sum(found is not None and found.status is Status.COMPLETED for found in map(store.recording, ids))
    attempts = sum(len(lease.attempts) - 1 for lease in local.leases() if lease.recording_id in ids)
    return Outcome(kind.value if kind else "nothing", seconds, completed, attempts)


def _kill(local: Cloud, kind: Service) -> None:
    """Kill a process; a worker only while it holds a lease, so that the kill costs something."""
    for stage, worker in WORKERS.items():
        while kind is worker and not _at_work(local, stage):
            time.sleep(0.02)
    local.local.send(kind.value, signal.SIGKILL)


def _at_work(local: Cloud, stage: Stage) -> bool:
    return any(lease.holder for lease in local.leases() if lease.stage is stage)
