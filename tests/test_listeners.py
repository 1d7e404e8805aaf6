"""On a laptop nothing listens beyond the loopback interface (`speechpipe up`: tests/emulators/test_local_cloud.py)."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from speechpipe.settings import WorkerSettings
from tests.listeners import is_loopback, listeners
from tests.media import SAMPLES
from tests.workers.test_service import start, wait_until

#: Every Python process imports this module if it is on its path; it logs each address that is bound.
HOOK = """
import os, sys
def hook(event, arguments):
    if event == "socket.bind":
        with open(os.environ["BOUND"], "a") as file:
            print(arguments[1], file=file)
sys.addaudithook(hook)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.mark.parametrize(("host", "loopback"), [("127.0.0.1", True), ("0.0.0.0", False), ("::1", True), ("::", False)])
def test_only_listening_sockets_are_found(host: str, loopback: bool) -> None:
    before = listeners([os.getpid()])
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.bind((host, 0))
        assert listeners([os.getpid()]) == before
        listener.listen()
        assert listeners([os.getpid()]) - before == {(host, listener.getsockname()[1])}
    assert is_loopback(host) is loopback


def test_a_worker_listens_on_the_loopback_interface_by_default(tmp_path: Path) -> None:
    assert WorkerSettings.model_fields["host"].default == "127.0.0.1"
    process, address = start(tmp_path / "recordings", "working")
    try:
        wait_until(lambda: bool(listeners([process.pid])), 240)
        assert listeners([process.pid]) == {("127.0.0.1", int(address.rpartition(":")[2]))}
    finally:
        process.kill()
        process.communicate()


@pytest.mark.engines
def test_run_listens_nowhere(tmp_path: Path) -> None:
    folder, site, bound = tmp_path / "recordings", tmp_path / "site", tmp_path / "bound"
    folder.mkdir()
    site.mkdir()
    (site / "sitecustomize.py").write_text(HOOK)
    shutil.copy(SAMPLES / "angry_customer.ogg", folder)
    command = [sys.executable, "-m", "speechpipe.cli", "run", str(folder), "--models", "toy"]
    environment = {**os.environ, "PYTHONPATH": str(site), "BOUND": str(bound)}
    probe = "import socket; socket.socket().bind(('127.0.0.1', 0))"
    subprocess.run([sys.executable, "-c", probe], env=environment, check=True)
    assert bound.read_text() == "('127.0.0.1', 0)\n"  # so the hook works
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "completed" in ran.stdout + ran.stderr
    assert bound.read_text() == "('127.0.0.1', 0)\n"
