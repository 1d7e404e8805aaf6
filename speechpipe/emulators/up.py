"""`speechpipe up`: the local cloud in the foreground, with its variables and a live status."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import NoReturn

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from speechpipe.emulators.cloud import LocalCloud, Snapshot
from speechpipe.emulators.setup import Delivery

REFRESH_SECONDS = 2.0
#: Variables that only keep proxies away are set for our own processes; a shell that needs them has them.
_SHOWN = (
    "PUBSUB_EMULATOR_HOST",
    "FIRESTORE_EMULATOR_HOST",
    "STORAGE_EMULATOR_HOST",
    "GOOGLE_CLOUD_PROJECT",
    "SPEECHPIPE_UPLOADS_BUCKET",
    "SPEECHPIPE_RESULTS_BUCKET",
)


def serve(*, models: str, device: str, max_attempts: int, out: Console, err: Console) -> None:
    """Run until Ctrl-C or SIGTERM. Variables go to `out`, everything else to `err`.

    Raises EmulatorsMissing, with the commands that install them, and StartFailed, with the end of the log.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    settings = {"SPEECHPIPE_MODELS": models, "SPEECHPIPE_DEVICE": device}
    cloud = LocalCloud(
        delivery=Delivery(max_attempts=max_attempts),
        settings=settings,
        report=lambda name: err.print(f"  [green]ready[/] {name}"),
    )
    err.print("starting Google's emulators, the functions and the workers")
    try:
        with cloud:
            for name in _SHOWN:
                out.print(f"export {name}={cloud.environment()[name]}", highlight=False)
            err.print(
                "\nSet these, then use speechpipe or any Google client library: [bold]speechpipe submit FILE --wait[/]"
                f"\nLogs: {cloud.logs}   Ctrl-C ends everything\n",
                highlight=False,
            )
            _show(cloud, err)
    except KeyboardInterrupt:
        err.print("stopped; the emulators kept nothing")


def _show(cloud: LocalCloud, err: Console) -> None:
    """The live status on a terminal; elsewhere a line when something changes."""
    if not err.is_terminal:
        before = None
        while True:
            snapshot = cloud.status()
            if snapshot != before:
                err.print(_line(snapshot), highlight=False)
            before = snapshot
            time.sleep(REFRESH_SECONDS)
    with Live(console=err, refresh_per_second=2, transient=True) as live:
        while True:
            live.update(_panel(cloud.status()))
            time.sleep(REFRESH_SECONDS)


def _line(snapshot: Snapshot) -> str:
    down = [name for name, up in snapshot.processes.items() if not up]
    counts = ", ".join(f"{n} {status.value}" for status, n in snapshot.recordings.items() if n) or "no recordings"
    return counts + (f"; down: {', '.join(down)}" if down else "")


def _panel(snapshot: Snapshot) -> Group:
    processes = Text()
    for name, up in snapshot.processes.items():
        processes.append(f" {name} ", style="green" if up else "bold red reverse")
    counts = Table(box=None, pad_edge=False, header_style="dim")
    for status in snapshot.recordings:
        counts.add_column(status.value, justify="right")
    counts.add_row(*(str(n) for n in snapshot.recordings.values()))
    return Group(processes, counts)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
