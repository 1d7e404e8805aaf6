"""One recording's way through Whisper: collect chunks of speech into rows, await their results, put the times back."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from faster_whisper.transcribe import Segment, restore_speech_timestamps  # type: ignore[import-untyped]

from speechpipe.backends.ports import Progress
from speechpipe.contract import Language, Options
from workers.audio.chunks import Chunk
from workers.audio.decoder import SAMPLE_RATE
from workers.audio.reader import AudioStream
from workers.batcher import Submitter
from workers.whisper.rows import Row, RowResult, WhisperRows

Argument = TypeVar("Argument")
Value = TypeVar("Value")

#: How many rows vote on the language of a channel.
VOTES = 3


@dataclass
class Channel:
    """The state of one channel; complete after `Transcription.finish`."""

    number: int
    language: Language | None  #: None until its rows have voted
    segments: list[Segment] = field(default_factory=list)  #: faster-whisper's, in seconds of the recording
    speech_seconds: float = 0.0
    transcribed_until: float = 0.0  #: seconds of the recording
    chunks: list[Chunk] = field(default_factory=list)  #: collected for the next row
    votes: list[tuple[list[Chunk], Row, Future[RowResult]]] = field(default_factory=list)
    pending: deque[tuple[list[dict[str, int]], Future[RowResult]]] = field(default_factory=deque)


class Transcription:
    """Takes a recording's chunks as they arrive, and submits rows of them to the batcher."""

    def __init__(
        self,
        rows: WhisperRows,
        submitter: Submitter[Row, RowResult],
        options: Options,
        *,
        language: Language | None,
        hints: tuple[int, ...],
        row_seconds: float,
        on_progress: Callable[[], None],
    ) -> None:
        """`language`: None to detect it; `hints`: see Row; `on_progress` is called when a row has been transcribed."""
        self._rows, self._submitter, self._options = rows, submitter, options
        self._language, self._hints, self._on_progress = language, hints, on_progress
        self._row_samples = int(row_seconds * SAMPLE_RATE)
        self.channels: dict[int, Channel] = {}
        self.waited = 0.0  #: seconds in which this recording's thread waited for the batcher
        self.filled_seconds = self.padded_seconds = 0.0  #: over all rows: audio, and what the encoder computes

    def add(self, chunk: Chunk) -> None:
        """Collect a channel's chunks up to the length of a row, since Whisper computes 30 s however little it holds."""
        channel = self.channels.setdefault(chunk.channel, Channel(chunk.channel, self._language))
        channel.speech_seconds += sum(span.length for span in chunk.speech)
        if sum(len(one.samples) for one in channel.chunks) + len(chunk.samples) > self._row_samples:
            self._submit(channel)
        channel.chunks.append(chunk)

    def finish(self) -> None:
        """Submit the remaining chunks and wait for all results."""
        for channel in self.channels.values():
            self._submit(channel)
        for channel in self.channels.values():
            self._decide_language(channel)
            while channel.pending:
                self._collect(channel)

    def _submit(self, channel: Channel) -> None:
        """Submit the collected chunks as a row, first to detect its language if the channel's is not known."""
        if not channel.chunks:
            return
        chunks, channel.chunks = channel.chunks, []
        row = self._rows.row(np.concatenate([chunk.samples for chunk in chunks]))
        self.filled_seconds += row.seconds
        self.padded_seconds += row.padded_seconds
        if channel.language is None:
            channel.votes.append((chunks, row, self._put(row)))
            if len(channel.votes) == VOTES:
                self._decide_language(channel)
        else:
            self._transcribe(channel, chunks, row)

    def _decide_language(self, channel: Channel) -> None:
        """Take the language of most of the first rows, then transcribe them without encoding them again."""
        if not channel.votes:
            return
        results = [self._wait(future) for _, _, future in channel.votes]
        channel.language = majority([result.languages[0] for result in results])
        for (chunks, row, _), result in zip(channel.votes, results, strict=True):
            self._transcribe(channel, chunks, replace(row, encoded=result.encoded))
        channel.votes.clear()

    def _transcribe(self, channel: Channel, chunks: Sequence[Chunk], row: Row) -> None:
        assert channel.language is not None
        row = replace(row, task=self._options.task, language=channel.language.code, hints=self._hints)
        spans = [(round(chunk.span.start * SAMPLE_RATE), round(chunk.span.end * SAMPLE_RATE)) for chunk in chunks]
        channel.pending.append(([{"start": start, "end": end} for start, end in spans], self._put(row)))
        while channel.pending and channel.pending[0][1].done():
            self._collect(channel)

    def _collect(self, channel: Channel) -> None:
        """Add the segments of the channel's oldest row, with times of the recording."""
        spans, future = channel.pending.popleft()
        channel.segments.extend(restore_speech_timestamps(self._wait(future).segments, spans, SAMPLE_RATE))
        channel.transcribed_until = spans[-1]["end"] / SAMPLE_RATE
        self._on_progress()

    def _put(self, row: Row) -> Future[RowResult]:
        return self._timed(self._submitter.submit, row)

    def _wait(self, future: Future[RowResult]) -> RowResult:
        return self._timed(self._submitter.result, future)

    def _timed(self, wait: Callable[[Argument], Value], argument: Argument) -> Value:
        began = time.perf_counter()
        try:
            return wait(argument)
        finally:
            self.waited += time.perf_counter() - began


class ShownProgress:
    """A recording's progress as reported, which never falls."""

    def __init__(self, stream: AudioStream, progress: Progress) -> None:
        self.seconds = stream.expected_seconds  #: the recording's length: expected, and exact once it is decoded
        self._channels = stream.channels
        self._progress = progress
        self._share = 0.0

    def update(self, channels: Iterable[Channel]) -> None:
        """Report the share that has been transcribed, over all channels."""
        if self.seconds:
            done = sum(channel.transcribed_until for channel in channels) / (self._channels * self.seconds)
            self._share = min(1.0, max(self._share, done))
        self._progress(self._share)

    def repeat(self) -> None:
        """Report the same share again, as a sign of life while waiting. Raises whatever the receiver raises."""
        self._progress(self._share)


def majority(votes: Sequence[tuple[str, float]]) -> Language:
    """The language with most votes. In a tie the one with the higher total probability wins. Pure."""
    shares: dict[str, list[float]] = defaultdict(list)
    for code, share in votes:
        shares[code].append(share)
    code = max(shares, key=lambda code: (len(shares[code]), sum(shares[code])))
    return Language(code=code, confidence=min(1.0, max(shares[code])))
