"""Weights: downloaded during an image build, from a hub served here, and found again offline."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.rehearsal import ROOT

MODEL, REVISION = "somebody/whisper", "0123456789" * 4
FILES = ("config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.json", "README.md")


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of a hub as downloading one commit needs."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        if path == f"api/models/{MODEL}/revision/{REVISION}":
            siblings = [{"rfilename": name} for name in FILES]
            self.answer(json.dumps({"id": MODEL, "sha": REVISION, "siblings": siblings}).encode())
        elif path == f"api/models/{MODEL}/tree/{REVISION}":
            tree = [{"type": "file", "path": name, "size": len(name), "oid": "0" * 40} for name in FILES]
            self.answer(json.dumps(tree).encode())
        elif path.startswith(f"{MODEL}/resolve/{REVISION}/"):
            self.answer(path.rpartition("/")[2].encode())
        else:
            self.answer(b"", 200 if path == "" else 404)

    def answer(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", REVISION)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    plain = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HF_HUB_DISABLE_XET": "1", **environment}
    return subprocess.run(
        [sys.executable, *code.split(), *arguments], env=plain, capture_output=True, text=True, cwd=ROOT
    )


def test_downloaded_weights_are_found_offline_by_name_and_revision(hub: str, tmp_path: Path) -> None:
    cache = {"HF_HUB_CACHE": str(tmp_path), "HOME": str(tmp_path / "home")}
    fetched = python("docker/weights.py stt", MODEL, REVISION, HF_ENDPOINT=hub, **cache)
    assert fetched.returncode == 0, fetched.stderr
    assert not list(tmp_path.rglob("README.md"))  # files that the engine does not read are not in the image
    names = {"SPEECHPIPE_STT_MODEL": MODEL, "SPEECHPIPE_STT_REVISION": REVISION, "HF_HUB_OFFLINE": "1"}
    ask = (
        "from speechpipe.contract import Stage; from speechpipe.settings import EngineSettings, read;"
        " from workers.models.choice import choose; it = choose(Stage.STT, read(EngineSettings));"
        " print(it.name, it.revision)"
    )
    found = python("-c", ask, **names, **cache)
    assert found.stdout.split() == [MODEL, REVISION], found.stderr


def test_a_commit_missing_from_the_hub_fails_the_build(hub: str, tmp_path: Path) -> None:
    done = python("docker/weights.py stt", MODEL, "f" * 40, HF_ENDPOINT=hub, HF_HUB_CACHE=str(tmp_path))
    assert done.returncode == 1
    assert f"{MODEL} at ffffffffffff could not be downloaded" in done.stderr


def test_a_branch_is_refused_as_a_revision(tmp_path: Path) -> None:
    done = python("docker/weights.py ser", MODEL, "main", HF_HUB_CACHE=str(tmp_path))
    assert done.returncode == 1
    assert "needs a full commit hash as its revision, not 'main'" in done.stderr


def test_demo_downloads_nothing(tmp_path: Path) -> None:
    done = python("docker/weights.py ser demo main", HF_HUB_CACHE=str(tmp_path / "weights"), HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "weights").iterdir()) == []
