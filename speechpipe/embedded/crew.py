"""The worker processes of one runner: started, watched, and started again if they die."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from speechpipe.backends.local.bus import LocalBus
from speechpipe.backends.local.store import SqliteStore
from speechpipe.contract.errors import EngineUnavailable
from speechpipe.embedded.worker import holder_of

log = logging.getLogger(__name__)

#: Pause before a worker that died is started again.
PAUSE_SECONDS = 1.0
#: How long a worker gets to leave its task when the runner stops.
STOP_SECONDS = 30.0


class Crew:
    """So many worker processes on a folder. `failed` is called with the reason if an engine cannot be loaded."""

    def __init__(
        self,
        directory: Path,
        count: int,
        bus: LocalBus,
        store: SqliteStore,
        *,
        environ: Mapping[str, str],
        traces: str,
        failed: Callable[[EngineUnavailable], None],
    ) -> None:
        self._command = [sys.executable, "-m", "speechpipe.embedded.worker", str(directory), traces]
        cores = len(os.sched_getaffinity(0))
        threads = environ.get("SPEECHPIPE_THREADS") or str(max(1, cores // count))
        self._environ = {**environ, "SPEECHPIPE_THREADS": threads}
        self._bus, self._store, self._failed = bus, store, failed
        self._stopping = threading.Event()
        self._running: dict[int, subprocess.Popen[str]] = {}
        self._threads = [threading.Thread(target=self._keep, args=[number], daemon=True) for number in range(count)]
        for thread in self._threads:
            thread.start()

    @property
    def processes(self) -> list[int]:
        """The ids of the workers that run."""
        return [process.pid for process in self._running.values() if process.poll() is None]

    def stop(self) -> None:
        """Ask the workers to stop, and wait until they have."""
        self._stopping.set()
        for process in list(self._running.values()):
            if process.stdin:
                process.stdin.close()
        for thread in self._threads:
            thread.join()

    def _keep(self, number: int) -> None:
        """Run one worker, and the next when it dies."""
        while not self._stopping.is_set():
            process = subprocess.Popen(
                self._command,
                env=dict(self._environ),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is for the runner, which stops its workers
            )
            self._running[number] = process
            if self._stopping.is_set() and process.stdin:
                process.stdin.close()
            with process:  # closes its pipes
                assert process.stdout
                said = process.stdout.read()  # until it ends
                status = self._ended(process)
            if self._stopping.is_set():
                return
            if status == 1:
                self._failed(EngineUnavailable(said.strip() or "a worker could not start; see its log"))
                return
            log.error("a worker died (status %d) and is started again", status, extra={"action": "worker_died"})
            self._bus.recover(process.pid)
            self._store.free_leases(holder_of(process.pid))
            self._stopping.wait(PAUSE_SECONDS)

    def _ended(self, process: subprocess.Popen[str]) -> int:
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
