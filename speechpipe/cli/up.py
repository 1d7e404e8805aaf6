"""`speechpipe up`: the local cloud in the foreground, with its environment variables and a live status."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from types import FrameType
from typing import NoReturn

from rich.console import Console
from rich.live import Live

from speechpipe.cli.console import beside
from speechpipe.client import Client
from speechpipe.emulators.cloud import LocalCloud
from speechpipe.emulators.front import CutAnswers
from speechpipe.emulators.panel import line, panel
from speechpipe.emulators.setup import exported

REFRESH_SECONDS = 2.0
#: The variables to print. Those that bypass proxies are left out: a shell that needs them already has them.
_SHOWN = (
    "PUBSUB_EMULATOR_HOST",
    "FIRESTORE_EMULATOR_HOST",
    "STORAGE_EMULATOR_HOST",
    "GOOGLE_CLOUD_PROJECT",
    "SPEECHPIPE_UPLOADS_BUCKET",
    "SPEECHPIPE_RESULTS_BUCKET",
    "SPEECHPIPE_TRACES",
)


def serve(*, models: str, device: str, max_attempts: int, console: bool, out: Console, err: Console) -> None:
    """Run until Ctrl-C or SIGTERM. The variables go to `out`, everything else to `err`.

    Raises EmulatorsMissing with the commands that install them, or StartFailed with the end of the process's log.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    settings = {"SPEECHPIPE_MODELS": models, "SPEECHPIPE_DEVICE": device}
    cloud = LocalCloud(
        max_attempts=max_attempts,
        settings=settings,
        report=lambda name: err.print(f"  [green]ready[/] {name}"),
    )
    err.print("starting Google's emulators, the functions and the workers")
    try:
        with cloud, exported(**cloud.environment()), ExitStack() as stack:
            for name in _SHOWN:
                out.print(f"export {name}={cloud.environment()[name]}", highlight=False)
            err.print(
                "\nSet these, then use speechpipe or any Google client library: [bold]speechpipe submit FILE --wait[/]"
                f"\nLogs: {cloud.logs}   Traces: {cloud.traces}   Ctrl-C stops everything\n",
                highlight=False,
            )
            if console:
                client = Client(environ={**os.environ, "SPEECHPIPE_DIR": ""})
                stack.enter_context(beside(client, err, cloud.running, CutAnswers))
            _show(cloud, err)
    except KeyboardInterrupt:
        err.print("stopped; nothing in the emulators was kept")


def _show(cloud: LocalCloud, err: Console) -> None:
    """A live panel on a terminal; elsewhere, a line whenever something changes."""
    if not err.is_terminal:
        before = None
        while True:
            now = line(cloud.status())
            if now != before:
                err.print(now, highlight=False)
            before = now
            time.sleep(REFRESH_SECONDS)
    with Live(console=err, refresh_per_second=2, transient=True) as live:
        while True:
            live.update(panel(cloud.status()))
            time.sleep(REFRESH_SECONDS)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
