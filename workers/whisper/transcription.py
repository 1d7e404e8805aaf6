"""One recording on its way through Whisper: stretches of speech become rows, rows are answered, times are put back."""

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
from workers.audio.chunks import Stretch
from workers.audio.decoder import SAMPLE_RATE
from workers.audio.reader import Recording
from workers.batcher import Submitter
from workers.whisper.rows import Heard, Row, WhisperRows

Given = TypeVar("Given")
Got = TypeVar("Got")

#: Rows that decide on the language of a channel.
VOTES = 3


@dataclass
class Channel:
    """What was heard on one channel; complete after `Hearing.finish`."""

    number: int
    language: Language | None  #: None until its rows have decided
    segments: list[Segment] = field(default_factory=list)  #: faster-whisper's, in seconds of the recording
    speech_seconds: float = 0.0
    heard_until: float = 0.0  #: seconds of the recording
    gathered: list[Stretch] = field(default_factory=list)  #: the next row
    votes: list[tuple[list[Stretch], Row, Future[Heard]]] = field(default_factory=list)
    asked: deque[tuple[list[dict[str, int]], Future[Heard]]] = field(default_factory=deque)


class Hearing:
    """Takes a recording's stretches as they come, and puts rows of them into the batcher."""

    def __init__(
        self,
        rows: WhisperRows,
        submitter: Submitter[Row, Heard],
        options: Options,
        *,
        language: Language | None,
        hints: tuple[int, ...],
        row_seconds: float,
        show: Callable[[], None],
    ) -> None:
        """`language`: None if it has to be found; `hints`: see Row; `show` is called when more has been heard."""
        self._rows, self._submitter, self._options = rows, submitter, options
        self._language, self._hints, self._show = language, hints, show
        self._row_samples = int(row_seconds * SAMPLE_RATE)
        self.channels: dict[int, Channel] = {}
        self.waited = 0.0  #: seconds in which this recording's thread had nothing to do
        self.filled_seconds = self.padded_seconds = 0.0  #: of its rows: audio, and what the encoder computes

    def take(self, stretch: Stretch) -> None:
        """Gather stretches of a channel up to a row's length: Whisper computes 30 s whatever there is in it."""
        channel = self.channels.setdefault(stretch.channel, Channel(stretch.channel, self._language))
        channel.speech_seconds += sum(span.length for span in stretch.speech)
        if sum(len(one.samples) for one in channel.gathered) + len(stretch.samples) > self._row_samples:
            self._submit(channel)
        channel.gathered.append(stretch)

    def finish(self) -> None:
        """Hear what is left, and wait for every answer."""
        for channel in self.channels.values():
            self._submit(channel)
        for channel in self.channels.values():
            self._decide(channel)
            while channel.asked:
                self._collect(channel)

    def _submit(self, channel: Channel) -> None:
        """Send the gathered stretches off as a row, for its language first if that is not known."""
        if not channel.gathered:
            return
        stretches, channel.gathered = channel.gathered, []
        row = self._rows.row(np.concatenate([stretch.samples for stretch in stretches]))
        self.filled_seconds += row.seconds
        self.padded_seconds += row.padded_seconds
        if channel.language is None:
            channel.votes.append((stretches, row, self._put(row)))
            if len(channel.votes) == VOTES:
                self._decide(channel)
        else:
            self._ask(channel, stretches, row)

    def _decide(self, channel: Channel) -> None:
        """The language that most of the first rows are in; then ask these for their words, without encoding again."""
        if not channel.votes:
            return
        heard = [self._wait(future) for _, _, future in channel.votes]
        channel.language = majority([one.languages[0] for one in heard])
        for (stretches, row, _), one in zip(channel.votes, heard, strict=True):
            self._ask(channel, stretches, replace(row, encoded=one.encoded))
        channel.votes.clear()

    def _ask(self, channel: Channel, stretches: Sequence[Stretch], row: Row) -> None:
        assert channel.language is not None
        row = replace(row, task=self._options.task, language=channel.language.code, hints=self._hints)
        spans = [(round(one.span.start * SAMPLE_RATE), round(one.span.end * SAMPLE_RATE)) for one in stretches]
        channel.asked.append(([{"start": start, "end": end} for start, end in spans], self._put(row)))
        while channel.asked and channel.asked[0][1].done():
            self._collect(channel)

    def _collect(self, channel: Channel) -> None:
        """Put a row's answer where it belongs in the recording."""
        spans, future = channel.asked.popleft()
        channel.segments.extend(restore_speech_timestamps(self._wait(future).segments, spans, SAMPLE_RATE))
        channel.heard_until = spans[-1]["end"] / SAMPLE_RATE
        self._show()

    def _put(self, row: Row) -> Future[Heard]:
        return self._waiting(self._submitter.submit, row)

    def _wait(self, future: Future[Heard]) -> Heard:
        return self._waiting(self._submitter.result, future)

    def _waiting(self, work: Callable[[Given], Got], argument: Given) -> Got:
        began = time.perf_counter()
        try:
            return work(argument)
        finally:
            self.waited += time.perf_counter() - began


class Shown:
    """A recording's progress: never less than before."""

    def __init__(self, recording: Recording, progress: Progress) -> None:
        self.seconds = recording.expected_seconds  #: of the recording, once all is decoded what it really was
        self._channels = recording.channels
        self._progress = progress
        self._share = 0.0

    def more(self, channels: Iterable[Channel]) -> None:
        """Show how much of each channel has been heard."""
        if self.seconds:
            heard = sum(channel.heard_until for channel in channels) / (self._channels * self.seconds)
            self._share = min(1.0, max(self._share, heard))
        self._progress(self._share)

    def again(self) -> None:
        """A sign of life while waiting; raises what the receiver raises."""
        self._progress(self._share)


def majority(votes: Sequence[tuple[str, float]]) -> Language:
    """The language that most rows name, the surer one of two with as many. Pure."""
    shares: dict[str, list[float]] = defaultdict(list)
    for code, share in votes:
        shares[code].append(share)
    code = max(shares, key=lambda code: (len(shares[code]), sum(shares[code])))
    return Language(code=code, confidence=min(1.0, max(shares[code])))
