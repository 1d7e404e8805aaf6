"""Mutation fuzzing of everything that reads input: the decoder and every parser.

    python -m tests.fuzz [--seconds 60 | --inputs 1000] [--seed N] [--targets decoder task-push ...]
    python -m tests.fuzz --replay build/fuzz/decoder-7-1234.input ...

Inputs are broken versions of valid ones (`mutation`) and depend only on the seed, which is printed. The decoder gets
half of the time and all other targets share the other half; with `--inputs`, each target gets that many inputs. A
finding is an input that crashes its reader or breaks a promise. It is written to a file, next to a description of what
happened, and `--replay` runs it again. The exit status is 1 if there are findings. A coverage-guided fuzzer (atheris)
would see only our few lines of Python, because FFmpeg and pydantic's core are not compiled for it.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.fuzz import decoder
from tests.fuzz.decoder import Outcome
from tests.fuzz.targets import Target, targets

DECODER = "decoder"
BATCH = 50
MOST_SECONDS = 2.0  #: of processor time, for a parser with one input


class Fuzz:
    """Runs targets and counts the outcomes; writes findings to a folder."""

    def __init__(self, seed: int, findings: Path) -> None:
        self.seed, self.folder = seed, findings
        self.outcomes: dict[str, Counter[str]] = {}
        self.seconds: Counter[str] = Counter()
        self.slowest: Counter[str] = Counter()
        self.peak_mb = 0.0
        self.findings: list[Path] = []

    def content(self, name: str, index: int) -> bytes:
        """The input with this number."""
        rng = random.Random(f"{name} {self.seed} {index}")
        return decoder.make(rng) if name == DECODER else targets()[name].make(rng)

    def run(self, name: str, *, inputs: int | None, seconds: float) -> None:
        """Run a target on `inputs` inputs or, if that is None, for `seconds` seconds."""
        counts = self.outcomes.setdefault(name, Counter())
        began, index = time.monotonic(), 0
        while index < inputs if inputs is not None else time.monotonic() < began + seconds:
            batch = range(index, index + BATCH if inputs is None else min(index + BATCH, inputs))
            index = batch.stop
            made = [(number, self.content(name, number)) for number in batch]
            for outcome in decoder.run_batch(made) if name == DECODER else _parsed(targets()[name], made):
                counts[outcome.how] += 1
                self.slowest[name] = max(self.slowest[name], outcome.seconds)  # type: ignore[assignment]
                self.peak_mb = max(self.peak_mb, outcome.peak_mb)
                if outcome.how == "finding":
                    self._keep(name, outcome)
        self.seconds[name] += time.monotonic() - began  # type: ignore[assignment]

    def _keep(self, name: str, outcome: Outcome) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}-{self.seed}-{outcome.index}.input"
        path.write_bytes(self.content(name, outcome.index))
        path.with_suffix(".txt").write_text(outcome.detail)
        self.findings.append(path)
        print(f"{path}: {outcome.detail.strip().splitlines()[-1]}", flush=True)

    def report(self) -> str:
        """The counts and times, as Markdown."""
        lines = ["| target | inputs | seconds | slowest, s | outcomes |", "|---|---|---|---|---|"]
        for name, counts in self.outcomes.items():
            ended = ", ".join(f"{how} {count}" for how, count in counts.most_common())
            lines.append(
                f"| {name} | {counts.total()} | {self.seconds[name]:.0f} | {self.slowest[name]:.3f} | {ended} |"
            )
        total = sum(counts.total() for counts in self.outcomes.values())
        return "\n".join(
            [*lines, "", f"seed {self.seed}: {total} inputs, {len(self.findings)} findings; "
             f"the decoder used at most {self.peak_mb:.0f} MB"]
        )  # fmt: skip


def _parsed(target: Target, inputs: Sequence[tuple[int, bytes]]) -> Iterator[Outcome]:
    for index, content in inputs:
        began = time.process_time()
        try:
            how, detail = target.run(content), ""
        except Exception as error:
            how, detail = "finding", "".join(traceback.format_exception(error))
        seconds = time.process_time() - began
        if seconds > MOST_SECONDS:
            how, detail = "finding", f"{seconds:.1f} s of processor time"
        yield Outcome(index, how, detail, seconds)


def replay(paths: Sequence[Path]) -> int:
    """Run findings again; the file name says the target. Returns how many are still findings."""
    still = 0
    for path in paths:
        name = path.name.rsplit("-", 2)[0]
        made = [(0, path.read_bytes())]
        for outcome in decoder.run_batch(made) if name == DECODER else _parsed(targets()[name], made):
            still += outcome.how == "finding"
            print(f"{path.name}: {outcome.how}\n{outcome.detail}")
    return still


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz what the command line asks for. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--inputs", type=int, help="how many for each target, however long that takes")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--targets", nargs="+", choices=[DECODER, *targets()], default=[DECODER, *targets()])
    parser.add_argument("--findings", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--output", type=Path, help="append a line of JSON with the counts to this file")
    parser.add_argument("--replay", nargs="+", type=Path, metavar="FILE")
    given = parser.parse_args(arguments)
    if given.replay:
        return 1 if replay(given.replay) else 0
    print(f"seed {given.seed}", flush=True)
    fuzz = Fuzz(given.seed, given.findings)
    others = [name for name in given.targets if name != DECODER]
    for name in given.targets:
        share = 0.5 if name == DECODER else (0.5 if DECODER in given.targets else 1.0) / len(others)
        fuzz.run(name, inputs=given.inputs, seconds=given.seconds * (share if others else 1.0))
    print(fuzz.report())
    if given.output:
        line = {"seed": fuzz.seed, "outcomes": fuzz.outcomes, "peak_mb": fuzz.peak_mb, "findings": len(fuzz.findings)}
        with given.output.open("a") as file:
            file.write(json.dumps(line) + "\n")
    return 1 if fuzz.findings else 0


if __name__ == "__main__":
    sys.exit(main())
