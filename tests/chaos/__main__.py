"""Break the system on purpose, then check that its books balance.

    python -m tests.chaos embedded  [--recordings 5000] [--seed N ...] [--minutes M]
    python -m tests.chaos emulators [--recordings 300]  [--seed N ...] [--minutes M]
    python -m tests.chaos kinds     kill each kind of process while 50 recordings go through the emulators
    python -m tests.chaos run       kill `speechpipe run` ten times: [--seed N]

The seed is printed first. The same seed plans the same faults, as far as threads and processes allow. The exit status
is 1 if the books do not balance.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.chaos import books, embedded
from tests.chaos.plan import Plan

RECORDINGS = {"embedded": 5000, "emulators": 300}


def baseline_run(folder: Path, recordings: int, seconds: float) -> books.Baseline:
    """Process the same files undisturbed, to compare the disturbed runs with."""
    with embedded.file_system(folder / "quiet", recordings):
        run = embedded.Run(Plan(0, recordings), folder / "quiet", calm=True)
        inventory = run.work(seconds)
    print(f"undisturbed run: {run.seconds:.0f} s", flush=True)
    return books.Baseline(inventory)


def run_embedded(seed: int, recordings: int, baseline: books.Baseline, folder: Path, seconds: float) -> bool:
    """Run disturbed on a folder. Returns whether the books balance."""
    plan = Plan(seed, recordings)
    root = folder / f"embedded-{seed}"
    with embedded.file_system(root, recordings):
        run = embedded.Run(plan, root, calm=False)
        inventory = run.work(seconds)
    counts = {"seconds": round(run.seconds), **run.counts}
    checks = books.balance(inventory, baseline, past_deadline=plan.past_deadline)
    return books.show(checks, counts, f"embedded, seed {seed}, {recordings} recordings")


def run_emulators(seed: int, recordings: int, baseline: books.Baseline, folder: Path, seconds: float) -> bool:
    """Run disturbed on the emulators. Returns whether the books balance."""
    from tests.chaos import cloud

    run = cloud.Run(Plan(seed, recordings), folder / f"emulators-{seed}")
    inventory = run.work(seconds)
    counts = {"seconds": round(run.seconds), **run.counts}
    return books.show(books.balance(inventory, baseline), counts, f"emulators, seed {seed}, {recordings} recordings")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("where", choices=[*RECORDINGS, "kinds", "run"])
    parser.add_argument("--recordings", type=int)
    parser.add_argument("--seed", type=int, nargs="+")
    parser.add_argument("--minutes", type=float, default=30.0, help="fail a run that has not settled by then")
    given = parser.parse_args(arguments)
    seeds = given.seed or [random.SystemRandom().randrange(1 << 30)]
    print(f"seed {' '.join(map(str, seeds))}", flush=True)
    logging.disable(logging.WARNING)  # the local cloud logs a warning for every service that does not respond
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        return 0 if _do(given.where, seeds, given.recordings, given.minutes * 60, Path(temporary)) else 1


def _do(where: str, seeds: Sequence[int], recordings: int | None, seconds: float, folder: Path) -> bool:
    if where == "kinds":
        from tests.chaos import kinds

        return kinds.run(folder / "kinds")
    if where == "run":
        from tests.chaos import runs

        return all([runs.run(folder / f"run-{seed}", seed) for seed in seeds])
    count = recordings or RECORDINGS[where]
    disturbed = run_embedded if where == "embedded" else run_emulators
    baseline = baseline_run(folder, count, seconds)
    return all([disturbed(seed, count, baseline, folder, seconds) for seed in seeds])


if __name__ == "__main__":
    sys.exit(main())
