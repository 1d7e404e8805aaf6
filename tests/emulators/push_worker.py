"""A worker that answers with canned analyses: `python push_worker.py`, with a worker's environment.

A file that begins with `bad` is rejected, one that begins with `fail-stt` or `fail-ser` is answered 500 by that
stage's worker whenever it comes, and one that begins with `slow` takes some seconds.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from speechpipe import gcp, steps, wire
from speechpipe.contract import (
    Analysis,
    Audio,
    Emotions,
    EmotionWindow,
    LabelScore,
    Language,
    Model,
    Options,
    Quality,
    Segment,
    Stage,
    Transcript,
    Vocabulary,
)
from speechpipe.errors import Busy, ErrorCode, Rejected, Unreadable
from speechpipe.ports import Progress
from speechpipe.settings import WorkerSettings, read

MODEL = Model(name="canned", revision="0", engine="none 0")


class Canned:
    """Says what a file's first bytes ask for."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def __call__(self, path: Path, options: Options, progress: Progress) -> Analysis:
        content = path.read_bytes()
        if content.startswith(b"bad"):
            raise Rejected(ErrorCode.UNSUPPORTED_FORMAT, "this is no sound file")
        if content.startswith(f"fail-{self.stage.value}".encode()):
            raise MemoryError("an engine's message that quotes content")
        if content.startswith(b"slow"):
            time.sleep(4)
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


class Handler(BaseHTTPRequestHandler):
    """The worker's HTTP side."""

    def do_GET(self) -> None:
        self.answer(200)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            steps.perform(
                wire.task_from_push(body),
                store=backend.store,
                uploads=backend.uploads,
                results=backend.results,
                analyse=Canned(settings.stage),
                clock=lambda: datetime.now(UTC),
                holder=f"{os.getpid()}-{time.monotonic_ns()}",
                lease_seconds=settings.request_seconds,
                max_bytes=settings.max_bytes,
            )
        except Unreadable:
            return self.answer(204)
        except Busy:
            return self.answer(429)
        except MemoryError:
            return self.answer(500)
        return self.answer(204)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()


if __name__ == "__main__":
    settings = read(WorkerSettings)
    backend = gcp.connect(settings)
    ThreadingHTTPServer(("127.0.0.1", settings.port), Handler).serve_forever()
