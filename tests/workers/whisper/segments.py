"""Segments as faster-whisper returns them, for tests without a model."""

from __future__ import annotations

from typing import Any

from faster_whisper.transcribe import Segment, Word  # type: ignore[import-untyped]


def found(*words: tuple[float, float], text: str | None = None, **changes: Any) -> Segment:
    """A segment with words at these times. Its text is given, or that many words."""
    said = text.split() if text is not None else ["word"] * len(words)
    assert len(said) == len(words) or not words
    fields: dict[str, Any] = {
        "id": 0,
        "seek": 0,
        "start": words[0][0] if words else 0.0,
        "end": words[-1][1] if words else 1.0,
        "text": "".join(f" {word}" for word in said),
        "tokens": [],
        "avg_logprob": -0.2,
        "no_speech_prob": 0.01,
        "compression_ratio": 1.2,
        "temperature": 0.0,
        "words": [Word(start, end, f" {word}", 0.5) for (start, end), word in zip(words, said, strict=False)],
    }
    return Segment(**{**fields, **changes})


def spoken(text: str, *, each: float = 0.5, start: float = 0.0, pauses: dict[int, float] | None = None) -> Segment:
    """A segment whose words take `each` seconds without gaps, but for pauses before the words of these numbers."""
    times = []
    for number in range(len(text.split())):
        start += (pauses or {}).get(number, 0.0)
        times.append((start, start + each))
        start += each
    return found(*times, text=text)
