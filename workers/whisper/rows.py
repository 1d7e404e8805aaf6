"""Transcribe batches of rows with Whisper. A row is up to 30 s of speech, of any recording, language and task.

faster-whisper batches only within one file, and then skips its own checks. CTranslate2 underneath batches anything of
the same shape. This module calls CTranslate2 (`encode`, `detect_language`, `generate`, `align`) for a batch of rows.
For each row it does what `WhisperModel.transcribe` does for a window: checks, further attempts, words with times. A
row's result does not depend on the other rows in its batch.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

import ctranslate2  # type: ignore[import-untyped]
import numpy as np
from faster_whisper import WhisperModel  # type: ignore[import-untyped]
from faster_whisper.tokenizer import Tokenizer  # type: ignore[import-untyped]
from faster_whisper.transcribe import Segment, get_suppressed_tokens  # type: ignore[import-untyped]

from workers.audio.decoder import SAMPLE_RATE, Block
from workers.whisper import hints, words
from workers.whisper.checks import ATTEMPTS, DecodingResult, best, decoding_result, is_silence
from workers.whisper.encoder_output import Array, EncoderOutput
from workers.whisper.features import LogMel
from workers.whisper.log_mel import HOP

#: Frames of a full Whisper window: 30 s at 100 per second.
WINDOW_FRAMES = 3000
#: Text of a shorter window that is less likely is compared with that of the full one.
UNSURE = -0.3
_MAX_INITIAL_TIMESTAMP = 50  #: 1 s. Rows start with speech, so a later first segment is wrong (Whisper's own rule)


@dataclass(frozen=True)
class Row:
    """Speech that Whisper decodes in one go, and what is known about it."""

    samples: Block  #: 16 kHz, shape (n,), at most 30 s
    task: str = "transcribe"
    language: str | None = None  #: None: only detect the language
    hints: tuple[int, ...] = ()  #: tokens of hotwords and prompt
    window: int = WINDOW_FRAMES  #: frames that the encoder computes, padding included
    encoded: Array | None = None  #: encoder output if already computed, shape (frames / 2, width)

    @property
    def frames(self) -> int:
        """Frames of audio, 100 per second."""
        return max(1, len(self.samples) // HOP)

    @property
    def seconds(self) -> float:
        """Seconds of audio, without padding."""
        return self.frames * HOP / SAMPLE_RATE

    @property
    def padded_seconds(self) -> float:
        """Seconds that the encoder computes."""
        return self.window * HOP / SAMPLE_RATE


@dataclass(frozen=True)
class RowResult:
    """The result for a row: `languages` and `encoded` if its language was unknown, else `segments`."""

    segments: tuple[Segment, ...] = ()  #: faster-whisper's, in seconds from the start of the row
    truncated: bool = False  #: whether the text stops at the model's limit of tokens
    hints_removed: bool = False  #: whether the hints were written though nobody said them, and so left out
    languages: tuple[tuple[str, float], ...] = ()  #: code and probability, likeliest first
    encoded: Array | None = None

    @property
    def text(self) -> str:
        """The text of all segments."""
        return "".join(segment.text for segment in self.segments)

    @property
    def logprob(self) -> float:
        """The mean log probability of its tokens; minus infinity without text."""
        return max((float(segment.avg_logprob) for segment in self.segments), default=-math.inf)


class WhisperRows:
    """A loaded Whisper model that transcribes rows."""

    def __init__(
        self,
        model: WhisperModel,
        *,
        beam_size: int = 5,
        attempts: Sequence[Mapping[str, Any]] = ATTEMPTS,
        windows: Sequence[int] = (WINDOW_FRAMES,),
        timestamps: bool = False,
        generate: dict[str, Any] | None = None,
    ) -> None:
        """`windows`: the lengths in frames that a row may be padded to, ascending, 3000 last.

        `timestamps`: whether the model writes timestamps into its text. What it says after the last pair of them is
        lost, so only models that cannot do without should. `generate`: arguments for ctranslate2's `generate` that
        override Whisper's defaults.
        """
        self._model = model
        self._beam_size = beam_size
        self._attempts = tuple(attempts)
        self._timestamps = timestamps
        self._windows = tuple(windows)
        self._generate_arguments = generate or {}
        self._log_mel = LogMel(model.feature_extractor.mel_filters, model.model.device)
        self._tokenizers: dict[tuple[str, str | None], Tokenizer] = {}
        self._lock = Lock()

    def row(self, samples: Block, **known: Any) -> Row:
        """Make a row from 16 kHz samples, shape (n,), in the shortest window unless `known` names one.

        Anything after 30 s is cut off.
        """
        row = Row(samples[: WINDOW_FRAMES * HOP], **known)
        return row if "window" in known else replace(row, window=next(n for n in self._windows if n >= row.frames))

    @staticmethod
    def key(row: Row) -> Hashable:
        """What rows of one batch must have in common: the window, what is asked, and the length of the prompt."""
        return row.window, row.language is None, len(row.hints)

    def run(self, rows: Sequence[Row]) -> list[RowResult]:
        """Transcribe rows that share a `key`, or detect their languages. Results are in the rows' order."""
        encoded = self._encode(rows)
        if rows[0].language is None:
            return self._languages(encoded)
        results = self._segments(rows, encoded, self._decode(rows, encoded))
        results = self._without_invented_hints(rows, encoded, results)
        return self._surer_in_full_window(rows, results)

    def warm_up(self, row: Row) -> None:
        """Run every part of the model on a row once: noise would fail the checks, and be decoded again and again."""
        encoded = self._encode([row])
        if self._model.model.is_multilingual:  # other models cannot detect a language
            self._languages(encoded)
        row = replace(row, language="en")
        self._segments([row], encoded, self._generate([row], encoded.view, 0))

    def tokenizer(self, task: str, language: str | None) -> Tokenizer:
        """The tokenizer with the start sequence of a task and a language."""
        model = self._model
        with self._lock:
            if (task, language) not in self._tokenizers:
                self._tokenizers[task, language] = Tokenizer(
                    model.hf_tokenizer, model.model.is_multilingual, task=task, language=language
                )
            return self._tokenizers[task, language]

    def _encode(self, rows: Sequence[Row]) -> EncoderOutput:
        """Encode the rows, except those that have their encoder output already."""
        missing = [index for index, row in enumerate(rows) if row.encoded is None]
        if not missing:
            return EncoderOutput(np.stack([row.encoded for row in rows if row.encoded is not None]))
        computed = self._encode_samples([rows[index].samples for index in missing], rows[0].window)
        if len(missing) == len(rows):
            return computed
        by_index = dict(zip(missing, computed.host, strict=True))
        return EncoderOutput(
            np.stack([by_index[i] if row.encoded is None else row.encoded for i, row in enumerate(rows)])
        )

    def _encode_samples(self, rows: Sequence[Block], window: int) -> EncoderOutput:
        model = self._model.model
        if model.device == "cpu":  # one row keeps all cores busy, and a batch's attention scores would leave the cache
            return EncoderOutput(np.concatenate([np.array(model.encode(self._log_mel([row], window))) for row in rows]))
        return EncoderOutput(model.encode(self._log_mel(rows, window)))

    def _languages(self, encoded: EncoderOutput) -> list[RowResult]:
        detected = self._model.model.detect_language(encoded.view)
        return [
            RowResult(languages=tuple((token[2:-2], float(share)) for token, share in row), encoded=encoded.host[index])
            for index, row in enumerate(detected)
        ]

    def _decode(self, rows: Sequence[Row], encoded: EncoderOutput) -> list[DecodingResult]:
        """Decode each row's best text. Rows that fail the checks are decoded again, in the next way of `attempts`.

        Then without hints, which may be what leads the model astray.
        """
        results: list[list[DecodingResult]] = [[] for _ in rows]
        failing = list(range(len(rows)))
        for attempt in range(len(self._attempts)):
            generated = self._generate([rows[index] for index in failing], encoded.select(failing), attempt)
            for index, result in zip(failing, generated, strict=True):
                results[index].append(result)
            failing = [index for index in failing if results[index][-1].failed]
            if not failing:
                break
        return [best(of_row) for of_row in results]

    def _without_invented_hints(
        self, rows: Sequence[Row], encoded: EncoderOutput, results: list[RowResult]
    ) -> list[RowResult]:
        """The results; those of rows with hints that nobody said are replaced by what is heard without hints."""
        texts = [self._model.hf_tokenizer.decode(row.hints) if row.hints else "" for row in rows]
        doubtful = [index for index, text in enumerate(texts) if text and hints.doubtful(results[index].segments, text)]
        if not doubtful:
            return results
        bare = [replace(rows[index], hints=()) for index in doubtful]
        selected = EncoderOutput(encoded.host[doubtful])
        without = self._segments(bare, selected, self._decode(bare, selected))
        for index, result in zip(doubtful, without, strict=True):
            if hints.invented(results[index].text, result.text, texts[index]):
                results[index] = replace(result, hints_removed=True)
        return results

    def _surer_in_full_window(self, rows: Sequence[Row], results: list[RowResult]) -> list[RowResult]:
        """The results; unsure ones of shorter windows are replaced by those of the full window if these are surer."""
        unsure = [n for n, row in enumerate(rows) if row.window < WINDOW_FRAMES and results[n].logprob < UNSURE]
        if unsure:
            again = self.run([replace(rows[n], window=WINDOW_FRAMES, encoded=None) for n in unsure])
            for index, result in zip(unsure, again, strict=True):
                results[index] = max(results[index], result, key=lambda one: one.logprob)
        return results

    def _generate(self, rows: Sequence[Row], encoded: ctranslate2.StorageView, attempt: int) -> list[DecodingResult]:
        tokenizers = [self.tokenizer(row.task, row.language) for row in rows]
        prompts = [
            [
                *((tokenizer.sot_prev, *row.hints) if row.hints and not attempt else ()),
                *tokenizer.sot_sequence,
                *(() if self._timestamps else (tokenizer.no_timestamps,)),
            ]
            for row, tokenizer in zip(rows, tokenizers, strict=True)
        ]
        options: dict[str, Any] = {
            "beam_size": self._beam_size,
            "max_length": self._model.max_length,
            "suppress_tokens": get_suppressed_tokens(tokenizers[0], [-1]),
            **self._attempts[attempt],
            **self._generate_arguments,
        }
        generated = self._model.model.generate(
            encoded,
            prompts,
            return_scores=True,
            return_no_speech_prob=True,
            max_initial_timestamp_index=_MAX_INITIAL_TIMESTAMP,
            **options,
        )
        limit = options["max_length"] // 2
        return [
            decoding_result(one, tokenizer, attempt, seconds=row.seconds, limit=limit)
            for one, tokenizer, row in zip(generated, tokenizers, rows, strict=True)
        ]

    def _segments(
        self, rows: Sequence[Row], encoded: EncoderOutput, results: Sequence[DecodingResult]
    ) -> list[RowResult]:
        """Give each row's text its word times. Rows with the same start sequence are aligned together."""
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, (row, result) in enumerate(zip(rows, results, strict=True)):
            if not is_silence(result):
                groups[tuple(self.tokenizer(row.task, row.language).sot_sequence)].append(index)
        row_results = [RowResult()] * len(rows)
        for group in groups.values():
            tokenizer = self.tokenizer(rows[group[0]].task, rows[group[0]].language)
            cut = words.segments_of(
                self._model,
                tokenizer,
                encoded.select(group),
                [results[index] for index in group],
                [rows[index].frames for index in group],
                timestamps=self._timestamps,
            )
            for index, segments in zip(group, cut, strict=True):
                row_results[index] = RowResult(segments=tuple(segments), truncated=results[index].truncated)
        return row_results
