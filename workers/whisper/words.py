"""From a row's tokens to segments with words: faster-whisper's rules, for a batch of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import ctranslate2  # type: ignore[import-untyped]
from faster_whisper import WhisperModel  # type: ignore[import-untyped]
from faster_whisper.tokenizer import Tokenizer  # type: ignore[import-untyped]
from faster_whisper.transcribe import Segment, Word  # type: ignore[import-untyped]

from workers.whisper.checks import Attempt

_PREPENDED, _APPENDED = "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、"  # faster-whisper's defaults
#: A segment of more seconds is cut behind sentences, which end so.
_LONG_SEGMENT, _SENTENCE_ENDS = 10.0, (".", "!", "?", "…", "。", "！", "？")


class _Aligned:
    """What `WhisperModel.add_word_timestamps` needs of a model, for one row of a batch that is aligned already.

    Its rules carry the end of the last word from row to row; here each row begins anew.
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
    attempts: Sequence[Attempt],
    frames: Sequence[int],
) -> list[list[Segment]]:
    """Segments of rows that share a start sequence, `frames` of audio each, in seconds from the row's beginning."""
    rows = [_split(model, tokenizer, attempt, count) for attempt, count in zip(attempts, frames, strict=True)]
    texts = [[token for piece in row for token in piece["tokens"] if token < tokenizer.eot] for row in rows]
    found = model.find_alignment(tokenizer, texts, encoded, [max(2, count) for count in frames])
    for row, alignment in zip(rows, found, strict=True):
        WhisperModel.add_word_timestamps(
            _Aligned(model, alignment), [row], tokenizer, None, 0, _PREPENDED, _APPENDED, 0.0
        )
    return [
        [part for segment in _segments(tokenizer, row, attempt) for part in _sentences(segment)]
        for row, attempt in zip(rows, attempts, strict=True)
    ]


def _split(model: WhisperModel, tokenizer: Tokenizer, attempt: Attempt, frames: int) -> list[dict[str, Any]]:
    """Cut where the model wrote timestamps."""
    pieces, _, _ = model._split_segments_by_timestamps(
        tokenizer=tokenizer,
        tokens=list(attempt.tokens),
        time_offset=0.0,
        segment_size=frames,
        segment_duration=frames / model.frames_per_second,
        seek=0,
    )
    for piece in pieces:
        piece["seek"] = 0
    return list(pieces)


def _segments(tokenizer: Tokenizer, pieces: Sequence[dict[str, Any]], attempt: Attempt) -> Iterator[Segment]:
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
            avg_logprob=attempt.avg_logprob,
            no_speech_prob=attempt.no_speech_prob,
            compression_ratio=attempt.compression_ratio,
            temperature=attempt.temperature,
            words=[Word(**word) for word in piece.get("words", ())],
        )


def _sentences(segment: Segment) -> Iterator[Segment]:
    """Cut a long segment behind its sentences: Whisper may put all of a row into one."""
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
