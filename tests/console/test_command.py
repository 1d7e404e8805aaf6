"""The console as started from the command line."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.console.conftest import WAIT_SECONDS

pytestmark = pytest.mark.slow  # together over ten seconds


@contextmanager
def speechpipe(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """The running command. At the end it is interrupted and must exit cleanly."""
    command = [sys.executable, "-m", "speechpipe.cli", *map(str, arguments)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                assert process.wait(timeout=WAIT_SECONDS) == 130
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def address(process: subprocess.Popen[str]) -> str:
    """The URL that it prints for the console."""
    assert process.stderr
    for line in process.stderr:
        if found := re.search(r"console: (http://127\.0\.0\.1:\d+/)", line):
            return found[1]
    raise AssertionError("it printed no URL")


def test_alone_it_serves_a_folder_and_stops_while_a_page_is_open(folder: Path) -> None:
    with speechpipe("--dir", folder, "console") as process:
        url = address(process)
        with httpx.stream("GET", f"{url}api/events", timeout=WAIT_SECONDS) as stream:
            assert next(stream.iter_lines()) == "event: figures"
            assert httpx.get(url, timeout=WAIT_SECONDS).status_code == 200
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=WAIT_SECONDS) == 130


@pytest.mark.engines
def test_alongside_a_watched_folder_it_reports_the_running_processes(folder: Path) -> None:
    with (
        speechpipe("run", folder, "--watch", "--models", "toy") as process,
        httpx.stream("GET", f"{address(process)}api/events", timeout=WAIT_SECONDS) as stream,
    ):
        lines = stream.iter_lines()
        next(lines)
        assert '"stt":true' in next(lines).partition('"workers":')[2]
