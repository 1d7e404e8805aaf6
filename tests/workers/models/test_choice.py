"""Which model is chosen, with a local cache and hubs that answer, refuse, hang or are unreachable."""

from __future__ import annotations

import http.server
import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from speechpipe.contract import Stage
from speechpipe.settings import EngineSettings
from workers.models import choice, hub, packages
from workers.models.choice import DEFAULT_CLASSIFIER, PINS, choose
from workers.models.hub import ModelMissing, hub_answers
from workers.models.naming import repository_of, requested

WHISPER_FILES = ("config.json", "model.bin", "tokenizer.json", "vocabulary.txt")
SER_FILES = ("config.json", "preprocessor_config.json", "pytorch_model.bin")
SMALL = "Systran/faster-whisper-small"


@pytest.fixture(autouse=True)
def _no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    toys = tmp_path / "toys"
    fill(toys / "whisper", WHISPER_FILES)
    fill(toys / "ser", SER_FILES)
    monkeypatch.setattr(choice, "TOY_MODELS", toys)
    monkeypatch.setattr(choice, "assemble", no_index)  # test_packages.py has the package index
    hub_answers.cache_clear()
    yield
    hub_answers.cache_clear()


def no_index(*arguments: object) -> Path:
    raise ModelMissing("the package index is for other tests")


def fill(folder: Path, names: tuple[str, ...]) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text(name)
    return folder


def fill_cache(repository: str, revision: str, names: tuple[str, ...]) -> Path:
    return fill(Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}/snapshots/{revision}", names)


def settings(**changes: Any) -> EngineSettings:
    return EngineSettings.model_validate({"device": "cpu", **changes})


def test_the_real_models_come_from_the_local_cache_at_their_pins() -> None:
    for repository, names in ((SMALL, WHISPER_FILES), (DEFAULT_CLASSIFIER, SER_FILES)):
        fill_cache(repository, "0" * 40, names)  # another commit does not count
        fill_cache(repository, PINS[repository], names)
    for stage, repository in ((Stage.STT, SMALL), (Stage.SER, DEFAULT_CLASSIFIER)):
        choice = choose(stage, settings())
        assert (choice.name, choice.revision) == (repository, PINS[repository])
        assert choice.folder.name == PINS[repository]
        assert choice.cautions == ()
        assert choice.notice is None


def test_every_pin_is_a_full_commit_hash_and_every_default_has_one() -> None:
    assert all(len(pin) == 40 and set(pin) <= set("0123456789abcdef") for pin in PINS.values())
    for name in choice.DEFAULT_WHISPER.values():
        assert repository_of(Stage.STT, name) in PINS


def test_without_hub_and_cache_the_toy_models_are_used_and_every_result_says_so() -> None:
    for stage in Stage:
        choice = choose(stage, settings())
        assert choice.name == "toy"
        assert choice.revision.startswith("sha256:")
        [caution] = choice.cautions
        assert caution.code == "demo_models"
        assert caution.message == choice.notice
        assert "synthetic voices" in caution.message
        assert f"SPEECHPIPE_{stage.name}_MODEL" in caution.message


def test_an_incomplete_model_in_the_cache_is_not_used() -> None:
    fill_cache(SMALL, PINS[SMALL], WHISPER_FILES[:-2])  # an interrupted download
    assert choose(Stage.STT, settings()).name == "toy"


def test_the_toys_are_used_on_request_even_if_the_real_models_are_there() -> None:
    fill_cache(SMALL, PINS[SMALL], WHISPER_FILES)
    assert choose(Stage.STT, settings(models="toy")).name == "toy"
    assert choose(Stage.STT, settings(models="toy", stt_model="small")).name == SMALL


def test_demo_is_base_from_the_hubs_cache_and_the_bundled_emotion_model() -> None:
    fill_cache(SMALL, PINS[SMALL], WHISPER_FILES)
    fill_cache(DEFAULT_CLASSIFIER, PINS[DEFAULT_CLASSIFIER], SER_FILES)
    fill_cache(packages.BASE.repository, packages.BASE.revision, WHISPER_FILES)
    chosen = choose(Stage.STT, settings(models="demo"))
    assert (chosen.name, chosen.revision, chosen.cautions) == (packages.BASE.repository, packages.BASE.revision, ())
    assert choose(Stage.SER, settings(models="demo")).name == "toy"
    assert choose(Stage.SER, settings(ser_model="demo")).name == "toy"


def test_a_whisper_model_for_both_stages_leaves_emotion_at_its_default(tmp_path: Path) -> None:
    folder = fill(tmp_path / "ours", WHISPER_FILES)
    for name in ("small", SMALL, str(folder)):
        assert requested(Stage.STT, settings(models=name)) == name
        assert requested(Stage.SER, settings(models=name)) is None
    for name in ("demo", "toy", "our/classifier"):
        assert requested(Stage.SER, settings(models=name)) == name
    assert requested(Stage.SER, settings(models="small", ser_model="demo")) == "demo"


def test_a_named_model_is_never_replaced() -> None:
    for changes in ({"stt_model": "large-v3"}, {"models": "Systran/faster-whisper-large-v3"}):
        with pytest.raises(ModelMissing, match=r"Systran/faster-whisper-large-v3 at edaa852ec7e1 .* HF_HUB_OFFLINE"):
            choose(Stage.STT, settings(**changes))
    with pytest.raises(ModelMissing, match=r"no model 'lagre' for stt.*large-v3-turbo"):
        choose(Stage.STT, settings(stt_model="lagre"))


def test_a_folder_is_a_model_and_its_revision_follows_its_content(tmp_path: Path) -> None:
    folder = fill(tmp_path / "our-whisper", WHISPER_FILES)
    first = choose(Stage.STT, settings(stt_model=str(folder)))
    assert first.name == "our-whisper"
    assert choose(Stage.STT, settings(models=str(folder))).revision == first.revision
    (folder / "model.bin").write_text("other weights")
    assert choose(Stage.STT, settings(stt_model=str(folder))).revision != first.revision
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelMissing, match=r"tokenizer\.json is missing"):
        choose(Stage.STT, settings(stt_model=str(folder)))


def test_another_revision_can_be_requested() -> None:
    fill_cache(SMALL, "a" * 40, WHISPER_FILES)
    assert choose(Stage.STT, settings(stt_model="small", stt_revision="a" * 40)).revision == "a" * 40


# ----------------------------------------------------------------------------------------------------- the hub


class Hub(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_HEAD(self) -> None:
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def answering() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(("status", "there"), [(200, True), (404, True), (403, False), (407, False), (502, False)])
def test_a_proxy_that_refuses_is_not_the_hub(
    answering: str, status: int, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hub, "status", status)
    assert hub_answers(answering) is there


def test_a_hub_that_never_answers_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.3)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        assert "cannot be reached" in (choose(Stage.STT, settings()).notice or "")
        assert choose(Stage.SER, settings()).name == "toy"  # not probed a second time
        assert time.monotonic() - began < 1.5


def test_a_name_lookup_that_hangs_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hang(*args: object, **kwargs: object) -> list[object]:
        over.wait(20)
        raise socket.gaierror("no such host")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.3)
    began = time.monotonic()
    assert not hub_answers("https://hub.invalid")
    assert time.monotonic() - began < 1.5
    over.set()


def test_with_a_hub_the_pinned_commit_is_downloaded(answering: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []
    original = huggingface_hub.snapshot_download

    def download(repository: str, *, revision: str | None = None, local_files_only: bool = False, **rest: Any) -> str:
        if local_files_only:
            return original(repository, revision=revision, local_files_only=True)
        asked.append((repository, revision))
        return str(fill_cache(repository, revision or "main", WHISPER_FILES))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", answering)
    choice = choose(Stage.STT, settings())
    assert asked == [(SMALL, PINS[SMALL])]
    assert (choice.name, choice.revision) == (SMALL, PINS[SMALL])
    assert choose(Stage.STT, settings()).folder == choice.folder
    assert len(asked) == 1  # the second time it comes from the cache


def test_after_a_failed_download_the_toy_models_are_used(answering: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server answers the probe, but then nothing that huggingface_hub requests."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", answering)
    original = huggingface_hub.snapshot_download

    def download(*args: Any, local_files_only: bool = False, **kwargs: Any) -> str:
        if local_files_only:
            return str(original(*args, local_files_only=True, **kwargs))
        raise ConnectionResetError

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert "could not be downloaded (ConnectionResetError)" in (choose(Stage.STT, settings()).notice or "")
    with pytest.raises(ModelMissing, match="ConnectionResetError"):
        choose(Stage.STT, settings(stt_model="small"))


def test_a_warning_is_logged_for_the_toy_models(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(Exception, match="model"):
        choice.load(Stage.STT, settings())  # the files of this test are not a model
    assert any("uses the bundled toy model" in record.getMessage() for record in caplog.records)
