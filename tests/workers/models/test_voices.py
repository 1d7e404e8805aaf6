"""The emotion model that is put together from Whisper base and a head of ours."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from speechpipe.contract import Emotions, Options, Stage
from speechpipe.settings import EngineSettings
from workers.models import choice, inventory, packages, voices
from workers.models.hub import ModelMissing

SAMPLES = Path(voices.__file__).parents[1] / "demo" / "samples"


def settings(**changes: str) -> EngineSettings:
    return EngineSettings.model_validate({"device": "cpu", **changes})


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No hub, an empty cache, and no package index."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def base_there(whisper_base: Path, offline: None, tmp_path: Path) -> Path:
    """Whisper base in our cache, as it is after a first run; the emotion model is not there yet."""
    place = tmp_path / "cache" / "speechpipe" / "models" / packages.BASE.repository
    place.mkdir(parents=True)
    (place / packages.BASE.revision).symlink_to(whisper_base)
    return whisper_base


def test_the_head_is_small_and_its_card_says_what_it_is() -> None:
    size = (voices.HEAD / "head.safetensors").stat().st_size
    card = (voices.HEAD / "README.md").read_text()
    assert size < 100_000
    assert f"the head is {round(size / 1000)} kB" in card
    assert "German actors" in card
    assert "acted" in card
    calibration = json.loads((voices.HEAD / "config.json").read_text())["calibration"]
    assert calibration["temperature"] > 0
    assert "EMO-DB" in calibration["fitted_on"]


def test_nine_of_ten_clips_of_speakers_that_it_never_heard_are_right() -> None:
    figures = json.loads((voices.HEAD / "evaluation.json").read_text())
    assert figures["speakers_left_out"]["clean"]["accuracy"] >= 0.9
    assert figures["not_heard"]["speaker"] == "14"  # the actress of the demo's German sample


@pytest.mark.weights
def test_it_can_be_fetched_by_its_name(base_there: Path) -> None:
    assert voices.assembled(packages.BASE) is None
    folder = inventory.fetch("voices")
    assert (folder / "model.safetensors").is_file()
    assert voices.assembled(packages.BASE) == folder == inventory.fetch("voices")


def test_a_file_that_is_not_whisper_base_is_refused(offline: None, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"something else")
    with pytest.raises(
        ModelMissing, match=r"model\.bin is not the file of Systran/faster-whisper-base at ebe41f70d5b6"
    ):
        voices.assemble(packages.BASE, tmp_path)


def test_without_whisper_base_the_toy_is_used_and_says_why(offline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_index(*arguments: object) -> Path:
        raise ModelMissing("the package index cannot be reached")

    monkeypatch.setattr(choice, "assemble", no_index)
    for models in ("auto", "demo"):
        chosen = choice.choose(Stage.SER, settings(models=models))
        assert chosen.is_toy
        assert "the package index cannot be reached" in (chosen.notice or "")


@pytest.mark.weights
@pytest.mark.engines
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("models", ["auto", "demo"])
def test_with_whisper_base_emotion_comes_from_real_voices_and_says_how_far(base_there: Path, models: str) -> None:
    chosen = choice.choose(Stage.SER, settings(models=models))
    assert chosen.name == voices.NAME
    assert chosen.revision.endswith(packages.BASE.revision[:12])
    assert [caution.code for caution in chosen.cautions] == ["acted_emotions"]
    assert "seven German actors" in (chosen.notice or "")
    assert not chosen.is_toy
    assert choice.choose(Stage.SER, settings(models=models), fetch=False).folder == chosen.folder


@pytest.mark.weights
@pytest.mark.engines
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_same_files_give_the_same_bytes(base_there: Path) -> None:
    first = voices.assemble(packages.BASE, base_there)
    content = (first / "model.safetensors").read_bytes()
    first.rename(first.parent / "before")
    assert (voices.assemble(packages.BASE, base_there) / "model.safetensors").read_bytes() == content
    assert sorted(path.name for path in first.parent.iterdir()) == sorted(["before", first.name])  # nothing left over


@pytest.mark.weights
@pytest.mark.engines
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_actress_who_was_not_in_the_training_is_heard_right(base_there: Path) -> None:
    """The demo's German sample: neutral, then angry (two sentences), happy (two), sad (two)."""
    engine = choice.load(Stage.SER, settings(models="demo"))
    analysis = engine(SAMPLES / "changing_mood_german.m4a", Options(), lambda share: None)
    assert isinstance(analysis.value, Emotions)
    heard = [window.scores[0].name for window in analysis.value.windows]
    changes = [name for name, before in zip(heard, [None, *heard], strict=False) if name != before]
    assert changes == ["neutral", "anger", "happiness", "sadness"]
    assert analysis.model.name == voices.NAME


@pytest.mark.weights
@pytest.mark.engines
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_transformers_loads_it_and_the_engine_gives_its_scores(base_there: Path) -> None:
    from transformers import AutoModelForAudioClassification

    from workers.emotion.classifier import EmotionEngine

    folder = voices.assemble(packages.BASE, base_there)
    model = AutoModelForAudioClassification.from_pretrained(folder)
    assert type(model).__name__ == "WhisperForAudioClassification"
    assert set(model.config.id2label.values()) == {"anger", "happiness", "neutral", "sadness"}
    engine = choice.load_chosen(choice.choose(Stage.SER, settings(models="demo")), settings())
    assert isinstance(engine, EmotionEngine)
    time = np.arange(16_000) / 16_000
    second = (0.1 * np.sin(2 * np.pi * 180 * time) * np.sin(9 * time)).astype(np.float32)
    [once] = engine.logits([second])
    [scores] = engine.scores([second])
    powers = np.exp(once / model.config.calibration["temperature"])
    assert [score.score for score in scores] == pytest.approx(sorted(powers / powers.sum(), reverse=True), abs=1e-5)
