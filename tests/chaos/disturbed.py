"""Installs faults in a function's or worker's process on the emulators; the chaos entry points share it."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import requests
from google.api_core.exceptions import DeadlineExceeded, InternalServerError, ServiceUnavailable

from speechpipe.backends import gcp
from speechpipe.backends.ports import Backend
from speechpipe.settings import Project
from tests.chaos import faults
from tests.chaos.counters import Counters
from tests.chaos.faults import Faults, JumpingClock, Raise

SEED, COUNTERS = "CHAOS_SEED", "CHAOS_COUNTERS"  #: environment variables; without a seed there are no faults
GOOGLE_ERRORS: Sequence[Raise] = (
    lambda: ServiceUnavailable("the connection was closed"),  # type: ignore[no-untyped-call]
    lambda: DeadlineExceeded("no answer"),  # type: ignore[no-untyped-call]
    lambda: InternalServerError("something went wrong"),  # type: ignore[no-untyped-call]
    lambda: requests.ConnectionError("the connection was reset"),
)


def counters(name: str) -> Counters:
    """The counts of this name in this run."""
    return Counters(Path(os.environ[COUNTERS]) / name)


def install(service: str) -> JumpingClock | None:
    """Add faults to every backend that this process connects to. Returns a jumping clock, or None without a seed."""
    if not os.environ.get(SEED):
        return None
    start = counters("starts").add(service)  # every restart of a service has different faults
    seed = f"{os.environ[SEED]} {service} {start}"
    chaos = Faults(seed, counters("faults"), GOOGLE_ERRORS)
    connect = gcp.connect

    def disturbed(settings: Project) -> Backend:
        return faults.inject(connect(settings), chaos, repeat=True)

    gcp.connect = disturbed
    return JumpingClock(random.Random(f"{seed} clock"), counters("faults"))


def install_in_function(service: str) -> None:
    """The same in a function's process, including its clock."""
    clock = install(service)
    if clock:
        from functions import services

        cast(Any, services).utc_now = clock
