"""The real worker with a canned engine: `python canned_worker.py`, with a worker's environment.

The start of a file says what happens: `fail-stt` or `fail-ser` fails in that stage's worker in every attempt, `hang`
never returns from its first attempt in the stt worker and is a recording otherwise, as `RIFF0` always is. Anything else
is decoded as the real engines do it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from speechpipe.backends import gcp
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
)
from speechpipe.observe.log import configure
from speechpipe.settings import WorkerSettings, read
from workers.__main__ import serve
from workers.audio.reader import open_audio

MODEL = Model(name="canned", revision="0", engine="none 0")


def first_attempt() -> bool:
    """Whether no process has called this before, with the same folder CANNED_HANGS."""
    try:
        Path(os.environ["CANNED_HANGS"], "hung").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class Canned:
    """Returns, or raises, what a file's first bytes ask for."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def __call__(self, path: Path, options: Options, progress: Progress, part: Part | None = None) -> Analysis:
        with path.open("rb") as file:
            content = file.read(8)
        if not content.startswith((b"fail-", b"hang", b"RIFF0")):
            with open_audio(path, max_seconds=60) as recording:
                list(recording)
        if content.startswith(f"fail-{self.stage.value}".encode()):
            raise MemoryError("an engine's message that quotes content")
        if content.startswith(b"hang") and self.stage is Stage.STT and first_attempt():
            time.sleep(3600)  # until somebody kills this process
        progress(0.5)
        audio = Audio(duration=2.0, channels=1, sample_rate=16000, sha256="0" * 64)
        return Analysis(value=self.value(), audio=audio, model=MODEL, compute_seconds=0.1)

    def value(self) -> Transcript | Emotions:
        if self.stage is Stage.STT:
            quality = Quality(avg_logprob=-0.1, no_speech_prob=0.0, compression_ratio=1.0)
            segment = Segment(id=0, start=0, end=2, text="Grüße", confidence=0.9, quality=quality, language="de")
            return Transcript(language=Language(code="de", confidence=1), segments=(segment,), speech_seconds=2.0)
        scores = (LabelScore(name="Joy", score=0.9), LabelScore(name="Anger", score=0.1))
        labels = ("Joy", "Anger")
        vocabulary = Vocabulary(id="canned", labels=labels, primary=labels, activation="softmax")
        return Emotions(vocabulary=vocabulary, windows=(EmotionWindow(start=0, end=2, scores=scores),))


if __name__ == "__main__":
    settings = read(WorkerSettings)
    configure(settings.log_format)
    os._exit(serve(settings, gcp.connect(settings), lambda stage, _: Canned(stage)))
