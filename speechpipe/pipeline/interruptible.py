"""An engine that can be asked to stop.

Nothing can end a running thread, and Cloud Run allows ten seconds after SIGTERM. So the analysis stops the next time it
reports progress, the lease is freed, and the task is redelivered.
"""

from __future__ import annotations

import threading
from pathlib import Path

from speechpipe.backends.ports import Analyse, Progress
from speechpipe.contract import Analysis, Options, Part, Stage
from speechpipe.contract.errors import Busy


class Interrupted(Busy):
    """The process is shutting down."""


class Interruptible:
    """An engine whose analyses raise Interrupted soon after `stopping` is set."""

    def __init__(self, engine: Analyse, stopping: threading.Event) -> None:
        self._engine, self._stopping = engine, stopping

    @property
    def stage(self) -> Stage:
        """The engine's stage."""
        return self._engine.stage

    def __call__(self, path: Path, options: Options, progress: Progress, part: Part | None = None) -> Analysis:
        """See ports.Analyse. Raises Interrupted."""

        def watch(share: float) -> None:
            if self._stopping.is_set():
                raise Interrupted("this process is shutting down")
            progress(share)

        watch(0.0)
        return self._engine(path, options, watch, part)
