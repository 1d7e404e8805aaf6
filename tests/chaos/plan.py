"""What a seed means: which files there are, what becomes of each, what is done to them. Pure.

A file says in its first word how it behaves. That follows from its number, so that one quiet run serves every seed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from speechpipe.contract import Stage

#: Every third seed has clocks that pass the deadline of everything that is under way.
DEADLINE_SEEDS = 3
REDRIVEN, ERASED = 0.02, 0.02  #: shares of the uploads
GENERATION = 1_700_000_000_000_000_000  #: of the first file; all are old, so that nobody waits for them to grow


class Kind(StrEnum):
    """How a file behaves."""

    GOOD = "good"
    LARGE = "large"  #: its transcript lies in the results bucket, and so does its record
    SLOW = "slow"  #: takes a while
    FLAKY = "flaky"  #: fails in its first two attempts of either stage
    FAILING = "failing"  #: fails in every attempt of speech to text, which is given up
    REJECTED = "rejected"  #: no recording at all
    MUTE = "mute"  #: speech to text alone finds it damaged
    EMPTY = "empty"  #: no bytes
    WRONG = "wrong"  #: an option that there is not
    UNFELT = "unfelt"  #: without emotions


_RARE = {0: Kind.FAILING, 7: Kind.EMPTY, 17: Kind.WRONG, 27: Kind.REJECTED, 37: Kind.MUTE, 47: Kind.UNFELT}
_RARE |= {5: Kind.LARGE, 57: Kind.SLOW, 67: Kind.SLOW}
_RARE |= dict.fromkeys((3, 13, 23, 33, 43), Kind.FLAKY)
_ODD = ("", " #1", " 100%", " a?b", "\N{HEADPHONE}", " Übung")


@dataclass(frozen=True)
class File:
    """One upload."""

    number: int

    @property
    def kind(self) -> Kind:
        """How it behaves."""
        return _RARE.get(self.number % 100, Kind.GOOD)

    @property
    def name(self) -> str:
        """Its name, sometimes an odd one."""
        return f"{self.number:05d}{_ODD[self.number % len(_ODD)]}.wav"

    @property
    def body(self) -> bytes:
        """Its bytes."""
        return b"" if self.kind is Kind.EMPTY else f"{self.kind.value} {self.number}\n".encode()

    @property
    def metadata(self) -> dict[str, str]:
        """Its options."""
        extra = {Kind.WRONG: {"language": "klingon"}, Kind.UNFELT: {"emotion": "off"}}
        return extra.get(self.kind, {})

    @property
    def generation(self) -> int:
        """Its time of modification, nanoseconds."""
        return GENERATION + self.number * 1_000_000_000


@dataclass(frozen=True)
class Plan:
    """A run of so many files."""

    seed: int
    count: int

    @property
    def past_deadline(self) -> bool:
        """Whether clocks pass the deadline."""
        return self.seed % DEADLINE_SEEDS == 0

    @property
    def files(self) -> list[File]:
        """All of them, in the order in which they come."""
        return [File(number) for number in range(self.count)]

    def chance(self, whose: str) -> random.Random:
        """Somebody's own source of chance."""
        return random.Random(f"{self.seed} {whose}")

    @cached_property
    def erased(self) -> dict[int, bool]:
        """Numbers of the files that somebody has erased, and whether the upload goes with it."""
        chance = self.chance("erased")
        return {n: chance.random() < 0.5 for n in chance.sample(range(self.count), max(1, round(self.count * ERASED)))}

    @cached_property
    def redriven(self) -> dict[int, tuple[Stage, ...]]:
        """Numbers of the files of which somebody has stages run again."""
        chance = self.chance("redriven")
        others = [number for number in range(self.count) if number not in self.erased]
        choices = [(Stage.STT,), (Stage.SER,), (Stage.STT, Stage.SER)]
        return {n: chance.choice(choices) for n in chance.sample(others, max(1, round(self.count * REDRIVEN)))}
