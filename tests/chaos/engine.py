"""An engine that computes its result from the file's bytes alone, within a millisecond."""

from __future__ import annotations

import hashlib
import random
import time
from pathlib import Path

from speechpipe.backends.ports import Progress
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
    Stage,
    Transcript,
    Vocabulary,
    Word,
)
from speechpipe.contract.errors import ErrorCode, Rejected
from tests.chaos.counters import Counters
from tests.chaos.plan import Kind

MODEL = Model(name="hash", revision="1", engine="hash 1")
LABELS = ("anger", "happiness", "neutral")
VOCABULARY = Vocabulary(id="hash", labels=LABELS, primary=LABELS, activation="softmax")
WORDS = ("where", "is", "my", "order", "late", "three", "weeks", "nobody", "answers", "telephone")
SEGMENTS, LARGE_SEGMENTS, LONG_SEGMENTS = 3, 300, 600
SECONDS = 2.0  #: of audio per segment
SLOW_SECONDS = 0.5
FLAKY_FAILURES = 2


class HashEngine:
    """Behaves as the file says (`plan.Kind`). `runs` counts the attempts for each file."""

    def __init__(self, stage: Stage, runs: Counters) -> None:
        self.stage = stage
        self._runs = runs

    def __call__(self, path: Path, options: Options, progress: Progress, part: Part | None = None) -> Analysis:
        body = path.read_bytes()
        kind, number = Kind(body.split()[0].decode()), int(body.split()[1])
        run = self._runs.add(f"{self.stage.value}.{number}")
        progress(0.1)
        if kind is Kind.REJECTED or (kind is Kind.MUTE and self.stage is Stage.STT):
            raise Rejected(ErrorCode.DECODE_FAILED, "damaged beyond use")
        if kind is Kind.FAILING and self.stage is Stage.STT:
            raise RuntimeError("it never works")
        if kind is Kind.FLAKY and run <= FLAKY_FAILURES:
            raise RuntimeError("not yet")
        if kind is Kind.SLOW:
            for step in range(10):
                time.sleep(SLOW_SECONDS / 10)
                progress(step / 10)
        numbers = _numbers(body, part)
        rng = random.Random(body[:100] + f"{self.stage.value} {numbers.start}".encode())
        value = _transcript(rng, numbers) if self.stage is Stage.STT else _emotions(rng, numbers)
        digest = hashlib.sha256(body).hexdigest()
        audio = Audio(duration=numbers.stop * SECONDS, channels=1, sample_rate=16000, sha256=digest, format="hash")
        progress(1.0)
        return Analysis(value=value, audio=audio, model=MODEL, compute_seconds=0.125)


def length_of(path: Path) -> float:
    """The seconds that the engine hears in a file; stands in for the decoder's."""
    return _numbers(path.read_bytes(), None).stop * SECONDS


def _numbers(body: bytes, part: Part | None) -> range:
    """The numbers of the segments in a file, or in a part of it."""
    most = {Kind.LARGE: LARGE_SEGMENTS, Kind.LONG: LONG_SEGMENTS}.get(Kind(body.split()[0].decode()), SEGMENTS)
    if part is None:
        return range(most)
    return range(round(part.start / SECONDS), most if part.end is None else round(part.end / SECONDS))


def _transcript(rng: random.Random, numbers: range) -> Transcript:
    quality = Quality(avg_logprob=-0.2, no_speech_prob=0.01, compression_ratio=1.1)
    segments = []
    for number in numbers:
        start, texts = number * SECONDS, rng.choices(WORDS, k=4)
        times = [start + 0.4 * place for place in range(len(texts) + 1)]
        words = tuple(
            Word(word=text, start=at, end=until, confidence=0.9)
            for text, at, until in zip(texts, times[:-1], times[1:], strict=True)
        )
        segments.append(
            Segment(
                id=number,
                start=start,
                end=times[-1],
                text=" ".join(texts),
                confidence=0.9,
                quality=quality,
                words=words,
                language="en",
            )
        )
    return Transcript(
        language=Language(code="en", confidence=0.9), segments=tuple(segments), speech_seconds=len(numbers) * SECONDS
    )


def _emotions(rng: random.Random, numbers: range) -> Emotions:
    windows = []
    for number in numbers:
        weights = [rng.random() + 0.01 for _ in LABELS]
        scores = [
            LabelScore(name=name, score=weight / sum(weights)) for name, weight in zip(LABELS, weights, strict=True)
        ]
        scores.sort(key=lambda score: -score.score)
        windows.append(EmotionWindow(start=number * SECONDS, end=(number + 1) * SECONDS, scores=tuple(scores)))
    return Emotions(vocabulary=VOCABULARY, windows=tuple(windows))
