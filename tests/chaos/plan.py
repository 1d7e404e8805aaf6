"""The plan of a run: which files there are, how each behaves, and which are redriven or erased. Pure.

The first word of a file says how it behaves. It depends only on the file's number, so one undisturbed run serves all
seeds.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from speechpipe.contract import Stage

#: With every third seed, clocks also jump past the deadline of everything in progress.
DEADLINE_SEEDS = 3
REDRIVEN, ERASED = 0.02, 0.02  #: shares of the uploads
#: Of a file that may be longer than a part (`pipeline.parts.may_be_longer`).
PART_SECONDS, LONG_BYTES = 120, 70_000
GENERATION = 1_700_000_000_000_000_000  #: of the first file; old, so that nobody waits for a file to stop growing


class Kind(StrEnum):
    """How a file behaves."""

    GOOD = "good"
    LARGE = "large"  #: its transcript and record are too large for documents and go to the results bucket
    LONG = "long"  #: as long as ten parts
    SLOW = "slow"  #: takes half a second
    FLAKY = "flaky"  #: fails in the first two attempts of each stage
    FAILING = "failing"  #: fails in every attempt of speech to text, until that is given up
    REJECTED = "rejected"  #: damaged for both stages
    MUTE = "mute"  #: damaged for speech to text only
    EMPTY = "empty"  #: no bytes
    WRONG = "wrong"  #: an invalid option
    UNFELT = "unfelt"  #: without emotions


_RARE = {0: Kind.FAILING, 7: Kind.EMPTY, 17: Kind.WRONG, 27: Kind.REJECTED, 37: Kind.MUTE, 47: Kind.UNFELT}
_RARE |= {5: Kind.LARGE, 57: Kind.SLOW, 67: Kind.SLOW, 9: Kind.LONG, 29: Kind.LONG}
_RARE |= dict.fromkeys((3, 13, 23, 33, 43), Kind.FLAKY)
_ODD = ("", " #1", " 100%", " a?b", "\N{HEADPHONE}", " Übung")


@dataclass(frozen=True)
class File:
    """One upload."""

    number: int

    @property
    def kind(self) -> Kind:
        """How the file behaves."""
        return _RARE.get(self.number % 100, Kind.GOOD)

    @property
    def name(self) -> str:
        """The file's name, sometimes an odd one."""
        return f"{self.number:05d}{_ODD[self.number % len(_ODD)]}.wav"

    @property
    def body(self) -> bytes:
        """The file's content."""
        body = b"" if self.kind is Kind.EMPTY else f"{self.kind.value} {self.number}\n".encode()
        return body.ljust(LONG_BYTES) if self.kind is Kind.LONG else body

    @property
    def metadata(self) -> dict[str, str]:
        """The file's options."""
        extra = {Kind.WRONG: {"language": "klingon"}, Kind.UNFELT: {"emotion": "off"}}
        return extra.get(self.kind, {})

    @property
    def generation(self) -> int:
        """The file's modification time, in nanoseconds."""
        return GENERATION + self.number * 1_000_000_000


@dataclass(frozen=True)
class Plan:
    """A run of `count` files."""

    seed: int
    count: int

    @property
    def past_deadline(self) -> bool:
        """Whether clocks jump past the deadline."""
        return self.seed % DEADLINE_SEEDS == 0

    @property
    def files(self) -> list[File]:
        """All files, in order of upload."""
        return [File(number) for number in range(self.count)]

    def rng(self, whose: str) -> random.Random:
        """A random generator for each user of the plan; `whose` names it."""
        return random.Random(f"{self.seed} {whose}")

    @cached_property
    def erased(self) -> dict[int, bool]:
        """Numbers of the files to erase, and whether to delete the upload too."""
        rng = self.rng("erased")
        return {n: rng.random() < 0.5 for n in rng.sample(range(self.count), max(1, round(self.count * ERASED)))}

    @cached_property
    def redriven(self) -> dict[int, tuple[Stage, ...]]:
        """Numbers of the files to redrive, and which stages of each."""
        rng = self.rng("redriven")
        others = [number for number in range(self.count) if number not in self.erased]
        choices = [(Stage.STT,), (Stage.SER,), (Stage.STT, Stage.SER)]
        return {n: rng.choice(choices) for n in rng.sample(others, max(1, round(self.count * REDRIVEN)))}
