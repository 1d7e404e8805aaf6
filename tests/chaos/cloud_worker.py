"""The real worker with the engine of the chaos, disturbed: `python -m tests.chaos.cloud_worker`."""

from __future__ import annotations

import os
from datetime import datetime, tzinfo
from typing import Any, cast

from speechpipe.backends import gcp
from speechpipe.observe.log import configure
from speechpipe.settings import WorkerSettings, read
from tests.chaos import disturbed
from tests.chaos.engine import Hashed
from tests.chaos.faults import JumpingClock
from workers import service
from workers.__main__ import serve


class _Clock:
    """What the worker takes for `datetime`."""

    def __init__(self, clock: JumpingClock) -> None:
        self._clock = clock

    def now(self, zone: tzinfo) -> datetime:
        """As it says."""
        return self._clock().astimezone(zone)


if __name__ == "__main__":
    settings = read(WorkerSettings)
    configure(settings.log_format)
    clock = disturbed.install(settings.stage.value)
    if clock is not None:
        cast(Any, service).datetime = _Clock(clock)
    os._exit(serve(settings, gcp.connect(settings), lambda stage, _: Hashed(stage, disturbed.counters("runs"))))
