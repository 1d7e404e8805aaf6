"""Turn the tokens of rows into segments with word times, by faster-whisper's rules, for a whole batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import ctranslate2  # type: ignore[import-untyped]
from faster_whisper import WhisperModel  # type: ignore[import-untyped]
from faster_whisper.tokenizer import Tokenizer  # type: ignore[import-untyped]
from faster_whisper.transcribe import Segment, Word  # type: ignore[import-untyped]

from workers.whisper.checks import DecodingResult

_PREPENDED, _APPENDED = "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、"  # faster-whisper's defaults
#: Segments longer than this many seconds are cut after their sentences, which end with one of these characters.
_LONG_SEGMENT, _SENTENCE_ENDS = 10.0, (".", "!", "?", "…", "。", "！", "？")


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
) -> list[list[Segment]]:
    """Segments of rows with the same start sequence, in seconds from the start of the row.

    `frames`: the frames of audio in each row.
    """
    rows = [_split(model, tokenizer, result, count) for result, count in zip(results, frames, strict=True)]
    texts = [[token for piece in row for token in piece["tokens"] if token < tokenizer.eot] for row in rows]
    alignments = model.find_alignment(tokenizer, texts, encoded, [max(2, count) for count in frames])
    for row, alignment in zip(rows, alignments, strict=True):
        WhisperModel.add_word_timestamps(
            _Aligned(model, alignment), [row], tokenizer, None, 0, _PREPENDED, _APPENDED, 0.0
        )
    return [
        [part for segment in _segments(tokenizer, row, result) for part in _sentences(segment)]
        for row, result in zip(rows, results, strict=True)
    ]


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
        if piece["start"] == piece["end"] or not text.strip():
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
            temperature=result.temperature,
            words=[Word(**word) for word in piece.get("words", ())],
        )


def _sentences(segment: Segment) -> Iterator[Segment]:
    """Cut a long segment after its sentences, since Whisper may put a whole row into one segment."""
    words: list[Word] = []
    for word in segment.words if segment.end - segment.start > _LONG_SEGMENT else ():
        words.append(word)
        if word.word.endswith(_SENTENCE_ENDS) and word is not segment.words[-1]:
            yield _part(segment, words)
            words = []
    yield _part(segment, words) if words else segment


def _part(segment: Segment, words: list[Word]) -> Segment:
    text = "".join(word.word for word in words)
    return replace(segment, start=words[0].start, end=words[-1].end, text=text, words=words)
