"""Child processes never outlive us, and one that cannot start says why."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from speechpipe.contract.resources import Service
from speechpipe.emulators import EmulatorsMissing, StartFailed, find
from speechpipe.emulators.deliver import Deliverer, Event
from speechpipe.emulators.front import Front
from speechpipe.emulators.processes import Processes, listening
from speechpipe.emulators.relay import Relay
from speechpipe.emulators.storage import finalized_event
from tests.emulators.conftest import WAIT_SECONDS, wait_for

pytestmark = pytest.mark.slow  # together over ten seconds

SLEEPER = (sys.executable, "-c", "import time; time.sleep(600)")
#: A child that has a child itself and ignores SIGTERM, as an emulator in trouble would.
STUBBORN = (
    sys.executable,
    "-c",
    "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid, flush=True); time.sleep(600)",
)


def runs(pid: int) -> bool:
    """Whether a process is running. A zombie is not; in a container without init, nobody may reap it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@contextmanager
def unanswered_port() -> Iterator[int]:
    """A port that nobody listens on, reserved so that nobody else can take it."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    children = Processes(tmp_path)
    yield children
    children.stop()


def test_stop_ends_grandchildren_and_processes_that_ignore_sigterm(processes: Processes, tmp_path: Path) -> None:
    processes.start("stubborn", STUBBORN, os.environ, ready=lambda: True)
    log = tmp_path / "stubborn.log"
    grandchild = int(wait_for(log.read_text))
    assert processes.up() == {"stubborn": True}
    processes.stop()
    assert not runs(grandchild)
    assert processes.up() == {}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_its_parent(tmp_path: Path, how: signal.Signals) -> None:
    script = f"""
import os, time
from pathlib import Path
from speechpipe.emulators.processes import Processes
children = Processes(Path({str(tmp_path)!r}))
children.start("stubborn", {STUBBORN!r}, os.environ, ready=lambda: True)
while not (text := Path({str(tmp_path / "stubborn.log")!r}).read_text()): time.sleep(0.05)
print(children._children["stubborn"].popen.pid, text, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout
        child, grandchild = map(int, (parent.stdout.readline() + parent.stdout.readline()).split())
        assert runs(child)
        assert runs(grandchild)
        parent.send_signal(how)
        parent.wait()
    wait_for(lambda: not runs(child) and not runs(grandchild))


def test_a_killed_childs_temporary_files_are_removed(processes: Processes, tmp_path: Path) -> None:
    script = "import tempfile, time; print(tempfile.mkdtemp(), flush=True); time.sleep(600)"
    processes.start("worker", (sys.executable, "-c", script), os.environ, ready=lambda: True)
    log = tmp_path / "worker.log"
    left = Path(wait_for(log.read_text).strip())
    assert left.is_dir()
    processes.send("worker", signal.SIGKILL)
    assert wait_for(lambda: processes.revive("worker")) == ["worker"]
    assert not left.exists()
    processes.stop()
    assert not list(tmp_path.glob("*.tmp"))


def test_a_child_that_exits_early_is_named_with_the_end_of_its_log(processes: Processes) -> None:
    processes.start("broken", (sys.executable, "-c", "raise SystemExit('no model')"), os.environ, ready=lambda: False)
    with pytest.raises(StartFailed, match=r"broken exited with status 1(.|\n)*no model"):
        processes.wait(WAIT_SECONDS)


def test_a_log_of_json_is_shown_as_text(processes: Processes) -> None:
    line = (
        '{"severity": "CRITICAL", "message": "no model", "time": "2026-11-24T10:00:00+00:00", "action": "load_failed"}'
    )
    processes.start("broken", (sys.executable, "-c", f"raise SystemExit({line!r})"), os.environ, ready=lambda: False)
    with pytest.raises(StartFailed, match="\n10:00:00 CRITICAL no model action=load_failed"):
        processes.wait(WAIT_SECONDS)


def test_a_child_that_is_never_ready_is_named(processes: Processes) -> None:
    with unanswered_port() as port:
        processes.start("slow", SLEEPER, os.environ, ready=listening(port))
        with pytest.raises(StartFailed, match="slow was not ready after 0 s"):
            processes.wait(0.2)


def test_a_missing_program_is_named(processes: Processes) -> None:
    with pytest.raises(StartFailed, match="nothing could not be started"):
        processes.start("nothing", ("/no/such/program",), os.environ, ready=lambda: True)


def test_missing_emulators_are_named_with_the_commands_that_install_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(EmulatorsMissing) as missing:
        find.find()
    assert "Java" in str(missing.value)
    assert "apt-get install -y google-cloud-cli-pubsub-emulator google-cloud-cli-firestore-emulator" in str(
        missing.value
    )
    assert "gcloud components install" in str(missing.value)


def test_an_sdk_without_one_emulator_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "platform" / "cloud-firestore-emulator").mkdir(parents=True)
    (tmp_path / "platform" / "cloud-firestore-emulator" / "cloud-firestore-emulator.jar").touch()
    for name in ("gcloud", "java"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(EmulatorsMissing, match=r"Not found: the Pub/Sub emulator\."):
        find.find()


# ------------------------------------------------------------------------------------------------ deliveries


class Target:
    """A function that responds with these statuses, one per request; then with 200."""

    def __init__(self, *answers: int) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        pending = list(answers)
        target = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                target.received.append((dict(self.headers.items()), body))
                self.send_response(pending.pop(0) if pending else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.front = Front(dict.fromkeys(Service, self.server.server_address[1]))
        threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_an_event_is_delivered_until_it_is_acknowledged() -> None:
    target = Target(500, 429)
    deliverer = Deliverer(target.front)
    deliverer.deliver(Event(Service.JOIN, {"ce-id": "1"}, b"body"))
    wait_for(lambda: deliverer.pending == 0)
    assert [body for _, body in target.received] == [b"body"] * 3
    deliverer.stop()
    target.close()


def test_an_event_waits_for_a_function_that_is_not_there_yet(caplog: pytest.LogCaptureFixture) -> None:
    with unanswered_port() as port:
        deliverer = Deliverer(Front({Service.INGEST: port}))
        deliverer.deliver(Event(Service.INGEST, {}, b""))
        wait_for(lambda: "redeliver" in [getattr(record, "action", None) for record in caplog.records])
        assert deliverer.pending == 1
        deliverer.stop()


def test_the_relay_decodes_what_the_firestore_emulator_sends() -> None:
    target = Target()
    deliverer = Deliverer(target.front, copies=2)
    relay = Relay(0, Service.JOIN, deliverer)
    connection = http.client.HTTPConnection("127.0.0.1", relay._server.server_address[1])
    headers = {"ce-id": "1", "ce-document": "recordings/a/partials/stt.r1", "content-type": "application/protobuf"}
    connection.request("POST", "/functions/projects/p/triggers/join", b"aGVsbG8=", {**headers, "x-other": "no"})
    assert connection.getresponse().status == 200
    connection.close()
    wait_for(lambda: deliverer.pending == 0)
    assert [body for _, body in target.received] == [b"hello"] * 2
    received = {key.lower(): value for key, value in target.received[0][0].items()}
    assert {key: received.get(key) for key in headers} == headers
    assert "x-other" not in received
    relay.stop()
    deliverer.stop()
    target.close()


def test_an_object_of_any_name_has_an_event_whose_headers_can_be_sent() -> None:
    obj = {"bucket": "b", "name": "é #1\n🎧.wav", "generation": "1"}
    event = finalized_event(obj)
    assert all(value.isascii() and value.isprintable() for value in event.headers.values())
    assert event.headers["ce-subject"] == "objects/%C3%A9%20%231%0A%F0%9F%8E%A7.wav"
