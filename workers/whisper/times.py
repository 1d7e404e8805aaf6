"""Put the times of a row's words back into the recording. Pure.

A row is chunks without the pauses between them, and alignment stretches words over the pauses that are left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from faster_whisper.transcribe import Segment, Word, restore_speech_timestamps  # type: ignore[import-untyped]

from workers.audio.chunks import Chunk
from workers.audio.decoder import SAMPLE_RATE
from workers.audio.vad import Span
from workers.whisper.coverage import LAST_PART, MAX_WORD


def restored(segments: Iterable[Segment], chunks: Sequence[Chunk]) -> list[Segment]:
    """Segments with times of the recording. No word reaches beyond its chunk."""
    spans = [(round(chunk.span.start * SAMPLE_RATE), round(chunk.span.end * SAMPLE_RATE)) for chunk in chunks]
    clips = [{"start": start, "end": end} for start, end in spans]
    found = list(restore_speech_timestamps(segments, clips, SAMPLE_RATE))
    speech = [span for chunk in chunks for span in chunk.speech]
    return [replace(one, words=[_trimmed(word, speech) for word in one.words or ()]) for one in found]


def _trimmed(word: Word, speech: Sequence[Span]) -> Word:
    """A word that alignment stretched over a pause, cut to the speech in it, and to its end if it is still too long."""
    if word.end - word.start <= MAX_WORD:
        return word
    inside = [span for span in speech if span.end > word.start and span.start < word.end]
    start = max(word.start, inside[0].start) if inside else word.start
    end = min(word.end, inside[-1].end) if inside else word.end
    return replace(word, start=max(start, end - LAST_PART) if end - start > MAX_WORD else start, end=end)
