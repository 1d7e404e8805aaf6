"""Chunks of speech with their audio, cut from a recording while it is still being decoded.

Each channel's detector finds the spans of speech. Spans that belong together become one chunk as soon as no later audio
can change it. Only the open chunk's audio is kept, so memory does not grow with the recording's length. The chunks do
not depend on the sizes of the blocks that the audio arrives in.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt

from workers.audio.decoder import SAMPLE_RATE
from workers.audio.vad import CELL, Detector, Span

#: Seconds. Speech without any pause is cut at this length, so that with its padding it fits into Whisper's window.
MAX_UNBROKEN = 29.0
#: Seconds of speech from which Whisper can tell one of a few languages.
PHRASE_SECONDS = 1.5


@dataclass(frozen=True)
class Chunk:
    """Speech on one channel, to be analysed in one piece."""

    channel: int
    span: Span  #: in the recording, padding included
    samples: npt.NDArray[np.int16]  #: shape (n,), 16 kHz
    speech: tuple[Span, ...]  #: the spans of speech in it, without padding


@dataclass(frozen=True)
class ChunkRules:
    """How spans of speech are joined into chunks. All values in seconds."""

    gap: float  #: spans closer than this are joined, the pause between them included
    pad: float  #: audio kept on each side of a chunk, at most half way to its neighbour
    longest: float  #: longer chunks are cut at their longest pause, if they have one
    shortest: float = 0.0  #: shorter chunks are widened, into a neighbour if necessary, but not beyond the recording


def phrases(chunk: Chunk) -> list[Chunk]:
    """A chunk cut in the middle of its pauses, into pieces with PHRASE_SECONDS of speech or more."""
    groups: list[list[Span]] = [[]]
    for span in chunk.speech:
        if sum(one.length for one in groups[-1]) >= PHRASE_SECONDS:
            groups.append([])
        groups[-1].append(span)
    if len(groups) > 1 and sum(one.length for one in groups[-1]) < PHRASE_SECONDS:
        groups[-2].extend(groups.pop())
    ends = [(one[-1].end + other[0].start) / 2 for one, other in pairwise(groups)]
    cut = []
    for start, end, speech in zip([chunk.span.start, *ends], [*ends, chunk.span.end], groups, strict=True):
        first, last = (round((at - chunk.span.start) * SAMPLE_RATE) for at in (start, end))
        cut.append(Chunk(chunk.channel, Span(start, end), chunk.samples[first:last], tuple(speech)))
    return cut


class Audio(Protocol):
    """What is read: int16 blocks of shape (channels, samples), 16 kHz."""

    @property
    def channels(self) -> int:
        """How many channels a block has."""

    @property
    def start(self) -> float:
        """Where the first sample is, in seconds of the recording."""

    def __iter__(self) -> Iterator[npt.NDArray[np.int16]]:
        """Yield the blocks."""


def speech_chunks(stream: Audio, rules: ChunkRules, channels: Sequence[int] | None = None) -> Iterator[Chunk]:
    """Read an audio stream and yield its chunks as they close, in order on each channel.

    `channels`: the channels to read, all by default. Raises whatever iterating over the stream raises.
    """
    chosen = range(stream.channels) if channels is None else channels
    chunkers = [_ChannelChunker(channel, rules, stream.start) for channel in chosen]
    for block in stream:
        for chunker in chunkers:
            yield from chunker.feed(block[chunker.channel])
    for chunker in chunkers:
        yield from chunker.finish()


class _ChannelChunker:
    """One channel's detector, its open chunk, and the audio that chunks may still need."""

    def __init__(self, channel: int, rules: ChunkRules, start: float) -> None:
        self.channel = channel
        self._start = start
        self._rules = rules
        self._detector = Detector(longest=max(rules.longest, MAX_UNBROKEN) - 2 * rules.pad)
        self._open: list[Span] = []
        self._pad_before = rules.pad  # how much of the pause before the open chunk is its padding
        self._closed: deque[tuple[Span, tuple[Span, ...]]] = deque()
        self._audio = np.zeros(0, np.int16)
        # The detector looks at whole cells. In a part, these are to begin where they do in the whole recording.
        before = round(start * SAMPLE_RATE) % CELL
        self._detected_from = start - before / SAMPLE_RATE
        self._detector.feed(np.zeros(before, np.int16))
        self._offset = round(start * SAMPLE_RATE)  # where in the channel this audio starts, in samples

    def feed(self, samples: npt.NDArray[np.int16]) -> Iterator[Chunk]:
        self._audio = np.concatenate([self._audio, samples])
        for span in self._detector.feed(samples):
            self._add(span)
        silence = max(self._rules.gap, 2 * self._rules.pad)
        if self._open and self._decided - self._open[-1].end >= silence:
            self._close(len(self._open), math.inf)
        yield from self._ready(ended=False)
        self._forget()

    def finish(self) -> Iterator[Chunk]:
        for span in self._detector.finish():
            self._add(span)
        if self._open:
            self._close(len(self._open), math.inf)
        yield from self._ready(ended=True)

    @property
    def _end(self) -> float:
        return (self._offset + len(self._audio)) / SAMPLE_RATE

    @property
    def _decided(self) -> float:
        return self._detected_from + self._detector.decided

    def _add(self, found: Span) -> None:
        span = Span(max(self._start, self._detected_from + found.start), self._detected_from + found.end)
        if self._open and span.start - self._open[-1].end >= self._rules.gap:
            self._close(len(self._open), span.start)
        self._open.append(span)
        while len(self._open) > 1 and span.end - self._open[0].start > self._rules.longest - 2 * self._rules.pad:
            count = self._longest_pause()
            self._close(count, self._open[count].start)

    def _longest_pause(self) -> int:
        """Count the open spans before the longest pause. One in the first half is chosen only if there is no other."""
        half = self._open[0].start + self._rules.longest / 2
        return max(
            range(1, len(self._open)),
            key=lambda n: (self._open[n - 1].end > half, self._open[n].start - self._open[n - 1].end),
        )

    def _close(self, count: int, next_start: float) -> None:
        spans, self._open = tuple(self._open[:count]), self._open[count:]
        pad_after = min(self._rules.pad, (next_start - spans[-1].end) / 2)
        self._closed.append(
            (Span(max(self._start, spans[0].start - self._pad_before), spans[-1].end + pad_after), spans)
        )
        self._pad_before = pad_after

    def _ready(self, *, ended: bool) -> Iterator[Chunk]:
        """Yield the closed chunks whose audio has arrived."""
        while self._closed:
            span, spans = self._closed[0]
            if span.length < self._rules.shortest:
                start = max(self._start, (span.start + span.end - self._rules.shortest) / 2)
                if ended:
                    start = min(start, max(self._start, self._end - self._rules.shortest))
                span = Span(start, start + self._rules.shortest)
            if span.end > self._end:
                if not ended:
                    return
                span = Span(span.start, self._end)
            self._closed.popleft()
            first, last = (round(at * SAMPLE_RATE) - self._offset for at in span)
            yield Chunk(self.channel, span, self._audio[first:last].copy(), spans)

    def _forget(self) -> None:
        """Drop the audio that no chunk can need any more."""
        needed = min(
            self._decided,
            self._open[0].start if self._open else math.inf,
            self._closed[0][0].start if self._closed else math.inf,
        )
        keep_from = int((needed - self._rules.pad - self._rules.shortest) * SAMPLE_RATE)
        if keep_from > self._offset:
            self._audio = self._audio[keep_from - self._offset :].copy()
            self._offset = keep_from
