"""A worker process of the embedded pipeline: `speechpipe run DIR --workers N` starts N of them on one folder.

    python -m speechpipe.embedded.worker DIR [TRACES]

It reads its settings from the environment, as `run` does, and stops soon after its standard input is closed, which
happens at the latest when the process that started it dies. Exits with 1 if an engine could not be loaded, and says
why on standard output.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from speechpipe.backends import local
from speechpipe.backends.local import STATE_FOLDER
from speechpipe.backends.local.bus import LocalBus, task_topic
from speechpipe.backends.ports import Analyse
from speechpipe.contract import Stage
from speechpipe.embedded.consumer import Consumer, Performer
from speechpipe.embedded.engines import find_engines
from speechpipe.observe import instrumented
from speechpipe.observe.log import configure
from speechpipe.observe.spans import OFF
from speechpipe.pipeline.world import World
from speechpipe.settings import EngineSettings, Limits, Telemetry, read


def holder_of(process: int) -> str:
    """How the leases of a process begin."""
    return f"{socket.gethostname()}-{process}-"


def main() -> None:
    """Perform tasks until standard input is closed."""
    configure(read(Telemetry).log_format)
    directory, traces = Path(sys.argv[1]), (sys.argv[2:] or ["off"])[0]
    backend, tracing = local.connect(directory), OFF
    if traces != "off":
        from speechpipe.observe import exporters

        tracing = exporters.tracing_to(traces, "run")
        backend = instrumented.instrument(backend, tracing, instrumented.EMBEDDED)
    bus = local.connect(directory).bus
    assert isinstance(bus, LocalBus)
    world, stopping = World.over(backend, read(Limits)), threading.Event()
    consumer = Consumer(bus, stopping)

    def serve(stage: Stage, load: Callable[[], Analyse]) -> None:
        try:
            engine = load()
        except Exception as error:
            print(error, flush=True)
            os._exit(1)
        performer = Performer(
            engine,
            world,
            bus,
            holder=holder_of(os.getpid()).removesuffix("-"),
            scratch=directory.resolve() / STATE_FOLDER / "scratch",
            stopping=stopping,
            tracing=tracing,
        )
        consumer.serve({task_topic(stage): performer})

    threads = [
        threading.Thread(target=serve, args=each, name=f"speechpipe-{each[0].value}", daemon=True)
        for each in find_engines(read(EngineSettings)).items()
    ]
    for thread in threads:
        thread.start()
    while sys.stdin.buffer.read(1):
        pass
    stopping.set()
    for thread in threads:
        thread.join()
    tracing.shutdown()


if __name__ == "__main__":
    main()
