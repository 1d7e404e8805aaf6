"""Speech to text: Whisper over rows of speech, batched with those of other recordings.

A recording is decoded in another process (`preparation`); its speech comes in stretches while that goes on
(`stretches`), becomes rows (`hearing`) that share batches with those of others (`batcher`), and each row gets Whisper's
own checks (`whisper_rows`). Here: options, prompts, and the transcript. Words never run backwards or past the end, and
every segment says whether it looks invented.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from faster_whisper import WhisperModel  # type: ignore[import-untyped]

from speechpipe.backends.ports import Progress
from speechpipe.contract import (
    Analysis,
    Audio,
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
from speechpipe.contract.errors import ErrorCode, Rejected
from speechpipe.observe import spans
from workers.audio import vad
from workers.audio.chunks import Rules, stretches
from workers.audio.decoder import SAMPLE_RATE, as_float
from workers.audio.reader import prepare
from workers.batcher import Batcher
from workers.whisper.checks import MAX_COMPRESSION, MAX_NO_SPEECH, MIN_LOGPROB
from workers.whisper.rows import WINDOW_FRAMES, Heard, Row, WhisperRows
from workers.whisper.transcription import Channel, Hearing, Shown

#: With `MAX_NO_SPEECH` passed, so much certainty is wanted; below `MIN_LOGPROB` a row is dropped as silence.
MIN_LOGPROB_IN_DOUBT = -0.5

#: Pauses up to this stay in what Whisper hears, and so much is left round speech (faster-whisper's own defaults).
_GAP, _PAD = 2.0, 0.4
#: Audio in one row. Whisper hears 30 s; a little silence behind the last word helps it to end.
ROW_SECONDS = 29.0
#: Longer speech is cut at a pause, so that rows get full: what is cut here goes on in the same row if there is room.
_STRETCH_SECONDS = 5.0
#: Rows in one pass of the model.
ROWS_PER_BATCH = {"cpu": 8, "cuda": 32}
#: Audio of all recordings that may be under way at once: what is let in has to end within one request, and an L4 is
#: taken for 90 times as fast as speech.
_SECONDS_IN_FLIGHT = 12 * 3600.0
#: Whisper's prompt holds 223 tokens before the task; half of that each when hotwords and prompt are both given.
_PROMPT_TOKENS = 223
#: Taken for the length of a recording whose header does not say.
_USUAL_SECONDS = 600.0


@dataclass(frozen=True)
class _Heard:
    """What was heard on one channel."""

    channel: int
    segments: list[Segment]
    language: Language | None
    speech_seconds: float


class WhisperAnalyser:
    """The stt engine, with its model loaded. Safe to call from threads: their rows share batches."""

    def __init__(
        self,
        model: WhisperModel,
        identity: Model,
        *,
        max_seconds: float,
        cautions: Sequence[Caution] = (),
        row_seconds: float = ROW_SECONDS,
        windows: Sequence[int] = (WINDOW_FRAMES,),
        decoding: dict[str, Any] | None = None,
    ) -> None:
        """`windows` and `decoding`: see WhisperRows; shorter windows are for models that were shown to bear them."""
        self._model = model
        self._identity = identity
        self._max_seconds = max_seconds
        self._cautions = tuple(cautions)
        self._row_seconds = row_seconds
        self._rows = WhisperRows(model, windows=windows, **(decoding or {}))
        self._batcher = Batcher[Row, Heard](
            self._rows.run,
            key=self._rows.key,
            seconds=lambda row: row.padded_seconds,
            rows_per_batch=ROWS_PER_BATCH["cuda" if identity.device.startswith("cuda") else "cpu"],
            seconds_in_flight=_SECONDS_IN_FLIGHT,
            at_once=model.model.num_workers,
        )

    @property
    def stage(self) -> Stage:
        """Speech to text."""
        return Stage.STT

    def __call__(self, path: Path, options: Options, progress: Progress) -> Analysis:
        """Transcribe a recording. Raises Rejected for what can never work, Busy while there is too much to do."""
        began = time.perf_counter()
        self._check(options)
        split = options.channels == "split"
        rules = Rules(gap=_GAP, pad=_PAD, longest=min(_STRETCH_SECONDS, self._row_seconds))
        with prepare(path, split=split, max_seconds=self._max_seconds) as recording:
            shown = Shown(recording, progress)
            seconds = recording.channels * (recording.expected_seconds or _USUAL_SECONDS)
            with self._batcher.admit(seconds, shown.again) as submitter:
                hearing = Hearing(
                    self._rows,
                    submitter,
                    options,
                    language=self._language(options),
                    hints=self._prompt(options),
                    row_seconds=self._row_seconds,
                    show=lambda: shown.more(hearing.channels.values()),
                )
                with spans.span("prepare"):  # the first rows run while the rest is decoded
                    for stretch in stretches(recording, rules):
                        hearing.take(stretch)
                shown.seconds = recording.audio.duration
                with spans.span("engine"):
                    hearing.finish()
            audio, cautions = recording.audio, recording.cautions
        progress(1.0)
        heard = [_heard(channel, audio.duration) for channel in hearing.channels.values()]
        transcript = _transcript(heard, named=split and audio.channels > 1)
        share, spent = submitter.share, time.perf_counter() - began
        return Analysis(
            value=transcript,
            audio=audio,
            model=self._identity,
            # Rows may run while this thread prepares the next ones: never more than there was.
            compute_seconds=min(spent, spent - hearing.waited + share.engine_seconds),
            work=Work(
                engine_seconds=share.engine_seconds,
                rows=share.rows,
                row_slots=max(share.rows, round(share.slots)),
                filled_seconds=hearing.filled_seconds,
                padded_seconds=hearing.padded_seconds,
            ),
            cautions=(*self._cautions, *cautions, *self._remarks(options, audio, transcript)),
        )

    def warm_up(self) -> None:
        """Run a second of noise through voice activity detection and every part of the model."""
        noise = np.random.default_rng(0).normal(0, 3000, SAMPLE_RATE).astype(np.int16)
        vad.find(as_float(noise))
        row = self._rows.row(noise)
        self._rows.run([row])
        self._rows.run([replace(row, language="en")])

    def _language(self, options: Options) -> Language | None:
        """What is known of the language before anything is heard."""
        if options.language is not None:
            return Language(code=options.language, confidence=1.0)
        return None if self._model.model.is_multilingual else Language(code="en", confidence=1.0)

    def _prompt(self, options: Options) -> tuple[int, ...]:
        """Hotwords and prompt as tokens, in the order of faster-whisper's prompt."""
        hints = self._hints(options)
        tokenizer, ids = self._model.hf_tokenizer, list(hints.get("initial_prompt", ()))
        if "hotwords" in hints:
            ids = tokenizer.encode(" " + hints["hotwords"].strip(), add_special_tokens=False).ids + ids
        return tuple(ids)

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

    def _remarks(self, options: Options, audio: Audio, transcript: Transcript) -> Iterator[Caution]:
        if not transcript.segments:
            yield Caution(code="no_speech", message="no speech was found in the recording")
        if options.channels == "split" and audio.channels == 1:
            yield Caution(code="mono_split", message="channels=split was asked for, but the recording has one channel")
        name = self._identity.name.lower()
        weak = "turbo" in name or "distil" in name or not self._model.model.is_multilingual
        if options.task == "translate" and weak:
            yield Caution(
                code="translate_untrained",
                message="this worker's model was not trained to translate: the text may be in the language spoken",
            )


def _heard(channel: Channel, duration: float) -> _Heard:
    segments: list[Segment] = []
    language = channel.language
    for found in channel.segments:
        earliest = segments[-1].end if segments else 0.0
        segments.append(_segment(found, channel.number, language.code if language else "", earliest, duration))
    return _Heard(channel.number, segments, language, channel.speech_seconds)


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
