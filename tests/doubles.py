"""Test doubles for what cannot run in a fast test, and builders of contract values."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from speechpipe.backends.ports import Analyse, Progress
from speechpipe.contract import (
    Analysis,
    Audio,
    Emotions,
    EmotionWindow,
    LabelScore,
    Language,
    Model,
    Options,
    Part,
    Quality,
    Segment,
    Source,
    Stage,
    Transcript,
    Vocabulary,
    Word,
)

START = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
AUDIO = Audio(duration=4.0, channels=1, sample_rate=16000, sha256="0" * 64, format="wav/pcm_s16le")
VOCABULARY = Vocabulary(
    id="test", labels=("anger", "neutral", "other"), primary=("anger", "neutral"), activation="softmax"
)


def source(
    name: str = "call.wav", *, generation: str = "1", size: int = 9, metadata: dict[str, str] | None = None
) -> Source:
    """An uploaded object."""
    return Source(
        uri=f"gs://uploads/{name}",
        bucket="uploads",
        name=name,
        generation=generation,
        size=size,
        metadata=metadata or {},
        created_at=START,
    )


def scores(**values: float) -> tuple[LabelScore, ...]:
    return tuple(LabelScore(name=n, score=s) for n, s in sorted(values.items(), key=lambda item: -item[1]))


def window(start: float, end: float, top: str = "neutral", channel: int = 0, score: float = 0.8) -> EmotionWindow:
    rest = {"anger", "neutral", "other"} - {top}
    return EmotionWindow(
        start=start, end=end, channel=channel, scores=scores(**{top: score}, **dict.fromkeys(rest, (1 - score) / 2))
    )


def segment(start: float, end: float, text: str, number: int = 0, channel: int = 0) -> Segment:
    words = text.split()
    step = (end - start) / max(len(words), 1)
    return Segment(
        id=number,
        start=start,
        end=end,
        channel=channel,
        text=text,
        confidence=0.9,
        quality=Quality(avg_logprob=-0.2, no_speech_prob=0.01, compression_ratio=1.1),
        words=tuple(
            Word(word=w, start=start + i * step, end=start + (i + 1) * step, confidence=0.9)
            for i, w in enumerate(words)
        ),
    )


TRANSCRIPT = Transcript(
    language=Language(code="en", confidence=0.98),
    segments=(segment(0.0, 2.0, "where is my order"), segment(2.5, 4.0, "it is late", 1)),
    speech_seconds=3.5,
)
EMOTIONS = Emotions(vocabulary=VOCABULARY, windows=(window(0.0, 2.2), window(2.2, 4.0, "anger")))


class FixedEngine:
    """An engine that always returns the same analysis, or raises a given error."""

    def __init__(
        self, stage: Stage, *, error: BaseException | None = None, gate: threading.Event | None = None
    ) -> None:
        self.stage = stage
        self.error = error
        self.gate = gate
        self.runs = 0

    def __call__(self, path: Path, options: Options, progress: Progress, part: Part | None = None) -> Analysis:
        self.runs += 1
        assert path.exists()
        progress(0.5)
        while self.gate and not self.gate.wait(0.05):
            progress(0.5)
        if self.error:
            raise self.error
        progress(1.0)
        return Analysis(
            value=TRANSCRIPT if self.stage == Stage.STT else EMOTIONS,
            audio=AUDIO,
            model=Model(name="fixed", revision="1", engine="test 1"),
            compute_seconds=0.25,
        )


class SteppedClock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def pass_time(self, **by: float) -> None:
        self.now += timedelta(**by)


def ready(engines: Mapping[Stage, Analyse]) -> Callable[[], Mapping[Stage, Callable[[], Analyse]]]:
    """Engines for Runner and Client that need no loading."""

    def loads(engine: Analyse) -> Callable[[], Analyse]:
        return lambda: engine

    return lambda: {stage: loads(engine) for stage, engine in engines.items()}
