"""A recording on its way through the emotion engine: how far it is, and how long it took."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from speechpipe.backends.ports import Progress
from speechpipe.contract import Work
from workers.audio.vad import Span
from workers.batcher import Usage
from workers.emotion.sound import Sound

Argument = TypeVar("Argument")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Window:
    """A window of one channel, and the model's output for it once it has run."""

    channel: int
    span: Span
    speech: float  #: seconds of speech in it
    sound: Sound
    logits: Future[npt.NDArray[np.float32]]  #: shape (labels,)


class Tracker:
    """Reports a recording's progress, and measures the time that its thread spends waiting for the engine.

    Progress is how far each channel has been scored without a gap.
    """

    def __init__(self, progress: Progress) -> None:
        self.start = 0.0  #: where the audio begins, in seconds of the recording
        self.seconds: float | None = None  #: where it ends: expected, and exact once it is decoded
        self.channels = 1
        self.pending: deque[Window] = deque()  #: in the order they were submitted
        self._scored_until: dict[int, float] = {}  #: seconds of the recording, by channel
        self._progress, self._share = progress, 0.0
        self._began, self._waited = time.perf_counter(), 0.0

    def timed(self, wait: Callable[[Argument], Value], argument: Argument) -> Value:
        """What a function returns; the time that it takes is spent waiting."""
        began = time.perf_counter()
        try:
            return wait(argument)
        finally:
            self._waited += time.perf_counter() - began

    def show(self) -> None:
        """Report how far the windows have been scored."""
        while self.pending and self.pending[0].logits.done():
            window = self.pending.popleft()
            self._scored_until[window.channel] = window.span.end
        if self.seconds and self.seconds > self.start:
            scored = sum(until - self.start for until in self._scored_until.values())
            share = scored / (self.channels * (self.seconds - self.start))
            self._share = max(self._share, min(share, 0.99))  # 1 only once the result is complete
        self._progress(self._share)

    def compute_seconds(self, engine_seconds: float) -> float:
        """Seconds so far, in which time spent waiting counts only as far as the engine worked on this recording.

        Windows may be scored while this thread prepares the next ones, so the sum could exceed the time that passed.
        """
        spent = time.perf_counter() - self._began
        return min(spent, spent - self._waited + engine_seconds)


def work_of(usage: Usage) -> Work:
    """How well the engine used its time on a recording."""
    return Work(
        engine_seconds=usage.engine_seconds,
        rows=usage.rows,
        row_slots=max(usage.rows, round(usage.slots)),
        filled_seconds=usage.seconds,
        padded_seconds=usage.padded_seconds,
    )
