"""Child processes, each with its own process group and log: waits until they are ready and never leaves one behind."""

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
    """A process exited or was not ready in time; the message includes the end of its log."""


@dataclass
class Process:
    """A child process, its log, and what is needed to restart it."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path
    ready: Probe
    command: Sequence[str]
    environment: Mapping[str, str]
    is_ready: bool = field(default=False)

    @property
    def up(self) -> bool:
        """Whether it is still running."""
        return self.popen.poll() is None

    def tail(self) -> str:
        """The end of its log, as text."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(as_text(line) for line in lines[-LOG_TAIL_LINES:]) or "(nothing)"


class Processes:
    """Starts, watches and stops child processes. A watchdog stops them if this process dies."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: dict[str, Process] = {}
        self._watchdog: subprocess.Popen[bytes] | None = None

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str], ready: Probe) -> None:
        """Start a child without waiting for it to become ready. Raises StartFailed if the program does not exist.

        Each child gets its own, empty folder for temporary files, as in Cloud Run: one that was killed could not clean
        up after itself.
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
                    start_new_session=True,  # Ctrl-C goes to us alone; we stop the children in order
                )
            except OSError as error:
                raise StartFailed(f"{name} could not be started: {error}") from error
        self._tell_watchdog(f"+{popen.pid}")
        self._children[name] = Process(name, popen, path, ready, command, environment)

    def wait(self, timeout: float, *names: str, report: Callable[[str], None] | None = None) -> None:
        """Wait until these children, or all, are ready. Raises StartFailed if one exits or `timeout` seconds pass."""
        waiting = [self._children[name] for name in names or self._children]
        deadline = time.monotonic() + timeout
        while waiting := [child for child in waiting if not self._check(child, report)]:
            if time.monotonic() > deadline:
                child = waiting[0]
                raise StartFailed(f"{child.name} was not ready after {timeout:.0f} s. Its log ends:\n{child.tail()}")
            time.sleep(0.05)

    def _check(self, child: Process, report: Callable[[str], None] | None) -> bool:
        if not child.up:
            code = child.popen.returncode
            raise StartFailed(f"{child.name} exited with status {code}. Its log {child.log} ends:\n{child.tail()}")
        if not child.is_ready and child.ready():
            child.is_ready = True
            if report:
                report(child.name)
        return child.is_ready

    def up(self) -> dict[str, bool]:
        """Each child, and whether it is running."""
        return {name: child.up for name, child in self._children.items()}

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a child's process group, if the child is running."""
        if (child := self._children.get(name)) and child.up:
            os.killpg(child.popen.pid, number)

    def revive(self, *names: str) -> list[str]:
        """Restart those of these children that have exited, as Cloud Run would. Returns their names."""
        ended = [child for name in names if (child := self._children.get(name)) and not child.up]
        for child in ended:
            watchdog.end([child.popen.pid])  # whatever is left of its group, such as gunicorn's worker
            self._tell_watchdog(f"-{child.popen.pid}")
            self.start(child.name, child.command, child.environment, child.ready)
        return [child.name for child in ended]

    def stop(self, *names: str) -> None:
        """Stop these children, or all of them and the watchdog. May be called more than once."""
        ending = [self._children.pop(name) for name in names or tuple(self._children)]
        watchdog.end([child.popen.pid for child in ending], lambda: [child.popen.poll() for child in ending])
        for child in ending:
            child.popen.wait()
            self._tell_watchdog(f"-{child.popen.pid}")
            shutil.rmtree(self._logs / f"{child.name}.tmp", ignore_errors=True)
        if not names and self._watchdog:
            assert self._watchdog.stdin
            self._watchdog.stdin.close()
            self._watchdog.wait()
            self._watchdog = None

    def _tell_watchdog(self, line: str) -> None:
        if self._watchdog is None:
            self._watchdog = subprocess.Popen(
                [sys.executable, "-I", "-S", watchdog.__file__], stdin=subprocess.PIPE, start_new_session=True
            )
        assert self._watchdog.stdin
        self._watchdog.stdin.write(line.encode() + b"\n")
        self._watchdog.stdin.flush()


def free_ports(count: int) -> list[int]:
    """Free ports of the loopback interface. All are held until all are chosen, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def listening(port: int) -> Probe:
    """A probe that succeeds when the port accepts connections."""

    def probe() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    return probe


def answering(port: int, path: str) -> Probe:
    """A probe that succeeds when a GET of the path returns 200."""

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
    """A copy of our environment with these variables added."""
    return {**os.environ, **more}
