"""Kills `speechpipe run`, the real command with the toy models, with -9 at random moments and restarts it.

The results are compared with those of an undisturbed run: texts and labels exactly, times and scores to a thousandth,
because threads change the order in which floats are summed. Only the process itself is killed, not its group; its
children have to notice.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from speechpipe import Client
from speechpipe.contract import Partial, Record, Stage
from tests.chaos import left
from tests.chaos.embedded import litter_in
from tests.media import comparable, lay_out, samples

MOMENTS = 10
COPIES = 4  #: of each bundled sample, so that there is still work left at the tenth kill
TOLERANCE = 1.01e-3
ORPHAN_SECONDS = 10.0  #: how soon a killed process's children must be gone
Key = tuple[str, Stage]


@dataclass
class Findings:
    """Everything that was observed."""

    kills: list[float] = field(default_factory=list)  #: seconds after each start
    stored: dict[Key, Partial] = field(default_factory=dict)
    attempts_after: int = 0
    problems: list[str] = field(default_factory=list)


def run(root: Path, seed: int) -> bool:
    """Make both runs. Returns whether their results agree."""
    root.mkdir(parents=True, exist_ok=True)
    calm, killed, found = root / "calm" / "recordings", root / "killed" / "recordings", Findings()
    for folder in (calm, killed):
        folder.parent.mkdir()
        _lay_out(folder)
    with left.marked(root / "tmp") as mark:
        began = time.monotonic()
        _finish(calm)
        undisturbed = time.monotonic() - began
        rng = random.Random(seed)
        for _ in range(MOMENTS):
            _kill_at(killed, rng.uniform(1.0, max(4.0, 0.6 * undisturbed)), found, mark)
        _finish(killed)
        _look(killed, found)
        _compare(_records(killed), _records(calm), found)
        found.problems += left.processes(mark) + left.litter(root / "tmp") + litter_in(killed)
    return _show(found, undisturbed, seed)


def _lay_out(folder: Path) -> None:
    lay_out(samples(), folder)
    for path in sorted(folder.iterdir()):
        for copy in range(1, COPIES):
            (folder / f"{copy}-{path.name}").write_bytes(path.read_bytes())


def _command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "speechpipe.cli", "run", str(folder), "--models", "toy"]


def _finish(folder: Path) -> None:
    subprocess.run(_command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, timeout=580)


def _kill_at(folder: Path, seconds: float, found: Findings, mark: str) -> None:
    process = subprocess.Popen(
        _command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        found.kills.append(seconds)
    process.kill()
    process.wait()
    patience = time.monotonic() + ORPHAN_SECONDS
    while (alive := left.processes(mark)) and time.monotonic() < patience:
        time.sleep(0.1)
    found.problems += alive
    _look(folder, found)


def _look(folder: Path, found: Findings) -> None:
    """Check that no partial has changed, and that no stage was attempted again after its partial was stored."""
    store = Client(folder).backend.store
    for recording in store.recordings(limit=10_000):
        for partial in store.partials(recording.id):
            key = (recording.id, partial.stage)
            if found.stored.setdefault(key, partial) != partial:
                found.problems.append(f"{key} has changed")
            lease = store.lease(recording.id, partial.stage, 1)
            after = [each for each in lease.attempts if each.number > partial.attempt] if lease else []
            if after:
                found.attempts_after += len(after)
                found.problems.append(f"{key} was attempted again after its partial was stored")


def _records(folder: Path) -> dict[str, Record]:
    client = Client(folder)
    return {each.source.name: client.record(each.id) for each in client.recordings(limit=10_000)}


def _compare(killed: dict[str, Record], calm: dict[str, Record], found: Findings) -> None:
    found.problems += [f"{name} is only in one of the runs" for name in killed.keys() ^ calm.keys()]
    for name in killed.keys() & calm.keys():
        if not close(comparable(killed[name]), comparable(calm[name])):
            found.problems.append(f"{name} differs")


def close(one: Any, other: Any) -> bool:
    """Whether two comparable records are equal, with numbers compared to a thousandth."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) < TOLERANCE
    return bool(one == other)


def _show(found: Findings, undisturbed: float, seed: int) -> bool:
    table = Table(title=f"speechpipe run, killed, seed {seed}", title_justify="left", show_header=False)
    table.add_row("undisturbed", f"{undisturbed:.1f} s")
    table.add_row("killed with -9 after", ", ".join(f"{seconds:.1f}" for seconds in found.kills) + " s")
    table.add_row("partials", str(len(found.stored)))
    table.add_row("attempts after the partial was stored", str(found.attempts_after))
    table.add_row("problems", str(len(found.problems)))
    console = Console(width=100)
    console.print(table)
    for problem in found.problems[:10]:
        console.print(f"  {problem}", markup=False)
    return not found.problems and len(found.kills) == MOMENTS
