"""Stretches of speech with their audio, out of a recording that is still being decoded.

Each channel's detector says where somebody speaks; spans that belong together become one stretch as soon as nothing to
come can change it. What is held is the open stretch, nothing else: memory does not grow with the length. The result
does not depend on the blocks that the audio came in.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workers.audio.decoder import SAMPLE_RATE
from workers.audio.reader import Recording
from workers.audio.vad import Detector, Span

#: Seconds: speech without any pause is cut here, so that with its padding it fits into Whisper's window.
UNBROKEN = 29.0


@dataclass(frozen=True)
class Stretch:
    """Speech of one channel, to be analysed in one piece."""

    channel: int
    span: Span  #: in the recording, padding included
    samples: npt.NDArray[np.int16]  #: shape (n,), 16 kHz
    speech: tuple[Span, ...]  #: the bare spans in it


@dataclass(frozen=True)
class Rules:
    """How spans become stretches; all in seconds."""

    gap: float  #: closer spans are one stretch, their pause included
    pad: float  #: left round a stretch, at most half way to its neighbour
    longest: float  #: a longer stretch is cut at its longest pause, if it has one
    shortest: float = 0.0  #: a shorter one is widened, into its neighbour if need be, but not out of the recording


def stretches(recording: Recording, rules: Rules, channels: Sequence[int] | None = None) -> Iterator[Stretch]:
    """Read a recording and yield its stretches, each channel's in order, as they close.

    `channels`: only these. Raises what reading the recording raises.
    """
    wanted = range(recording.channels) if channels is None else channels
    listeners = [_Listener(channel, rules) for channel in wanted]
    for block in recording:
        for listener in listeners:
            yield from listener.feed(block[listener.channel])
    for listener in listeners:
        yield from listener.finish()


class _Listener:
    """One channel: its detector, the stretch that is open, and the audio that is still needed."""

    def __init__(self, channel: int, rules: Rules) -> None:
        self.channel = channel
        self._rules = rules
        self._detector = Detector(longest=max(rules.longest, UNBROKEN) - 2 * rules.pad)
        self._open: list[Span] = []
        self._before = rules.pad  # how much of the pause before the open stretch is its padding
        self._closed: deque[tuple[Span, tuple[Span, ...]]] = deque()
        self._audio = np.zeros(0, np.int16)
        self._from = 0  # where in the channel this audio begins, in samples

    def feed(self, samples: npt.NDArray[np.int16]) -> Iterator[Stretch]:
        self._audio = np.concatenate([self._audio, samples])
        for span in self._detector.feed(samples):
            self._take(span)
        still = max(self._rules.gap, 2 * self._rules.pad)
        if self._open and self._detector.decided - self._open[-1].end >= still:
            self._close(len(self._open), math.inf)
        yield from self._ready(ended=False)
        self._forget()

    def finish(self) -> Iterator[Stretch]:
        for span in self._detector.finish():
            self._take(span)
        if self._open:
            self._close(len(self._open), math.inf)
        yield from self._ready(ended=True)

    @property
    def _end(self) -> float:
        return (self._from + len(self._audio)) / SAMPLE_RATE

    def _take(self, span: Span) -> None:
        if self._open and span.start - self._open[-1].end >= self._rules.gap:
            self._close(len(self._open), span.start)
        self._open.append(span)
        while len(self._open) > 1 and span.end - self._open[0].start > self._rules.longest - 2 * self._rules.pad:
            count = self._longest_pause()
            self._close(count, self._open[count].start)

    def _longest_pause(self) -> int:
        """How many of the open spans stand before it; a pause in the first half counts only if there is no other."""
        half = self._open[0].start + self._rules.longest / 2
        return max(
            range(1, len(self._open)),
            key=lambda n: (self._open[n - 1].end > half, self._open[n].start - self._open[n - 1].end),
        )

    def _close(self, count: int, next_start: float) -> None:
        spans, self._open = tuple(self._open[:count]), self._open[count:]
        after = min(self._rules.pad, (next_start - spans[-1].end) / 2)
        self._closed.append((Span(max(0.0, spans[0].start - self._before), spans[-1].end + after), spans))
        self._before = after

    def _ready(self, *, ended: bool) -> Iterator[Stretch]:
        """Closed stretches whose audio is there."""
        while self._closed:
            span, spans = self._closed[0]
            if span.length < self._rules.shortest:
                start = max(0.0, (span.start + span.end - self._rules.shortest) / 2)
                if ended:
                    start = min(start, max(0.0, self._end - self._rules.shortest))
                span = Span(start, start + self._rules.shortest)
            if span.end > self._end:
                if not ended:
                    return
                span = Span(span.start, self._end)
            self._closed.popleft()
            first, last = (round(at * SAMPLE_RATE) - self._from for at in span)
            yield Stretch(self.channel, span, self._audio[first:last].copy(), spans)

    def _forget(self) -> None:
        needed = min(
            self._detector.decided,
            self._open[0].start if self._open else math.inf,
            self._closed[0][0].start if self._closed else math.inf,
        )
        keep_from = int((needed - self._rules.pad - self._rules.shortest) * SAMPLE_RATE)
        if keep_from > self._from:
            self._audio = self._audio[keep_from - self._from :].copy()
            self._from = keep_from
