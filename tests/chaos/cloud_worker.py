"""The real worker with the chaos engine and with faults: `python -m tests.chaos.cloud_worker`."""

from __future__ import annotations

import os
from typing import Any, cast

from speechpipe.backends import gcp
from speechpipe.observe.log import configure
from speechpipe.settings import WorkerSettings, read
from tests.chaos import disturbed
from tests.chaos.engine import HashEngine, length_of
from workers import service
from workers.__main__ import serve

if __name__ == "__main__":
    settings = read(WorkerSettings)
    configure(settings.log_format)
    clock = disturbed.install(settings.stage.value)
    if clock is not None:
        cast(Any, service).utc_now = clock
    cast(Any, service).length_of = length_of
    os._exit(serve(settings, gcp.connect(settings), lambda stage, _: HashEngine(stage, disturbed.counters("runs"))))
