"""Turn the tokens of rows into segments with word times, by faster-whisper's rules, for a whole batch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import ctranslate2  # type: ignore[import-untyped]
from faster_whisper import WhisperModel  # type: ignore[import-untyped]
from faster_whisper.tokenizer import Tokenizer  # type: ignore[import-untyped]
from faster_whisper.transcribe import Segment, Word  # type: ignore[import-untyped]

from workers.whisper.checks import DecodingResult

#: Text without a letter or digit, such as "..." or a note, is not what anybody said.
_SAID = re.compile(r"\w")
_PREPENDED, _APPENDED = "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、"  # faster-whisper's defaults


class _Aligned:
    """Stands in for the model in `WhisperModel.add_word_timestamps`, for a row whose alignment is already known.

    faster-whisper carries the end of the last word over to the next row. Here each row starts from zero.
    """

    def __init__(self, model: WhisperModel, alignment: list[dict[str, Any]]) -> None:
        self.frames_per_second = model.frames_per_second
        self._alignment = alignment

    def find_alignment(self, *_: Any) -> list[list[dict[str, Any]]]:
        return [self._alignment]


def segments_of(
    model: WhisperModel,
    tokenizer: Tokenizer,
    encoded: ctranslate2.StorageView,
    results: Sequence[DecodingResult],
    frames: Sequence[int],
    *,
    timestamps: bool,
) -> list[list[Segment]]:
    """Segments of rows with the same start sequence, in seconds from the start of the row.

    `frames`: the frames of audio in each row. Without `timestamps` in the text, a row is one segment.
    """
    split = _split if timestamps else _whole
    rows = [split(model, tokenizer, result, count) for result, count in zip(results, frames, strict=True)]
    texts = [[token for piece in row for token in piece["tokens"] if token < tokenizer.eot] for row in rows]
    alignments = model.find_alignment(tokenizer, texts, encoded, [max(2, count) for count in frames])
    for row, alignment in zip(rows, alignments, strict=True):
        WhisperModel.add_word_timestamps(
            _Aligned(model, alignment), [row], tokenizer, None, 0, _PREPENDED, _APPENDED, 0.0
        )
    return [list(_segments(tokenizer, row, result)) for row, result in zip(rows, results, strict=True)]


def _whole(model: WhisperModel, tokenizer: Tokenizer, result: DecodingResult, frames: int) -> list[dict[str, Any]]:
    """A row as one piece."""
    tokens = [token for token in result.tokens if token < tokenizer.eot]
    return [{"seek": 0, "start": 0.0, "end": frames / model.frames_per_second, "tokens": tokens}]


def _split(model: WhisperModel, tokenizer: Tokenizer, result: DecodingResult, frames: int) -> list[dict[str, Any]]:
    """Cut a row where the model put timestamps."""
    pieces, _, _ = model._split_segments_by_timestamps(
        tokenizer=tokenizer,
        tokens=list(result.tokens),
        time_offset=0.0,
        segment_size=frames,
        segment_duration=frames / model.frames_per_second,
        seek=0,
    )
    for piece in pieces:
        piece["seek"] = 0
    return list(pieces)


def _segments(tokenizer: Tokenizer, pieces: Sequence[dict[str, Any]], result: DecodingResult) -> Iterator[Segment]:
    for piece in pieces:
        text = tokenizer.decode(piece["tokens"])
        if piece["start"] == piece["end"] or not _SAID.search(text):
            continue
        yield Segment(
            id=0,
            seek=0,
            start=piece["start"],
            end=piece["end"],
            text=text,
            tokens=piece["tokens"],
            avg_logprob=result.avg_logprob,
            no_speech_prob=result.no_speech_prob,
            compression_ratio=result.compression_ratio,
            temperature=0.0,
            words=[Word(**word) for word in piece.get("words", ())],
        )
