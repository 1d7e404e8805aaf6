"""Speech to text: Whisper, by faster-whisper, over whole recordings.

What is added to `WhisperModel.transcribe`: hostile media are decoded under limits (`decode`), each channel is
transcribed on its own if asked for, long recordings go through in blocks (in one piece faster-whisper needs 3.2 GB an
audio hour), words never run backwards or past the end, and every segment says whether it looks invented.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from faster_whisper import WhisperModel  # type: ignore[import-untyped]
from faster_whisper.transcribe import restore_speech_timestamps  # type: ignore[import-untyped]

from speechpipe import telemetry
from speechpipe.contract import (
    Analysis,
    Caution,
    Language,
    Model,
    Options,
    Quality,
    Segment,
    Stage,
    Transcript,
    Word,
    Work,
)
from speechpipe.errors import ErrorCode, Rejected
from speechpipe.ports import Progress
from workers import speech
from workers.decode import SAMPLE_RATE, Decoded, decode
from workers.speech import Span

#: Thresholds of Radford et al. 2022, section 4.5: beyond them a segment is likely looping or invented.
MAX_COMPRESSION, MIN_LOGPROB, MAX_NO_SPEECH = 2.4, -1.0, 0.6
#: With `MAX_NO_SPEECH` passed, so much certainty is wanted; below `MIN_LOGPROB` faster-whisper drops the window itself.
MIN_LOGPROB_IN_DOUBT = -0.5

#: Pauses up to this stay in what Whisper hears, and so much is left round speech (faster-whisper's own defaults).
_GAP, _PAD = 2.0, 0.4
#: What Whisper takes at once: shorter audio is padded with silence.
WINDOW_SECONDS = 30.0
#: Speech in one call of the engine: bounds its memory to about 1 GB.
BLOCK_SECONDS = 20 * 60
#: Whisper's prompt holds 223 tokens before the task; half of that each when hotwords and prompt are both given.
_PROMPT_TOKENS = 223


@dataclass(frozen=True)
class _Heard:
    """What was heard on one channel."""

    channel: int
    segments: list[Segment]
    language: Language | None
    speech_seconds: float


class WhisperAnalyser:
    """The stt engine, with its model loaded. Safe to call from threads: they take turns at the model."""

    def __init__(
        self,
        model: WhisperModel,
        identity: Model,
        *,
        max_seconds: float,
        cautions: Sequence[Caution] = (),
        block_seconds: float = BLOCK_SECONDS,
    ) -> None:
        self._block_seconds = block_seconds
        self._model = model
        self._identity = identity
        self._max_seconds = max_seconds
        self._cautions = tuple(cautions)
        self._lock = Lock()
        self._windows = 0  # that went through the encoder; under the lock
        model.encode = self._counting(model.encode)

    @property
    def stage(self) -> Stage:
        """Speech to text."""
        return Stage.STT

    def __call__(self, path: Path, options: Options, progress: Progress) -> Analysis:
        """Transcribe a recording. Raises Rejected for media or options that can never work."""
        began = time.perf_counter()
        self._check(options)
        split = options.channels == "split"
        with telemetry.span("decode"):
            decoded = decode(path, split=split, max_seconds=self._max_seconds)
        with telemetry.span("find speech"):
            spans = [speech.find(channel) for channel in decoded.samples]
        waited = time.perf_counter()
        with telemetry.span("wait for the model"):
            self._lock.acquire()
        try:
            waited = (started := time.perf_counter()) - waited
            self._windows = 0
            with telemetry.span("engine"):
                heard = list(self._listen(decoded, spans, options, progress))
            engine_seconds, windows = time.perf_counter() - started, self._windows
        finally:
            self._lock.release()
        progress(1.0)
        transcript = _transcript(heard, named=split and decoded.samples.shape[0] > 1)
        return Analysis(
            value=transcript,
            audio=decoded.audio,
            model=self._identity,
            compute_seconds=time.perf_counter() - began - waited,
            work=_work(engine_seconds, windows, heard),
            cautions=(*self._cautions, *decoded.cautions, *self._remarks(options, decoded, transcript)),
        )

    def _counting(self, encode: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The model's encoder, counted: faster-whisper does not say how many windows it computed."""

        def counted(features: Any) -> Any:
            self._windows += 1
            return encode(features)

        return counted

    def warm_up(self) -> None:
        """Run a second of noise through voice activity detection and every part of the model."""
        noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
        speech.find(noise)
        with self._lock:
            segments, _ = self._model.transcribe(noise, word_timestamps=True, beam_size=5, temperature=0.0)
            list(segments)

    def _check(self, options: Options) -> None:
        """Raise Rejected(invalid_option) for a language that this model does not have."""
        language = options.language
        if language is None:
            return
        if not self._model.model.is_multilingual and language != "en":
            allowed = "en: this worker's model knows English only"
        elif self._model.model.is_multilingual and self._model.hf_tokenizer.token_to_id(f"<|{language}|>") is None:
            allowed = "a language that this worker's model knows"
        else:
            return
        message = f"option 'language': given {language!r}; allowed: auto, or {allowed}"
        raise Rejected(ErrorCode.INVALID_OPTION, message)

    def _listen(
        self, decoded: Decoded, spans: Sequence[Sequence[Span]], options: Options, progress: Progress
    ) -> Iterator[_Heard]:
        todo = sum(speech.total(found) for found in spans) or 1.0
        before = 0.0
        for channel, (samples, found) in enumerate(zip(decoded.samples, spans, strict=True)):
            length = speech.total(found)

            def show(share: float, before: float = before, length: float = length) -> None:
                progress(min(1.0, (before + share * length) / todo))

            segments, language = self._transcribe(channel, samples, found, options, show)
            before += length
            yield _Heard(channel, segments, language, length)

    def _transcribe(
        self,
        channel: int,
        samples: npt.NDArray[np.float32],
        spans: Sequence[Span],
        options: Options,
        show: Callable[[float], None],
    ) -> tuple[list[Segment], Language | None]:
        """One channel, block by block; the language is decided by the first block."""
        language = Language(code=options.language, confidence=1.0) if options.language else None
        segments: list[Segment] = []
        duration = len(samples) / SAMPLE_RATE
        for block in _blocks(spans, duration, self._block_seconds):
            chunks = [{"start": int(s.start * SAMPLE_RATE), "end": int(s.end * SAMPLE_RATE)} for s in block]
            found, info = self._model.transcribe(
                np.concatenate([samples[chunk["start"] : chunk["end"]] for chunk in chunks]),
                language=language.code if language else None,
                task=options.task,
                beam_size=5,
                word_timestamps=True,
                language_detection_segments=3,
                # Hotwords, text so far and answer share 448 tokens: with hotwords the text so far has to go.
                condition_on_previous_text=options.hotwords is None,
                **self._hints(options),
            )
            language = language or Language(code=info.language, confidence=_share(info.language_probability))
            for segment in restore_speech_timestamps(found, chunks, SAMPLE_RATE):
                earliest = segments[-1].end if segments else 0.0
                segments.append(_segment(segment, channel, language.code, earliest, duration))
                show(float(segment.end) / duration)
        return segments, language

    def _hints(self, options: Options) -> dict[str, Any]:
        """Hotwords and prompt, cut so that both fit: faster-whisper would overrun the model's context."""
        both = options.hotwords is not None and options.initial_prompt is not None
        limit = _PROMPT_TOKENS // 2 if both else _PROMPT_TOKENS
        hints: dict[str, Any] = {}
        if options.hotwords is not None:
            encoded = self._model.hf_tokenizer.encode(options.hotwords.strip(), add_special_tokens=False)
            if len(encoded.ids) < limit:
                hints["hotwords"] = options.hotwords
            else:  # cut the text where the last token that fits ends; a token less for the leading space
                hints["hotwords"] = options.hotwords.strip()[: encoded.offsets[limit - 2][1]]
        if options.initial_prompt is not None:
            ids = self._model.hf_tokenizer.encode(" " + options.initial_prompt.strip(), add_special_tokens=False).ids
            hints["initial_prompt"] = ids[-limit:]
        return hints

    def _remarks(self, options: Options, decoded: Decoded, transcript: Transcript) -> Iterator[Caution]:
        if not transcript.segments:
            yield Caution(code="no_speech", message="no speech was found in the recording")
        if options.channels == "split" and decoded.audio.channels == 1:
            yield Caution(code="mono_split", message="channels=split was asked for, but the recording has one channel")
        name = self._identity.name.lower()
        weak = "turbo" in name or "distil" in name or not self._model.model.is_multilingual
        if options.task == "translate" and weak:
            yield Caution(
                code="translate_untrained",
                message="this worker's model was not trained to translate: the text may be in the language spoken",
            )


def _work(engine_seconds: float, windows: int, heard: Sequence[_Heard]) -> Work:
    """Whisper computes 30 seconds at a time, however little of it is speech; and three times more for the language."""
    padded = windows * WINDOW_SECONDS
    return Work(
        engine_seconds=engine_seconds,
        rows=windows,
        row_slots=windows,
        filled_seconds=min(sum(one.speech_seconds for one in heard), padded),
        padded_seconds=padded,
    )


def _blocks(spans: Sequence[Span], duration: float, longest: float) -> Iterator[list[Span]]:
    """Speech as Whisper hears it, in blocks of at most `longest` seconds that begin and end in a pause.

    Speech without a pause may make a longer one.
    """
    joined = speech.join(spans, gap=0.0, pad=_PAD, duration=duration)
    block: list[Span] = []
    for span in joined:
        if block and span.end - block[0].start > longest:
            yield speech.join(block, gap=_GAP - 2 * _PAD, pad=0.0, duration=duration)
            block = []
        block.append(span)
    if block:
        yield speech.join(block, gap=_GAP - 2 * _PAD, pad=0.0, duration=duration)


def _segment(found: Any, channel: int, language: str, earliest: float, duration: float) -> Segment:
    """A faster-whisper segment in the contract's words, in order and inside the recording."""
    words: list[Word] = []
    at = min(earliest, duration)
    for word in found.words or ():
        start = min(max(float(word.start), at), duration)
        at = min(max(float(word.end), start), duration)
        words.append(Word(word=word.word.strip(), start=start, end=at, confidence=_share(word.probability)))
    start = words[0].start if words else min(max(float(found.start), at), duration)
    end = words[-1].end if words else min(max(float(found.end), start), duration)
    confidence = sum(word.confidence for word in words) / len(words) if words else math.exp(min(0.0, found.avg_logprob))
    return Segment(
        id=0,
        start=start,
        end=end,
        channel=channel,
        language=language,
        text=found.text.strip(),
        confidence=_share(confidence),
        quality=_quality(found),
        words=tuple(words),
    )


def _quality(found: Any) -> Quality:
    logprob, no_speech = float(found.avg_logprob), _share(found.no_speech_prob)
    doubtful = no_speech > MAX_NO_SPEECH and logprob < MIN_LOGPROB_IN_DOUBT
    return Quality(
        avg_logprob=round(logprob, 4),
        no_speech_prob=no_speech,
        compression_ratio=round(float(found.compression_ratio), 3),
        temperature=float(found.temperature or 0.0),
        suspect=found.compression_ratio > MAX_COMPRESSION or logprob < MIN_LOGPROB or doubtful,
    )


def _transcript(heard: Sequence[_Heard], *, named: bool) -> Transcript:
    """All channels as one list in the order of time; `named`: segments say which channel speaks."""
    merged = sorted((s for one in heard for s in one.segments), key=lambda s: (s.start, s.channel, s.end))
    segments = tuple(
        segment.model_copy(update={"id": number, "speaker": f"channel {segment.channel}" if named else None})
        for number, segment in enumerate(merged)
    )
    most = max((one for one in heard if one.segments), key=lambda one: _words(one.segments), default=None)
    return Transcript(
        language=most.language if most else None,
        segments=segments,
        speech_seconds=sum(one.speech_seconds for one in heard),
    )


def _words(segments: Iterable[Segment]) -> int:
    return sum(len(segment.words) for segment in segments)


def _share(value: float) -> float:
    """A probability as the contract wants it: float rounding can leave 0 to 1 by a hair."""
    return min(1.0, max(0.0, float(value)))
