"""Folders on disks that are full, read-only, or without hard links. The small disks are real ones."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from speechpipe.backends.local import STATE_FOLDER, connect
from speechpipe.backends.local.results import FolderResults
from speechpipe.contract import Stage, Status
from speechpipe.embedded import runner
from speechpipe.embedded.runner import Runner
from speechpipe.settings import Limits
from tests.doubles import FixedEngine, ready
from tests.embedded.test_runner import until

WITHOUT_LINKS = [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK]


@pytest.fixture(params=WITHOUT_LINKS, ids=errno.errorcode.get)
def _no_links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on exFAT, on a network share, or on a mounted bucket."""

    def link(source: object, target: object, **_: object) -> None:
        raise OSError(request.param, os.strerror(request.param), source, None, target)

    monkeypatch.setattr(os, "link", link)


@pytest.mark.usefixtures("_no_links")
def test_a_recording_is_completed_in_a_folder_without_hard_links(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SETTLE_SECONDS", 0.1)
    (folder / "a.wav").write_bytes(b"audio")
    with Runner(folder, ready({stage: FixedEngine(stage) for stage in Stage}), Limits(), traces="off") as work:
        until(work.idle)
    [recording] = connect(folder).store.recordings()
    assert recording.status is Status.COMPLETED
    assert recording.artifacts is not None
    assert b"where is my order" in connect(folder).results.read(recording.artifacts.record)
    assert not [path for path in (folder / STATE_FOLDER / "staging").iterdir() if path.name != "lock"]


@pytest.mark.usefixtures("_no_links")
def test_results_are_created_once_without_hard_links_too(tmp_path: Path) -> None:
    results = FolderResults(tmp_path / "results", tmp_path / "staging")
    bodies = [str(number).encode() * 100_000 for number in range(8)]
    with ThreadPoolExecutor(len(bodies)) as threads:
        uris = list(threads.map(lambda body: results.create("a/r1/record.json", body, "application/json"), bodies))
    first = results.read(uris[0])
    assert first in bodies  # whole, and of one of them
    results.create("a/r1/record.json", b"later", "application/json")
    assert results.read(uris[0]) == first


def on_a_small_disk(at: Path, then: str) -> subprocess.CompletedProcess[str]:
    """Run shell commands in a namespace with an empty disk of 3 MB at a path. Skips where that is not allowed."""
    at.mkdir(exist_ok=True)
    mount = f"mount -t tmpfs -o size=3m tmpfs {shlex.quote(str(at))}"
    unshare = ["unshare", "--map-root-user", "--mount", "sh", "-ec"]
    try:
        possible = subprocess.run([*unshare, mount], capture_output=True).returncode == 0
    except FileNotFoundError:
        possible = False
    if not possible:
        if os.environ.get("CI"):
            pytest.fail("needs unshare and mount, to have a small disk")
        pytest.skip("needs unshare and mount, to have a small disk")
    return subprocess.run([*unshare, f"{mount}; {then}"], capture_output=True, text=True, timeout=250)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("mount -o remount,ro {0}", "read-only"),
        ("mkdir {0}/.speechpipe; mount -o remount,ro {0}", "unable to open database file"),
        ("cat /dev/zero > {0}/filler || true", "no space left on device|disk is full"),
        ("head -c 2200000 /dev/zero > {0}/filler", "no space left on device|disk is full"),
    ],
    ids=["read-only", "read-only later", "full", "nearly full"],
)
def test_a_folder_that_cannot_be_written_is_told_at_the_start(tmp_path: Path, state: str, reason: str) -> None:
    disk = tmp_path / "disk"
    run = f"{sys.executable} -m speechpipe.cli run {shlex.quote(str(disk))} --models toy"
    done = on_a_small_disk(disk, f"{state.format(shlex.quote(str(disk)))}; exec {run}")
    assert done.returncode == 2, done.stderr
    said = " ".join(done.stderr.split())
    assert "Traceback" not in said
    assert "cannot be written" in said
    assert any(each in said for each in reason.split("|")), said
    assert "make room" in said


def test_a_recording_waits_while_the_disk_is_full_and_is_completed_then(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    done = on_a_small_disk(disk, f"exec {sys.executable} -m tests.embedded.small_disk {shlex.quote(str(disk))}")
    assert done.stdout.split() == ["completed", "True"], done.stderr
