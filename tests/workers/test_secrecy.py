"""Neither a recording's content nor a caller's token reaches a worker's output."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from speechpipe.backends import local
from speechpipe.contract import Options, Stage, Task, wire
from speechpipe.pipeline.ingest import ingest
from speechpipe.pipeline.world import World
from speechpipe.settings import Limits
from tests.doubles import START
from tests.tokens import AUDIENCE, CALLER, Signer, serving
from tests.workers.test_service import wait_until

ROOT = Path(__file__).parents[2]
GOOGLE = Signer()
TRANSCRIPT = "quetzalcoatlus"
METADATA = "xylophonist"
HOTWORDS = "mnemosyne"
PROMPT = "rhododendron"
NAME = "jane doe's diagnosis"
SECRETS = (TRANSCRIPT, METADATA, HOTWORDS, PROMPT, "jane doe", "jane%20doe", "diagnosis")

#: The real worker on the embedded backend, with an engine that returns or raises what the file's content asks for.
PROGRAM = """
import os, sys
from pathlib import Path
from speechpipe.backends import local
from speechpipe.backends.gcp import oidc
from speechpipe.contract import Analysis, Language, Model, Segment, Transcript
from speechpipe.observe.log import configure
from speechpipe.settings import WorkerSettings, read
from tests.doubles import AUDIO, segment
from workers.__main__ import serve

folder, oidc.CERTIFICATES_URL, said = sys.argv[1:]

def engine(path, options, progress, part=None):
    kind = path.read_bytes().decode()
    everything = f"{said} {options.hotwords} {options.initial_prompt}"
    if kind == "ValueError":
        raise ValueError(everything)
    if kind == "RuntimeError":
        raise RuntimeError(everything)
    if kind == "KeyError":
        {}[everything]
    if kind == "pydantic":
        Segment.model_validate({"text": everything, "start": everything})
    if kind == "file":
        Path(f"/nowhere/{everything}").read_bytes()
    if kind == "chain":
        try:
            raise ValueError(everything)
        except ValueError as error:
            raise MemoryError(everything) from error
    value = Transcript(language=Language(code="en", confidence=1), segments=(segment(0, 1, said),), speech_seconds=1)
    model = Model(name="fixed", revision="1", engine="test 1")
    return Analysis(value=value, audio=AUDIO, model=model, compute_seconds=0.1)

settings = read(WorkerSettings)
configure(settings.log_format)
os._exit(serve(settings, local.connect(Path(folder)), lambda stage, _: engine))
"""


class Running:
    """A worker's process and its output."""

    def __init__(self, folder: Path, certificates: str, form: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        self._log = folder.parent / f"{form}.log"
        settings = {
            "GOOGLE_CLOUD_PROJECT": "p",
            "SPEECHPIPE_UPLOADS_BUCKET": "u",
            "SPEECHPIPE_RESULTS_BUCKET": "r",
            "SPEECHPIPE_STAGE": "stt",
            "SPEECHPIPE_LOG_FORMAT": form,
            "SPEECHPIPE_TRACES": "console",  # the most verbose exporter
            "SPEECHPIPE_PUSH_AUDIENCE": AUDIENCE,
            "SPEECHPIPE_PUSH_CALLERS": CALLER,
            "PORT": str(port),
            "PYTHONPATH": str(ROOT),
        }
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(folder), certificates, TRANSCRIPT],
                cwd=ROOT,
                env={**os.environ, **settings},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def ready(self) -> bool:
        assert self._process.poll() is None, self.output()
        try:
            with urllib.request.urlopen(f"{self.address}/readyz", timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def post(self, body: bytes, token: str | None) -> int:
        request = urllib.request.Request(f"{self.address}/", data=body, method="POST")
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return int(response.status)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code

    def output(self) -> str:
        return self._log.read_text()

    def stop(self) -> str:
        """Stop the worker and return all of its output."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=60)
        return self.output()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def pushed(task: Task) -> bytes:
    data, attributes = wire.task_to_message(task)
    message = {"data": base64.b64encode(data).decode(), "attributes": attributes, "messageId": "1"}
    return json.dumps({"message": message, "subscription": "projects/p/subscriptions/s"}).encode()


@pytest.fixture
def uploaded(tmp_path: Path) -> Callable[[str], Task]:
    """Uploads and ingests a recording whose content tells the engine what to do; returns its stt task."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    backend = local.connect(folder)

    def make(kind: str) -> Task:
        path = tmp_path / "upload"
        path.write_text(kind)
        metadata = {"ref": METADATA, "hotwords": HOTWORDS, "initial-prompt": PROMPT}
        source = backend.uploads.upload(path, f"{NAME} {kind}.wav", metadata)
        ingest(source, World.over(backend, Limits.model_validate({}), lambda: START))
        options = Options(hotwords=HOTWORDS, initial_prompt=PROMPT)
        return Task(recording_id=source.recording_id, stage=Stage.STT, source=source, options=options, queued_at=START)

    return make


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_workers_output_contains_ids_and_actions_but_no_content(
    uploaded: Callable[[str], Task], tmp_path: Path, form: str
) -> None:
    failing = ("ValueError", "RuntimeError", "KeyError", "pydantic", "file", "chain")
    tasks = {kind: uploaded(kind) for kind in ("speech", *failing)}
    good, other = GOOGLE.token(), GOOGLE.token(email="somebody@example.com")
    with serving(GOOGLE) as endpoint:
        worker = Running(tmp_path / "recordings", endpoint.url, form)
        try:
            wait_until(worker.ready)
            assert worker.post(pushed(tasks["speech"]), None) == 401
            assert worker.post(pushed(tasks["speech"]), other) == 403
            assert worker.post(pushed(tasks["speech"]), good + "x") == 401
            assert worker.post(pushed(tasks["speech"]), good) == 204
            assert [worker.post(pushed(tasks[kind]), good) for kind in failing] == [500] * len(failing)
            assert worker.post(json.dumps({"message": {"data": TRANSCRIPT}}).encode(), good) == 204  # unreadable
            assert worker.post(TRANSCRIPT.encode(), good) == 204
            output = worker.stop()
        finally:
            worker.kill()
    for action in ("refused", "performed", "failed", "unreadable"):  # the lines are really there
        assert f'"action": "{action}"' in output or f"action={action}" in output
    assert output.count("refused") >= 3
    assert all(task.recording_id in output for task in tasks.values())
    assert all(kind in output for kind in ("ValueError", "RuntimeError", "KeyError", "ValidationError", "MemoryError"))
    parts = {part for token in (good, other) for part in token.split(".")}
    assert [secret for secret in (*SECRETS, *parts) if secret in output] == []
    partials = local.connect(tmp_path / "recordings").store.partials(tasks["speech"].recording_id)
    assert TRANSCRIPT in partials[0].model_dump_json()  # the transcript was written
