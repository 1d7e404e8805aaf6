"""The real worker with an engine that only waits: `python -m benchmarks.backlog_worker`, for `benchmarks.backlog`."""

from __future__ import annotations

import os
import time
from pathlib import Path

from speechpipe.backends import gcp
from speechpipe.backends.ports import Progress
from speechpipe.contract import Analysis, Audio, Language, Model, Options, Stage, Transcript
from speechpipe.observe.log import configure
from speechpipe.settings import WorkerSettings, read
from workers.__main__ import serve

ENGINE_SECONDS = 0.2


class Waiting:
    """Takes ENGINE_SECONDS for every recording, and hears nothing in it."""

    stage = Stage.STT

    def __call__(self, path: Path, options: Options, progress: Progress) -> Analysis:
        """Wait."""
        time.sleep(ENGINE_SECONDS)
        return Analysis(
            value=Transcript(language=Language(code="en", confidence=1.0), segments=(), speech_seconds=0.0),
            audio=Audio(duration=18.0, channels=1, sample_rate=16000, sha256="0" * 64),
            model=Model(name="waiting", revision="0", engine="none 0"),
            compute_seconds=ENGINE_SECONDS,
        )


if __name__ == "__main__":
    settings = read(WorkerSettings)
    configure(settings.log_format)
    os._exit(serve(settings, gcp.connect(settings), lambda stage, _: Waiting()))
