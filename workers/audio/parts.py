"""Read one part of a long recording, with its ends moved to the longest pause nearby.

The workers of two neighbouring parts do not talk to each other. Both read the same stretch of sound around the place
where the plan cuts, look for pauses in it in the same way, and so find the same cut: no word is heard twice or lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from speechpipe.contract import Audio, Caution, Part
from workers.audio.decoder import SAMPLE_RATE, Block
from workers.audio.reader import AudioStream, open_audio
from workers.audio.vad import Detector, Span
from workers.audio.waveform import WaveformBuilder

#: Seconds. A cut is at most so far from the plan's, and voice activity detection begins so long before that.
NEAR, _RUN_UP = 30.0, 4.0
#: Samples. Cuts are multiples of this: whole frames of voice activity detection (512) and of levels (640).
_GRID = 4 * 640


class PartStream:
    """The audio of one part; iterate over it once. As AudioStream, but its first sample is at `start`."""

    def __init__(self, path: Path, part: Part, *, split: bool, max_seconds: float, **choice: Any) -> None:
        """`choice`: the track and language of `reader.open_audio`."""
        self._part = part
        first = _zone(part.start)[0] if part.number else 0
        last = None if part.end is None else _zone(part.end)[1]
        self._stream = open_audio(path, split=split, max_seconds=max_seconds, start=first, stop=last, **choice)
        self._blocks = _Blocks(iter(self._stream), first)
        self._waveform = WaveformBuilder()
        self._end = 0  # where the last sample was; 0 if there was none
        try:
            self._begin = self._cut(part.start) if part.number else 0
        except BaseException:
            self.close()
            raise

    @property
    def channels(self) -> int:
        """Channels of every block."""
        return self._stream.channels

    @property
    def start(self) -> float:
        """Where the part begins, in seconds of the recording."""
        return self._begin / SAMPLE_RATE

    @property
    def expected_seconds(self) -> float | None:
        """Where the part will end, in seconds of the recording, if that is known."""
        return self._part.end or self._stream.expected_seconds

    @property
    def audio(self) -> Audio:
        """Facts about the source, with the end of the part as its duration; known after the last block.

        The duration is 0 if the part lies behind the end of the recording.
        """
        waveforms = self._waveform.waveforms()
        return self._stream.audio.model_copy(update={"duration": self._end / SAMPLE_RATE, "waveforms": waveforms})

    @property
    def cautions(self) -> tuple[Caution, ...]:
        """Complete after the last block."""
        return self._stream.cautions

    def __iter__(self) -> Iterator[Block]:
        """Yield the part's int16 blocks, shape (channels, n). Raises as AudioStream."""
        self._blocks.drop_until(self._begin)
        zone = None if self._part.end is None else _zone(self._part.end)[0]
        for block in self._blocks.until(zone):
            yield self._seen(block)
        if self._part.end is not None:
            end = self._cut(self._part.end)
            for block in self._blocks.until(end):
                yield self._seen(block)
        self._blocks.drain()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End decoding, whether finished or not."""
        self._stream.close()

    def _seen(self, block: Block) -> Block:
        self._waveform.add(block)
        self._end = self._blocks.position
        return block

    def _cut(self, planned: float) -> int:
        return cut_near(planned, self._blocks.peek(*_zone(planned)))


def open_part(
    path: Path,
    part: Part | None,
    *,
    split: bool = False,
    max_seconds: float,
    track: int | None = None,
    language: str | None = None,
) -> AudioStream | PartStream:
    """Start to decode a part of a file, or all of it. Arguments and errors are those of `reader.open_audio`."""
    if part is None:
        return open_audio(path, split=split, max_seconds=max_seconds, track=track, language=language)
    return PartStream(path, part, split=split, max_seconds=max_seconds, track=track, language=language)


def cut_near(planned: float, zone: Block) -> int:
    """Where to cut, in samples of the recording: the middle of the longest pause of all channels near the plan's cut.

    `zone`: the sound around it, shape (channels, n), from NEAR and the run-up before the plan's cut to as long after it
    or to the end of the recording. Without a pause, as in music, it is the plan's cut.
    """
    begin = _zone(planned)[0]
    earliest, latest = planned - NEAR, min(planned + NEAR, (begin + zone.shape[1]) / SAMPLE_RATE)
    speech = sorted(span for channel in zone for span in _speech(channel, begin / SAMPLE_RATE))
    ends = [earliest, *(min(max(at, earliest), latest) for at in _edges(speech)), latest]
    pauses = [Span(start, end) for start, end in zip(ends[::2], ends[1::2], strict=True) if end > start]
    if not pauses:
        return _on_grid(planned)
    longest = max(pauses, key=lambda pause: (round(pause.length, 3), -abs(pause.start + pause.end - 2 * planned)))
    return _on_grid((longest.start + longest.end) / 2)


def _edges(spans: Sequence[Span]) -> Iterator[float]:
    """Starts and ends of the stretches that the spans cover together, in turn."""
    covered: Span | None = None
    for span in spans:
        if covered and span.start <= covered.end:
            covered = Span(covered.start, max(covered.end, span.end))
            continue
        if covered:
            yield from covered
        covered = span
    if covered:
        yield from covered


def _speech(channel: Block, begin: float) -> Iterator[Span]:
    detector = Detector()
    for span in (*detector.feed(channel), *detector.finish()):
        yield Span(begin + span.start, begin + span.end)


def _zone(planned: float) -> tuple[int, int]:
    """First and last sample of what both neighbours look at."""
    return tuple(_on_grid(max(0.0, planned + side * (NEAR + _RUN_UP))) for side in (-1, 1))  # type: ignore[return-value]


def _on_grid(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE / _GRID) * _GRID


class _Blocks:
    """A stream's samples by their position in the recording, with a look ahead."""

    def __init__(self, blocks: Iterator[Block], position: int) -> None:
        self.position = position  #: of the next sample
        self._blocks = blocks
        self._ahead: list[Block] = []

    def until(self, end: int | None) -> Iterator[Block]:
        """The blocks up to there, or to the end of the stream."""
        while end is None or self.position < end:
            block = self._ahead.pop(0) if self._ahead else next(self._blocks, None)
            if block is None:
                return
            if end is not None and self.position + block.shape[1] > end:
                self._ahead.insert(0, block[:, end - self.position :])
                block = block[:, : end - self.position]
            self.position += block.shape[1]
            yield block

    def drop_until(self, end: int) -> None:
        """Leave out the blocks up to there."""
        for _ in self.until(end):
            pass

    def drain(self) -> None:
        """Read to the end of the stream."""
        for _ in self.until(None):
            pass

    def peek(self, first: int, last: int) -> Block:
        """The samples between two positions, as far as there are any, without moving on; `first` is not behind us."""
        held = sum(block.shape[1] for block in self._ahead)
        while self.position + held < last and (block := next(self._blocks, None)) is not None:
            self._ahead.append(block)
            held += block.shape[1]
        if not self._ahead:
            return np.zeros((1, 0), np.int16)
        joined = np.concatenate(self._ahead, axis=1)
        self._ahead = [joined]
        return joined[:, max(0, first - self.position) : max(0, last - self.position)]
