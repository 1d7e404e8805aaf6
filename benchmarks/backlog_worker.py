"""The real worker with an engine that only waits: `python -m benchmarks.backlog_worker`, for `benchmarks.backlog`.

It notes when each slot was taken and freed in the file that SLOTS_FILE names, a line of two times for each delivery.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from starlette.responses import Response

from speechpipe.backends import gcp
from speechpipe.backends.ports import Progress
from speechpipe.contract import Analysis, Audio, Language, Model, Options, Part, Stage, Transcript
from speechpipe.observe.log import configure
from speechpipe.settings import WorkerSettings, read
from workers.__main__ import serve
from workers.service import Worker

ENGINE_SECONDS = 0.2
SLOTS_FILE = "BACKLOG_SLOTS_FILE"


class Waiting:
    """Takes ENGINE_SECONDS for every recording, and hears nothing in it."""

    stage = Stage.STT

    def __call__(self, path: Path, options: Options, progress: Progress, part: Part | None = None) -> Analysis:
        """Wait."""
        time.sleep(ENGINE_SECONDS)
        return Analysis(
            value=Transcript(language=Language(code="en", confidence=1.0), segments=(), speech_seconds=0.0),
            audio=Audio(duration=18.0, channels=1, sample_rate=16000, sha256="0" * 64),
            model=Model(name="waiting", revision="0", engine="none 0"),
            compute_seconds=ENGINE_SECONDS,
        )


def noting(handle: Callable[[Worker, bytes, str | None], Response]) -> Callable[[Worker, bytes, str | None], Response]:
    """The worker's handler, which runs while its delivery has a slot; appends a line when it ends."""

    def noted(worker: Worker, body: bytes, delivery: str | None) -> Response:
        began = time.time()
        try:
            return handle(worker, body, delivery)
        finally:
            with open(os.environ[SLOTS_FILE], "a") as file:
                file.write(f"{began} {time.time()}\n")

    return noted


if __name__ == "__main__":
    Worker._handle = noting(Worker._handle)  # type: ignore[assignment,method-assign]
    settings = read(WorkerSettings)
    configure(settings.log_format)
    os._exit(serve(settings, gcp.connect(settings), lambda stage, _: Waiting()))
