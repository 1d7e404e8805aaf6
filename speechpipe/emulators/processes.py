"""Child processes: each in its own group with its own log, ready before we go on, and never left behind."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from speechpipe.contract.errors import SpeechpipeError
from speechpipe.emulators import watchdog
from speechpipe.observe.log import as_text

Probe = Callable[[], bool]

LOG_TAIL_LINES = 20


class StartFailed(SpeechpipeError):
    """A process ended or was not ready in time; the message has the end of its log."""


@dataclass
class Process:
    """A child, its log, and what it takes to start it again."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path
    ready: Probe
    command: Sequence[str]
    environment: Mapping[str, str]
    is_ready: bool = field(default=False)

    @property
    def up(self) -> bool:
        """Whether it still runs."""
        return self.popen.poll() is None

    def tail(self) -> str:
        """The end of its log, for people."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(as_text(line) for line in lines[-LOG_TAIL_LINES:]) or "(nothing)"


class Processes:
    """Starts, watches and ends children. A watchdog ends them when this process cannot."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: dict[str, Process] = {}
        self._watchdog: subprocess.Popen[bytes] | None = None

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str], ready: Probe) -> None:
        """Start one; `wait` sees to its readiness. Raises StartFailed if there is no such program.

        Its folder for temporary files is its own and empty, as in Cloud Run: one that was killed cleared nothing away.
        """
        path, scratch = self._logs / f"{name}.log", self._logs / f"{name}.tmp"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        with path.open("ab") as log:
            try:
                popen = subprocess.Popen(
                    command,
                    env={**environment, "TMPDIR": str(scratch)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is for us; we end the children in order
                )
            except OSError as error:
                raise StartFailed(f"{name} could not be started: {error}") from error
        self._tell(f"+{popen.pid}")
        self._children[name] = Process(name, popen, path, ready, command, environment)

    def wait(self, timeout: float, *names: str, report: Callable[[str], None] | None = None) -> None:
        """Wait until these (or all) are ready. Raises StartFailed."""
        waiting = [self._children[name] for name in names or self._children]
        patience = time.monotonic() + timeout
        while waiting := [child for child in waiting if not self._look(child, report)]:
            if time.monotonic() > patience:
                child = waiting[0]
                raise StartFailed(f"{child.name} was not ready after {timeout:.0f} s. Its log ends:\n{child.tail()}")
            time.sleep(0.05)

    def _look(self, child: Process, report: Callable[[str], None] | None) -> bool:
        if not child.up:
            code = child.popen.returncode
            raise StartFailed(f"{child.name} ended with status {code}. Its log {child.log} ends:\n{child.tail()}")
        if not child.is_ready and child.ready():
            child.is_ready = True
            if report:
                report(child.name)
        return child.is_ready

    def up(self) -> dict[str, bool]:
        """Which run."""
        return {name: child.up for name, child in self._children.items()}

    def send(self, name: str, number: signal.Signals) -> None:
        """Send one and what it started a signal, if it runs."""
        if (child := self._children.get(name)) and child.up:
            os.killpg(child.popen.pid, number)

    def revive(self, *names: str) -> list[str]:
        """Start again those of these that ended, as Cloud Run would; which."""
        ended = [child for name in names if (child := self._children.get(name)) and not child.up]
        for child in ended:
            watchdog.end([child.popen.pid])  # what is left of its group, gunicorn's worker say
            self._tell(f"-{child.popen.pid}")
            self.start(child.name, child.command, child.environment, child.ready)
        return [child.name for child in ended]

    def stop(self, *names: str) -> None:
        """End these, or all and the watchdog too. May be called again."""
        ending = [self._children.pop(name) for name in names or tuple(self._children)]
        watchdog.end([child.popen.pid for child in ending], lambda: [child.popen.poll() for child in ending])
        for child in ending:
            child.popen.wait()
            self._tell(f"-{child.popen.pid}")
            shutil.rmtree(self._logs / f"{child.name}.tmp", ignore_errors=True)
        if not names and self._watchdog:
            assert self._watchdog.stdin
            self._watchdog.stdin.close()
            self._watchdog.wait()
            self._watchdog = None

    def _tell(self, line: str) -> None:
        if self._watchdog is None:
            self._watchdog = subprocess.Popen(
                [sys.executable, "-I", "-S", watchdog.__file__], stdin=subprocess.PIPE, start_new_session=True
            )
        assert self._watchdog.stdin
        self._watchdog.stdin.write(line.encode() + b"\n")
        self._watchdog.stdin.flush()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody uses; all held until all are chosen, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def listening(port: int) -> Probe:
    """Ready when the port takes connections."""

    def probe() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    return probe


def answering(port: int, path: str) -> Probe:
    """Ready when a GET of the path gives 200."""

    def probe() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return probe


def inherited(**more: str) -> dict[str, str]:
    """Our environment with more in it."""
    return {**os.environ, **more}
