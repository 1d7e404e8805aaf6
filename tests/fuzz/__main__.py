"""Mutation fuzz of everything that reads: the decoder and every parser.

    python -m tests.fuzz [--seconds 60 | --inputs 1000] [--seed N] [--targets decoder task-push ...]
    python -m tests.fuzz --replay build/fuzz/decoder-7-1234.input ...

Inputs are broken versions of good ones (`mutation`), made from the seed alone, which is printed. The time is shared:
half for the decoder, half for the others together; or so many inputs for each target. A finding is an input that ends
as no reader may: it is written to a file, with what happened beside it, and `--replay` tries it again. The exit status
is 1 if there is one. A fuzzer guided by coverage (atheris) would see our few lines of Python and neither FFmpeg nor
pydantic's core, which are compiled without it.
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
MOST_SECONDS = 2.0  #: for a parser with one input


class Fuzz:
    """Runs targets and counts; made with the seed and where findings go."""

    def __init__(self, seed: int, findings: Path) -> None:
        self.seed, self.folder = seed, findings
        self.outcomes: dict[str, Counter[str]] = {}
        self.seconds: Counter[str] = Counter()
        self.slowest: Counter[str] = Counter()
        self.peak_mb = 0.0
        self.findings: list[Path] = []

    def content(self, name: str, index: int) -> bytes:
        """The input of that number."""
        chance = random.Random(f"{name} {self.seed} {index}")
        return decoder.make(chance) if name == DECODER else targets()[name].make(chance)

    def run(self, name: str, *, inputs: int | None, seconds: float) -> None:
        """Feed a target until it has had so many inputs, or so many seconds."""
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
        """What was tried, as Markdown."""
        lines = ["| target | inputs | seconds | slowest, s | how they ended |", "|---|---|---|---|---|"]
        for name, counts in self.outcomes.items():
            ended = ", ".join(f"{how} {count}" for how, count in counts.most_common())
            lines.append(
                f"| {name} | {counts.total()} | {self.seconds[name]:.0f} | {self.slowest[name]:.3f} | {ended} |"
            )
        total = sum(counts.total() for counts in self.outcomes.values())
        return "\n".join(
            [*lines, "", f"seed {self.seed}: {total} inputs, {len(self.findings)} findings; "
             f"a decoder had {self.peak_mb:.0f} MB at most"]
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
    """Try findings again, by their files' names; the number that still are."""
    still = 0
    for path in paths:
        name = path.name.rsplit("-", 2)[0]
        made = [(0, path.read_bytes())]
        for outcome in decoder.run_batch(made) if name == DECODER else _parsed(targets()[name], made):
            still += outcome.how == "finding"
            print(f"{path.name}: {outcome.how}\n{outcome.detail}")
    return still


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz what the command line asks for; 1 if something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--inputs", type=int, help="so many for each target, however long that takes")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--targets", nargs="+", choices=[DECODER, *targets()], default=[DECODER, *targets()])
    parser.add_argument("--findings", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--output", type=Path, help="add a line of JSON with the counts to this file")
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
