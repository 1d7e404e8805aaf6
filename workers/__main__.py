"""`python -m workers`: one stage's worker; the environment says which (`speechpipe.settings.WorkerSettings`)."""

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

#: Cloud Run kills ten seconds after SIGTERM. Open requests get this long to be answered,
GRACE_SECONDS = 7
#: and a thread that is still inside the engine ends with the process.
LAST_SECONDS = 9.0


class _Server(uvicorn.Server):
    """Tells the worker at once when the process has to go, not only after the open requests."""

    worker: Worker

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop taking work, and be gone in time whatever the engine does."""
        self.worker.stop()
        last = threading.Timer(LAST_SECONDS, os._exit, (0,))
        last.daemon = True
        last.start()
        super().handle_exit(sig, frame)


def serve(settings: WorkerSettings, backend: Backend, load: Load) -> int:
    """Serve until a signal comes, or until the model cannot be loaded; the process's exit status."""

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
            log_level="warning",  # it counts its own steps at info
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
    os._exit(status)  # an engine's thread must not hold the process
