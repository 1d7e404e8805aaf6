"""Windows of their own length through a real Whisper classifier, tiny and random, that is made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speechpipe.contract import Model
from tests.workers.audio.media import tone
from workers.emotion.own_length import log_mel, repeated, takes_own_lengths

pytestmark = pytest.mark.engines

LABELS = {0: "angry", 1: "happy", 2: "neutral", 3: "sad"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        d_model=32,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_layers=1,
        max_source_positions=250,
        use_weighted_layer_sum=True,
        classifier_proj_size=8,
        id2label=LABELS,
    )
    model = transformers.WhisperForAudioClassification(config)
    for parameter in model.parameters():  # large enough that windows differ
        parameter.data.normal_(0, 0.3)
    made = tmp_path_factory.mktemp("whisper")
    model.save_pretrained(made)
    extractor: Any = transformers.WhisperFeatureExtractor(chunk_length=5)
    extractor.short_windows = "own_length"
    extractor.save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def engine(folder: Path) -> Any:
    from workers.emotion.classifier import EmotionEngine, load_classifier

    model, extractor = load_classifier(folder, device="cpu", dtype="float32")
    return EmotionEngine(
        model, extractor, Model(name="tiny", revision="1", engine="transformers"), max_seconds=100, parallel_batches=2
    )


def sound(seconds: float) -> np.ndarray:
    noise = np.random.default_rng(round(seconds * 100)).normal(0, 0.02, round(seconds * 16_000))
    return tone(seconds, 100 + 150 * seconds) + noise.astype(np.float32)


@pytest.mark.parametrize("seconds", [1.0, 2.2, 4.9, 5.0])
def test_a_window_gets_the_scores_of_a_model_that_was_made_for_its_length(
    folder: Path, engine: Any, seconds: float
) -> None:
    import torch
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    positions = round(seconds * 50)
    whole = AutoModelForAudioClassification.from_pretrained(folder)
    weights = whole.state_dict()
    weights["encoder.embed_positions.weight"] = weights["encoder.embed_positions.weight"][:positions].clone()
    whole.config.max_source_positions = positions
    theirs = type(whole)(whole.config).eval()
    theirs.load_state_dict(weights)
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    inputs = extractor(sound(seconds), sampling_rate=16_000, padding="do_not_pad", return_tensors="pt")
    assert inputs["input_features"].shape[-1] == 2 * positions
    with torch.inference_mode():
        expected = theirs(**inputs).logits.numpy()
    assert np.allclose(engine.logits([sound(seconds)]), expected, atol=1e-4)


def test_windows_score_the_same_alone_and_among_others_of_any_length(engine: Any) -> None:
    mixed = [sound(seconds) for seconds in (1.0, 3.1, 2.2, 2.2, 5.0, 1.0, 4.3)]
    alone = np.concatenate([engine.logits([window]) for window in mixed])
    assert alone.std(axis=0).min() > 0.01  # windows do differ: equal scores would prove nothing
    assert np.abs(engine.logits(mixed) - alone).max() < 1e-4


def test_a_window_under_a_second_is_repeated_and_one_that_is_too_long_cut(engine: Any) -> None:
    short = sound(0.3)
    assert np.allclose(engine.logits([short]), engine.logits([repeated(short, 16_000)]), atol=1e-5)
    assert engine.logits([short[:1]]).shape == (1, 4)
    long = sound(7.0)
    assert np.allclose(engine.logits([long]), engine.logits([long[: 5 * 16_000]]), atol=1e-5)


def test_features_have_two_frames_for_each_position_whatever_the_length(folder: Path) -> None:
    from transformers import AutoFeatureExtractor

    extractor = AutoFeatureExtractor.from_pretrained(folder)
    assert takes_own_lengths(extractor)
    for samples, frames in ((16_000, 100), (16_001, 100), (16_319, 100), (16_320, 102), (35_199, 218), (1, 100)):
        assert log_mel(extractor, np.ones(samples, np.float32)).shape == (80, frames)


def test_a_short_window_is_repeated_and_a_long_one_stays() -> None:
    short = np.array([1, 2, 3], np.float32)
    assert repeated(short, 8).tolist() == [1, 2, 3, 1, 2, 3, 1, 2]
    assert repeated(short, 3).tolist() == [1, 2, 3]
    assert repeated(short, 2).tolist() == [1, 2, 3]
    assert len(repeated(short[:0], 8)) == 0
