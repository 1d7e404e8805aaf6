"""Find speech that got no words. Pure.

Whisper sometimes passes over a phrase, or over all speech but the last few seconds of a row, and says nothing about it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workers.audio.chunks import Chunk
from workers.audio.decoder import SAMPLE_RATE
from workers.audio.vad import Span

#: Seconds of speech without words that are worth another attempt, and a remark if that fails.
MIN_GAP = 1.0
#: Seconds. Word times are off by about this much. A word longer than that has swallowed others; it was said at its end.
TOLERANCE, MAX_WORD, LAST_PART = 0.25, 1.5, 0.5
#: Seconds kept on each side of what is cut out of a chunk.
_PAD = 0.2


def missed(chunks: Sequence[Chunk], words: Sequence[Span]) -> list[list[Chunk]]:
    """Runs of neighbouring speech that words pass over, each as chunks cut to it.

    `words`: their times in the recording, in order.
    """
    runs: list[list[Chunk]] = [[]]
    at = 0
    for chunk in chunks:
        for gap in _gaps(chunk.speech, words):
            while at < len(words) and words[at].end <= gap.start + TOLERANCE:
                at += 1
                if runs[-1]:
                    runs.append([])
            runs[-1].append(_cut(chunk, gap))
    return [_joined(run) for run in runs if sum(part.speech[0].length for part in run) >= MIN_GAP]


def _gaps(speech: Sequence[Span], words: Sequence[Span]) -> list[Span]:
    """The parts of speech that no word covers."""
    gaps = []
    for span in speech:
        start = span.start
        for word in map(_said, words):
            if word.end + TOLERANCE <= start or word.start - TOLERANCE >= span.end:
                continue
            if word.start - TOLERANCE > start:
                gaps.append(Span(start, word.start - TOLERANCE))
            start = max(start, word.end + TOLERANCE)
        if start < span.end:
            gaps.append(Span(start, span.end))
    return [gap for gap in gaps if gap.length > TOLERANCE]


def _said(word: Span) -> Span:
    return Span(word.end - LAST_PART, word.end) if word.length > MAX_WORD else word


def _cut(chunk: Chunk, gap: Span) -> Chunk:
    span = Span(max(chunk.span.start, gap.start - _PAD), min(chunk.span.end, gap.end + _PAD))
    first, last = (round((at - chunk.span.start) * SAMPLE_RATE) for at in span)
    return Chunk(chunk.channel, span, chunk.samples[first:last], (gap,))


def _joined(parts: Sequence[Chunk]) -> list[Chunk]:
    """Parts that overlap or touch as one, so that no sound is heard twice."""
    joined: list[Chunk] = []
    for part in parts:
        last = joined[-1] if joined else None
        if last is None or part.span.start >= last.span.end:
            joined.append(part)
            continue
        more = part.samples[round((last.span.end - part.span.start) * SAMPLE_RATE) :]
        samples = np.concatenate([last.samples, more])
        span = Span(last.span.start, last.span.start + len(samples) / SAMPLE_RATE)
        joined[-1] = Chunk(last.channel, span, samples, (*last.speech, *part.speech))
    return joined
