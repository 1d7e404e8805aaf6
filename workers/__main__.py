"""`python -m workers`: the worker of one stage, chosen by the environment (`speechpipe.settings.WorkerSettings`)."""

from __future__ import annotations

import os
import sys
import threading
from types import FrameType

import uvicorn

from speechpipe.backends import gcp
from speechpipe.backends.ports import Backend
from speechpipe.contract.errors import SettingsMissing
from speechpipe.observe import exporters
from speechpipe.observe.log import configure
from speechpipe.observe.spans import OFF
from speechpipe.settings import WorkerSettings, read
from workers.models.choice import load
from workers.service import Load, Worker, create_app

#: How long open requests may take after SIGTERM; Cloud Run kills the process ten seconds after it.
GRACE_SECONDS = 7
#: When the process exits in any case, with threads that are still inside the engine.
LAST_SECONDS = 9.0


class _Server(uvicorn.Server):
    """Tells the worker to stop as soon as a signal arrives, not only after the open requests."""

    worker: Worker

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop taking work, and exit in time whatever the engine does."""
        self.worker.stop()
        last = threading.Timer(LAST_SECONDS, os._exit, (0,))
        last.daemon = True
        last.start()
        super().handle_exit(sig, frame)


def serve(settings: WorkerSettings, backend: Backend, load: Load) -> int:
    """Serve until a signal arrives or the model fails to load; the process's exit status."""

    def failed() -> None:
        server.should_exit = True

    tracing = (
        exporters.tracing_to(settings.traces, f"{settings.stage.value}-worker") if settings.traces != "off" else OFF
    )
    app = create_app(settings, backend, load, failed=failed, tracing=tracing)
    server = _Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            access_log=False,
            log_config=None,
            log_level="warning",  # at info it logs its own steps
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
    server.worker = app.state.worker
    server.run()
    tracing.shutdown()
    failure = server.worker.failure
    if failure is not None:
        print(f"The {settings.stage.value} worker cannot start: {failure}", file=sys.stderr)
        return 1
    return 0


def main() -> int:
    """Read the settings, connect, serve."""
    try:
        settings = read(WorkerSettings)
    except SettingsMissing as missing:
        print(missing, file=sys.stderr)
        return 2
    configure(settings.log_format)
    return serve(settings, gcp.connect(settings), load)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # a thread inside the engine must not keep the process alive
