"""One recording's way through Whisper: collect chunks of speech into rows, await their results, put the times back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeVar

import numpy as np
from faster_whisper.transcribe import Segment  # type: ignore[import-untyped]

from speechpipe.backends.ports import Progress
from speechpipe.contract import Language, Options
from workers.audio.chunks import Chunk, phrases
from workers.audio.decoder import SAMPLE_RATE
from workers.audio.parts import PartStream
from workers.audio.reader import AudioStream
from workers.audio.vad import Span
from workers.batcher import Submitter
from workers.whisper.checks import MAX_NO_SPEECH
from workers.whisper.coverage import missed
from workers.whisper.languages import MIN_RIVAL_OF_ALL, SURE, Shares, majority, may_be_mixed, path, smoothed
from workers.whisper.rows import WINDOW_FRAMES, Row, RowResult, WhisperRows
from workers.whisper.segments import cut
from workers.whisper.times import restored

Argument = TypeVar("Argument")
Value = TypeVar("Value")

#: How many rows vote on the language that a channel starts in.
VOTES = 3
#: How many rows may wait for the decision on their language. With fewer, a recording alone never fills a batch.
ROWS_AHEAD = 8
#: How often speech that got no words is transcribed again, how sure its text must be then, and from how many words on
#: it is believed though the model detects no speech.
MAX_RETRIES, MIN_LOGPROB_OF_RETRY, MIN_WORDS_OF_RETRY = 2, -0.8, 5


@dataclass(frozen=True)
class _Detecting:
    """A row that has been submitted for its language."""

    chunks: Sequence[Chunk]
    row: Row
    result: Future[RowResult]


@dataclass(frozen=True)
class _Pending:
    """A row that has been submitted for its words."""

    chunks: Sequence[Chunk]
    language: str
    result: Future[RowResult]
    attempt: int  #: 0, and more if these chunks got no words in a row before


@dataclass(frozen=True)
class Said:
    """A segment and the language it is in."""

    segment: Segment  #: faster-whisper's, in seconds of the recording
    language: str
    row_seconds: float  #: of speech in its row


@dataclass
class Channel:
    """The state of one channel; complete after `Transcription.finish`."""

    number: int
    language: str | None  #: of the row before; None until the first rows have voted
    given: bool = False  #: whether the uploader set the language, or the model knows only one
    voted: Language | None = None  #: what the first rows sound like
    said: list[Said] = field(default_factory=list)
    gaps: list[Span] = field(default_factory=list)  #: speech that got no words
    unhinted: list[Span] = field(default_factory=list)  #: rows in which the hints were written though nobody said them
    speech_seconds: float = 0.0
    language_seconds: dict[str, float] = field(default_factory=dict)  #: seconds of speech by language
    transcribed_until: float = 0.0  #: seconds of the recording
    chunks: list[Chunk] = field(default_factory=list)  #: collected for the next row
    detecting: deque[_Detecting] = field(default_factory=deque)
    pending: deque[_Pending] = field(default_factory=deque)

    def count(self, language: str, seconds: float) -> None:
        """Add seconds of speech to a language."""
        self.language_seconds[language] = max(0.0, self.language_seconds.get(language, 0.0) + seconds)


class Transcription:
    """Takes a recording's chunks as they arrive, and submits rows of them to the batcher."""

    def __init__(
        self,
        rows: WhisperRows,
        submitter: Submitter[Row, RowResult],
        options: Options,
        *,
        languages: bool,
        hints: tuple[int, ...],
        row_seconds: float,
        on_progress: Callable[[], None],
    ) -> None:
        """`languages`: whether the model knows more than English; `hints`: see Row.

        `on_progress` is called when a row has been transcribed.
        """
        self._rows, self._submitter, self._options = rows, submitter, options
        self._languages, self._hints, self._on_progress = languages, hints, on_progress
        self._given = options.language if languages else "en"
        self._row_samples = int(row_seconds * SAMPLE_RATE)
        self.channels: dict[int, Channel] = {}
        self.waited = 0.0  #: seconds in which this recording's thread waited for the batcher
        self.filled_seconds = self.padded_seconds = 0.0  #: over all rows: audio, and what the encoder computes

    def add(self, chunk: Chunk) -> None:
        """Collect a channel's chunks up to the length of a row, since Whisper computes 30 s however little it holds."""
        channel = self.channels.setdefault(chunk.channel, Channel(chunk.channel, self._given, self._given is not None))
        channel.speech_seconds += _speech(chunk)
        if sum(len(one.samples) for one in channel.chunks) + len(chunk.samples) > self._row_samples:
            self._submit(channel)
        channel.chunks.append(chunk)

    def finish(self) -> None:
        """Submit the remaining chunks and wait for all results."""
        for channel in self.channels.values():
            self._submit(channel)
        for channel in self.channels.values():
            self._decide_languages(channel, ahead=0)
            while channel.pending:
                self._collect(channel)
            channel.said.sort(key=lambda said: float(said.segment.start))

    def _submit(self, channel: Channel) -> None:
        """Submit the collected chunks as a row: for its language first, unless that is known."""
        if not channel.chunks:
            return
        chunks, channel.chunks = channel.chunks, []
        row = self._row(chunks)
        if self._given and (not self._languages or channel.voted):
            self._transcribe(channel, chunks, row, self._given)
            return
        channel.detecting.append(_Detecting(chunks, row, self._put(row)))
        self._decide_languages(channel, ahead=VOTES - 1 if self._given else ROWS_AHEAD)

    def _decide_languages(self, channel: Channel, *, ahead: int) -> None:
        """Decide on the language of each row that has so many others behind it, then ask for its words."""
        while len(channel.detecting) > (0 if self._given and channel.voted else ahead):
            if channel.voted is None:
                first = list(channel.detecting)[:VOTES]
                channel.voted = majority([self._wait(one.result).languages[0] for one in first])
                if channel.voted.confidence < SURE and not self._given:
                    channel.voted = self._likelier(channel.voted, max(first, key=lambda one: one.row.seconds))
                channel.language = self._given or channel.voted.code
            one = channel.detecting.popleft()
            result = self._wait(one.result)
            if self._given:
                self._transcribe(channel, one.chunks, replace(one.row, encoded=result.encoded), self._given)
                continue
            assert channel.language is not None
            following = self._wait(channel.detecting[0].result).languages if channel.detecting else None
            if may_be_mixed(channel.language, result.languages, following) and self._is_mixed(channel, one, following):
                continue
            channel.language = smoothed(channel.language, result.languages, following, sum(map(_speech, one.chunks)))
            self._transcribe(channel, one.chunks, replace(one.row, encoded=result.encoded), channel.language)

    def _likelier(self, voted: Language, one: _Detecting) -> Language:
        """The language in which a row reads better: the one that an unsure vote chose, or its nearest rival."""
        result = self._wait(one.result)
        shares = dict(result.languages)
        rival = next(code for code, _ in result.languages if code != voted.code)
        if shares[rival] < MIN_RIVAL_OF_ALL:
            return voted
        row = replace(one.row, encoded=result.encoded, task=self._options.task)
        first, second = (self._put(replace(row, language=code)) for code in (voted.code, rival))
        if self._wait(second).logprob <= self._wait(first).logprob:
            return voted
        return Language(code=rival, confidence=min(1.0, shares[rival]))

    def _is_mixed(self, channel: Channel, one: _Detecting, following: Shares | None) -> bool:
        """Find out where the language changes inside a row, and transcribe each part of it in its own.

        False if it changes nowhere.
        """
        found = [phrase for chunk in one.chunks for phrase in phrases(chunk)]
        detected = [self._put(self._row([phrase])) for phrase in found]
        heard = [(self._wait(each).languages, _speech(phrase)) for each, phrase in zip(detected, found, strict=True)]
        result = self._wait(one.result)
        before = channel.language if channel.language_seconds else None  # none before the first row
        languages = path(heard, before, result.languages, following)
        if len(set(languages)) == 1:
            return False
        channel.language = languages[-1]
        for language, group in groupby(zip(languages, found, strict=True), key=itemgetter(0)):
            part = [phrase for _, phrase in group]
            self._transcribe(channel, part, self._row(part), language)
        return True

    def _row(self, chunks: Sequence[Chunk], **known: Any) -> Row:
        row = self._rows.row(np.concatenate([chunk.samples for chunk in chunks]), **known)
        self.filled_seconds += row.seconds
        self.padded_seconds += row.padded_seconds
        return row

    def _transcribe(self, channel: Channel, chunks: Sequence[Chunk], row: Row, language: str, attempt: int = 0) -> None:
        # Hints may be why speech got no words.
        row = replace(row, task=self._options.task, language=language, hints=() if attempt else self._hints)
        if not attempt:
            channel.count(language, sum(map(_speech, chunks)))
        channel.pending.append(_Pending(chunks, language, self._put(row), attempt))
        while channel.pending and channel.pending[0].result.done():
            self._collect(channel)

    def _collect(self, channel: Channel) -> None:
        """Add the segments of the channel's oldest row, with times of the recording; retry what got no words.

        A row whose text reached the model's limit, as fast speech does in scripts that take many tokens, is cut in two.
        """
        pending = channel.pending.popleft()
        result = self._wait(pending.result)
        if result.truncated and len(pending.chunks) > 1 and pending.attempt < MAX_RETRIES:
            self._again(channel, _halves(pending.chunks), pending)
            return
        if result.hints_removed:
            channel.unhinted.append(Span(pending.chunks[0].span.start, pending.chunks[-1].span.end))
        found = restored(result.segments, pending.chunks)
        if pending.attempt and any(map(_doubtful, found)):
            found = []
        seconds = sum(map(_speech, pending.chunks))
        channel.said += [Said(part, pending.language, seconds) for segment in found for part in cut(segment)]
        words = [Span(word.start, word.end) for segment in found for word in segment.words]
        for run in missed(pending.chunks, words):
            self._retry(channel, run, pending)
        channel.transcribed_until = max(channel.transcribed_until, pending.chunks[-1].span.end)
        self._on_progress()

    def _retry(self, channel: Channel, run: list[Chunk], pending: _Pending) -> None:
        """Transcribe speech that got no words by itself: in halves if it was most of its row, at last in pieces."""
        if pending.attempt == MAX_RETRIES:
            channel.gaps.append(Span(run[0].span.start, run[-1].span.end))
            return
        most = sum(map(_speech, run)) > sum(map(_speech, pending.chunks)) / 2
        if pending.attempt + 1 == MAX_RETRIES:
            self._again(channel, [[chunk] for chunk in run], pending)
        else:
            self._again(channel, _halves(run) if most and len(run) > 1 else [run], pending)

    def _again(self, channel: Channel, parts: Iterable[Sequence[Chunk]], pending: _Pending) -> None:
        """Submit parts of a row again, each by itself."""
        for part in parts:
            row, language = self._row(part, window=WINDOW_FRAMES), pending.language
            if not self._given:
                found = self._wait(self._put(row))
                language = smoothed(language, found.languages, None, sum(map(_speech, part)))
                row = replace(row, encoded=found.encoded)
            channel.count(pending.language, -sum(map(_speech, part)))
            channel.count(language, sum(map(_speech, part)))
            self._transcribe(channel, part, row, language, pending.attempt + 1)

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

    def __init__(self, stream: AudioStream | PartStream, progress: Progress) -> None:
        self.seconds = stream.expected_seconds  #: where the audio ends: expected, and exact once it is decoded
        self._start = stream.start
        self._channels = stream.channels
        self._progress = progress
        self._share = 0.0

    def update(self, channels: Iterable[Channel]) -> None:
        """Report the share that has been transcribed, over all channels."""
        if self.seconds and self.seconds > self._start:
            done = sum(max(0.0, channel.transcribed_until - self._start) for channel in channels)
            done /= self._channels * (self.seconds - self._start)
            self._share = min(1.0, max(self._share, done))
        self._progress(self._share)

    def repeat(self) -> None:
        """Report the same share again, as a sign of life while waiting. Raises whatever the receiver raises."""
        self._progress(self._share)


def _doubtful(segment: Segment) -> bool:
    """Whether text for audio that got no words at first is rather invented."""
    few = len(segment.words or ()) < MIN_WORDS_OF_RETRY
    return bool(segment.avg_logprob < MIN_LOGPROB_OF_RETRY or (few and segment.no_speech_prob > MAX_NO_SPEECH))


def _speech(chunk: Chunk) -> float:
    """Seconds of speech."""
    return sum(span.length for span in chunk.speech)


def _halves(chunks: Sequence[Chunk]) -> tuple[Sequence[Chunk], Sequence[Chunk]]:
    middle = len(chunks) // 2
    return chunks[:middle], chunks[middle:]
