"""Whisper over rows: up to 30 s of speech each, of any recordings, languages and tasks, in one batch.

faster-whisper batches within one file and drops its own checks there; CTranslate2 below it batches whatever shares a
shape. This module calls CTranslate2 (`encode`, `detect_language`, `generate`, `align`) for a batch of rows, and gives
each row what `WhisperModel.transcribe` gives a window: checks, temperature fallback, segments, word times. A row's
answer does not depend on its neighbours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

import ctranslate2  # type: ignore[import-untyped]
import numpy as np
from faster_whisper import WhisperModel  # type: ignore[import-untyped]
from faster_whisper.tokenizer import Tokenizer  # type: ignore[import-untyped]
from faster_whisper.transcribe import Segment, get_suppressed_tokens  # type: ignore[import-untyped]

from workers.audio.decoder import SAMPLE_RATE, Block
from workers.whisper import words
from workers.whisper.checks import BEST_OF, TEMPERATURES, Attempt, attempt_of, best, is_silence
from workers.whisper.encoder_output import Array, Encoded
from workers.whisper.features import LogMel
from workers.whisper.log_mel import HOP

#: Frames of a whole window: 30 s at 100 a second.
WINDOW_FRAMES = 3000
_MAX_INITIAL_TIMESTAMP = 50  #: a row begins with speech: a first segment later than 1 s is wrong (Whisper's own rule)


@dataclass(frozen=True)
class Row:
    """Speech to be heard in one go, with what is known of it."""

    samples: Block  #: 16 kHz, shape (n,), at most 30 s
    task: str = "transcribe"
    language: str | None = None  #: None: the row is only asked for its language
    hints: tuple[int, ...] = ()  #: tokens of hotwords and prompt
    window: int = WINDOW_FRAMES  #: frames that the encoder computes, padding included
    encoded: Array | None = None  #: encoder output, shape (frames / 2, width), where it is there already

    @property
    def frames(self) -> int:
        """Of audio, 100 a second."""
        return max(1, len(self.samples) // HOP)

    @property
    def seconds(self) -> float:
        """Of audio, without padding."""
        return self.frames * HOP / SAMPLE_RATE

    @property
    def padded_seconds(self) -> float:
        """What the encoder computes for it."""
        return self.window * HOP / SAMPLE_RATE


@dataclass(frozen=True)
class Heard:
    """A row's answer: `languages` and `encoded` of a row without a language, else `segments`."""

    segments: tuple[Segment, ...] = ()  #: as faster-whisper's, in seconds from the row's beginning
    languages: tuple[tuple[str, float], ...] = ()  #: code and probability, the likeliest first
    encoded: Array | None = None


class WhisperRows:
    """A loaded model that hears rows."""

    def __init__(
        self,
        model: WhisperModel,
        *,
        beam_size: int = 5,
        temperatures: Sequence[float] = TEMPERATURES,
        windows: Sequence[int] = (WINDOW_FRAMES,),
        generate: dict[str, Any] | None = None,
    ) -> None:
        """`windows`: frames that a row may be padded to, ascending, 3000 last.

        `generate`: arguments of ctranslate2's `generate` that differ from Whisper's defaults.
        """
        self._model = model
        self._beam_size = beam_size
        self._temperatures = tuple(temperatures)
        self._windows = tuple(windows)
        self._generate_arguments = generate or {}
        self._log_mel = LogMel(model.feature_extractor.mel_filters, model.model.device)
        self._tokenizers: dict[tuple[str, str | None], Tokenizer] = {}
        self._lock = Lock()

    def row(self, samples: Block, **known: Any) -> Row:
        """Make a row of 16 kHz samples, shape (n,), at most 30 s; the rest is cut off."""
        row = Row(samples[: WINDOW_FRAMES * HOP], **known)
        return replace(row, window=next(window for window in self._windows if window >= row.frames))

    @staticmethod
    def key(row: Row) -> Hashable:
        """What rows of one batch must share: the encoder's length, and prompts of one length."""
        return row.window, row.language is None, len(row.hints)

    def run(self, rows: Sequence[Row]) -> list[Heard]:
        """Hear rows that share a `key`, in their order."""
        encoded = self._encode(rows)
        if rows[0].language is None:
            return self._languages(encoded)
        attempts = self._decode(rows, encoded)
        return self._segments(rows, encoded, attempts)

    def tokenizer(self, task: str, language: str | None) -> Tokenizer:
        """The tokenizer with the start sequence of a task and a language."""
        model = self._model
        with self._lock:
            if (task, language) not in self._tokenizers:
                self._tokenizers[task, language] = Tokenizer(
                    model.hf_tokenizer, model.model.is_multilingual, task=task, language=language
                )
            return self._tokenizers[task, language]

    def _encode(self, rows: Sequence[Row]) -> Encoded:
        """Encoder output; what is there already is not computed again."""
        missing = [index for index, row in enumerate(rows) if row.encoded is None]
        if not missing:
            return Encoded(np.stack([row.encoded for row in rows if row.encoded is not None]))
        made = self._encode_samples([rows[index].samples for index in missing], rows[0].window)
        if len(missing) == len(rows):
            return made
        there = dict(zip(missing, made.host, strict=True))
        return Encoded(np.stack([there[i] if row.encoded is None else row.encoded for i, row in enumerate(rows)]))

    def _encode_samples(self, rows: Sequence[Block], window: int) -> Encoded:
        model = self._model.model
        if model.device == "cpu":  # a row fills the cores, and a batch's attention scores leave the cache
            return Encoded(np.concatenate([np.array(model.encode(self._log_mel([row], window))) for row in rows]))
        return Encoded(model.encode(self._log_mel(rows, window)))

    def _languages(self, encoded: Encoded) -> list[Heard]:
        found = self._model.model.detect_language(encoded.view)
        return [
            Heard(languages=tuple((token[2:-2], float(share)) for token, share in row), encoded=encoded.host[index])
            for index, row in enumerate(found)
        ]

    def _decode(self, rows: Sequence[Row], encoded: Encoded) -> list[Attempt]:
        """The best text of each row: what fails the checks is tried again, warmer, from the same encoder output."""
        attempts: list[list[Attempt]] = [[] for _ in rows]
        failing = list(range(len(rows)))
        for temperature in self._temperatures:
            found = self._generate([rows[index] for index in failing], encoded.some(failing), temperature)
            for index, attempt in zip(failing, found, strict=True):
                attempts[index].append(attempt)
            failing = [index for index in failing if attempts[index][-1].failed]
            if not failing:
                break
        return [best(tried) for tried in attempts]

    def _generate(self, rows: Sequence[Row], encoded: ctranslate2.StorageView, temperature: float) -> list[Attempt]:
        tokenizers = [self.tokenizer(row.task, row.language) for row in rows]
        prompts = [
            [*((tokenizer.sot_prev, *row.hints) if row.hints else ()), *tokenizer.sot_sequence]
            for row, tokenizer in zip(rows, tokenizers, strict=True)
        ]
        how: dict[str, Any] = {"beam_size": self._beam_size}
        if temperature > 0:
            how = {"beam_size": 1, "num_hypotheses": BEST_OF, "sampling_topk": 0, "sampling_temperature": temperature}
        how |= {
            "max_length": self._model.max_length,
            "suppress_tokens": get_suppressed_tokens(tokenizers[0], [-1]),
            **self._generate_arguments,
        }
        results = self._model.model.generate(
            encoded,
            prompts,
            return_scores=True,
            return_no_speech_prob=True,
            max_initial_timestamp_index=_MAX_INITIAL_TIMESTAMP,
            **how,
        )
        return [
            attempt_of(result, tokenizer, temperature) for result, tokenizer in zip(results, tokenizers, strict=True)
        ]

    def _segments(self, rows: Sequence[Row], encoded: Encoded, attempts: Sequence[Attempt]) -> list[Heard]:
        """Segments with word times; rows of one start sequence are aligned together."""
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, (row, attempt) in enumerate(zip(rows, attempts, strict=True)):
            if not is_silence(attempt):
                groups[tuple(self.tokenizer(row.task, row.language).sot_sequence)].append(index)
        heard = [Heard()] * len(rows)
        for group in groups.values():
            tokenizer = self.tokenizer(rows[group[0]].task, rows[group[0]].language)
            cut = words.segments_of(
                self._model,
                tokenizer,
                encoded.some(group),
                [attempts[index] for index in group],
                [rows[index].frames for index in group],
            )
            for index, segments in zip(group, cut, strict=True):
                heard[index] = replace(heard[index], segments=tuple(segments))
        return heard
