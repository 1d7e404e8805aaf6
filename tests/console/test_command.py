"""The console as people start it."""

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

pytestmark = pytest.mark.slow  # together over ten seconds


@contextmanager
def speechpipe(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """The command, running; interrupted at the end, which it takes well."""
    command = [sys.executable, "-m", "speechpipe.cli", *map(str, arguments)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                assert process.wait(timeout=30) == 130
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def address(process: subprocess.Popen[str]) -> str:
    """What it says the console's is."""
    assert process.stderr
    for line in process.stderr:
        if found := re.search(r"console: (http://127\.0\.0\.1:\d+/)", line):
            return found[1]
    raise AssertionError("it said none")


def test_alone_it_shows_a_folder_and_ends_with_a_page_open(folder: Path) -> None:
    with speechpipe("--dir", folder, "console") as process:
        url = address(process)
        with httpx.stream("GET", f"{url}api/events", timeout=30) as stream:
            assert next(stream.iter_lines()) == "event: figures"
            assert httpx.get(url).status_code == 200
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 130


@pytest.mark.engines
def test_it_stands_beside_a_folder_that_is_watched_and_says_what_runs(folder: Path) -> None:
    with (
        speechpipe("run", folder, "--watch", "--models", "demo") as process,
        httpx.stream("GET", f"{address(process)}api/events", timeout=30) as stream,
    ):
        lines = stream.iter_lines()
        next(lines)
        assert '"stt":true' in next(lines).partition('"workers":')[2]
