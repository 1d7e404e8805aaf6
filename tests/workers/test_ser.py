"""The emotion engine with real transformers models: tiny, random, made here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

from speechpipe.contract import Emotions, Model, Options, Stage
from speechpipe.errors import ErrorCode, Rejected
from speechpipe.settings import EngineSettings
from tests.workers.media import tone, write_audio
from workers import device, models, ser
from workers.decode import decode
from workers.ser import EmotionAnalyser, UninitialisedWeights, load_classifier, windows_of
from workers.speech import Span

pytestmark = pytest.mark.engines

SAMPLES = Path(ser.__file__).parent / "demo" / "samples"
LABELS = {0: "angry", 1: "happy", 2: "neutral", 3: "sad"}


def make_model(folder: Path, front_end: str, *, drop: str | None = None) -> Path:
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=(32,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        classifier_proj_size=16,
        feat_extract_norm=front_end,
        do_stable_layer_norm=front_end == "layer",
        id2label=LABELS,
    )
    model = Wav2Vec2ForSequenceClassification(config)
    for parameter in model.parameters():  # large enough that windows differ
        parameter.data.normal_(0, 0.3)
    weights = {name: weight for name, weight in model.state_dict().items() if name != drop}
    model.save_pretrained(folder, state_dict=weights)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=front_end == "layer")
    extractor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def analyser(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], EmotionAnalyser]:
    made: dict[str, EmotionAnalyser] = {}

    def make(front_end: str = "layer") -> EmotionAnalyser:
        if front_end not in made:
            folder = make_model(tmp_path_factory.mktemp(front_end), front_end)
            model, extractor = load_classifier(folder, device="cpu", dtype="float32")
            identity = Model(name="tiny", revision="1", engine="transformers")
            made[front_end] = EmotionAnalyser(model, extractor, identity, max_seconds=100)
        return made[front_end]

    return make


def windows(*seconds: float) -> list[np.ndarray]:
    """Windows of different lengths and pitches."""
    random = np.random.default_rng(0)
    return [
        tone(length, 150.0 * 2**n) + random.normal(0, 0.01 * n, round(length * 16000)).astype(np.float32)
        for n, length in enumerate(seconds)
    ]


@pytest.mark.parametrize("front_end", ["layer", "group"])
def test_a_window_scores_the_same_alone_and_in_a_batch(
    analyser: Callable[[str], EmotionAnalyser], front_end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = analyser(front_end)
    monkeypatch.setitem(ser._BATCH_SECONDS, "cpu", 60.0)
    mixed = windows(1, 3, 2.37, 1, 2.99)
    alone = np.concatenate([engine.logits([window]) for window in mixed])
    together = engine.logits(mixed)
    assert np.abs(together - alone).max() < 1e-4
    assert alone.std(axis=0).min() > 0.01  # windows do differ: equal scores would prove nothing


def test_batches_are_really_batches_and_a_group_norm_model_never_sees_padding(
    analyser: Callable[[str], EmotionAnalyser], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ser._BATCH_SECONDS, "cpu", 60.0)
    for front_end, expected in (("layer", [(4, 48000)]), ("group", [(2, 16000), (2, 48000)])):
        engine = analyser(front_end)
        seen: list[list[np.ndarray]] = []
        forward = engine._forward
        monkeypatch.setattr(
            engine, "_forward", lambda inputs, f=forward, seen=seen: (seen.append(inputs), f(inputs))[1]
        )
        engine.logits(windows(1, 3, 1, 3))
        assert sorted((len(batch), max(map(len, batch))) for batch in seen) == expected


def test_a_batch_holds_a_limited_amount_of_audio() -> None:
    shapes = [(80_000,)] * 10 + [(16_000,)]
    batches = list(ser._batches(shapes, padding=True, limit=20 * 16_000))
    assert sorted(index for batch in batches for index in batch) == list(range(11))
    assert all(len(batch) * max(shapes[i][0] for i in batch) <= 20 * 16_000 for batch in batches)
    assert list(ser._batches([(999_999,)], padding=True, limit=1)) == [[0]]


# --------------------------------------------------------------------------------------------------------- windows


def test_speech_is_cut_into_equal_windows_of_at_most_five_seconds() -> None:
    cut = windows_of([Span(10.0, 21.8)], duration=60)  # 12 s with its padding
    assert [round(w.length, 6) for w in cut] == [4, 4, 4]
    assert cut[0].start == pytest.approx(9.9)
    assert cut[-1].end == pytest.approx(21.9)
    assert len(windows_of([Span(10.1, 14.9)], duration=60)) == 1  # exactly five: no second window from rounding


def test_short_speech_is_widened_inside_the_recording() -> None:
    for span, expected in [
        (Span(5.0, 5.2), Span(4.6, 5.6)),
        (Span(0.0, 0.3), Span(0.0, 1.0)),
        (Span(9.9, 10.0), Span(9.0, 10.0)),
    ]:
        assert windows_of([span], duration=10) == [pytest.approx(expected)]
    assert windows_of([Span(0.1, 0.4)], duration=0.6) == [Span(0.0, 0.6)]


def test_tiny_gaps_do_not_part_windows() -> None:
    assert len(windows_of([Span(1, 2), Span(2.2, 3)], duration=10)) == 1
    assert len(windows_of([Span(1, 2), Span(2.6, 3.9)], duration=10)) == 2


# ------------------------------------------------------------------------------------------------------- recordings


def test_a_call_of_two_channels(analyser: Callable[[str], EmotionAnalyser]) -> None:
    shown: list[float] = []
    analysis = analyser("layer")(SAMPLES / "support_call_stereo.wav", Options(channels="split"), shown.append)
    assert isinstance(analysis.value, Emotions)
    found = analysis.value.windows
    assert {window.channel for window in found} == {0, 1}
    assert [w.start for w in found] == sorted(w.start for w in found)
    assert all(0 <= w.start < w.end <= analysis.audio.duration and w.end - w.start <= 5 for w in found)
    assert all(sorted(s.name for s in w.scores) == sorted(LABELS.values()) for w in found)
    assert all([s.score for s in w.scores] == sorted((s.score for s in w.scores), reverse=True) for w in found)
    assert all(sum(s.score for s in w.sentiment) == pytest.approx(1, abs=1e-5) for w in found)
    assert shown == sorted(shown)
    assert shown[-1] == 1
    assert analysis.compute_seconds > 0
    assert analysis.cautions == ()


def test_only_the_channels_that_were_asked_for_are_scored(analyser: Callable[[str], EmotionAnalyser]) -> None:
    path, options = SAMPLES / "support_call_stereo.wav", Options(channels="split")
    both = analyser("layer")(path, options, lambda _: None).value
    one = analyser("layer")(path, options.model_copy(update={"emotion": (1,)}), lambda _: None).value
    assert isinstance(both, Emotions)
    assert isinstance(one, Emotions)
    assert one.windows
    assert [(w.start, w.end) for w in one.windows] == [(w.start, w.end) for w in both.windows if w.channel == 1]
    assert {window.channel for window in one.windows} == {1}


def test_a_channel_that_is_not_there_is_named_with_what_is(analyser: Callable[[str], EmotionAnalyser]) -> None:
    options = Options(channels="split", emotion=(0, 2))
    with pytest.raises(Rejected) as caught:
        analyser("layer")(SAMPLES / "support_call_stereo.wav", options, lambda _: None)
    assert caught.value.code is ErrorCode.INVALID_OPTION
    assert caught.value.message == "option 'emotion': given '0,2'; allowed: 0 to 1: the recording's channels"


def test_silence_is_a_result_with_a_remark(analyser: Callable[[str], EmotionAnalyser], tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.wav", [0 * tone(3)], codec="pcm_s16le")
    analysis = analyser("layer")(path, Options(), lambda _: None)
    assert isinstance(analysis.value, Emotions)
    assert analysis.value.windows == ()
    assert analysis.value.vocabulary.labels == tuple(LABELS.values())
    assert [caution.code for caution in analysis.cautions] == ["no_speech"]


def test_split_of_a_mono_recording_is_remarked(analyser: Callable[[str], EmotionAnalyser]) -> None:
    analysis = analyser("layer")(SAMPLES / "happy_customer.mp3", Options(channels="split"), lambda _: None)
    assert [caution.code for caution in analysis.cautions] == ["mono_split"]


def test_a_window_hears_its_own_place_in_the_recording(analyser: Callable[[str], EmotionAnalyser]) -> None:
    engine = analyser("layer")
    path = SAMPLES / "changing_mood.m4a"
    value = engine(path, Options(), lambda _: None).value
    assert isinstance(value, Emotions)
    samples = decode(path, max_seconds=100).samples[0]
    last = value.windows[-1]
    [logits] = engine.logits([samples[round(last.start * 16000) : round(last.end * 16000)]])
    powers = np.exp(logits - logits.max())
    expected = dict(zip(LABELS.values(), powers / powers.sum(), strict=True))
    for score in last.scores:
        assert score.score == pytest.approx(expected[score.name], abs=2e-3)  # start and end are rounded to milliseconds


# ---------------------------------------------------------------------------------------------------------- loading


@pytest.mark.parametrize("weight", ["classifier.weight", "wav2vec2.encoder.layers.1.attention.q_proj.weight"])
def test_a_model_with_missing_weights_is_refused(tmp_path: Path, weight: str) -> None:
    folder = make_model(tmp_path, "layer", drop=weight)
    with pytest.raises(UninitialisedWeights, match=weight):
        load_classifier(folder, device="cpu", dtype="float32")


def test_a_model_of_the_years_before_safetensors_loads_whole(tmp_path: Path) -> None:
    """CAiRE's weights are a .bin with the old names of weight normalisation."""
    folder = make_model(tmp_path, "layer")
    model, _ = load_classifier(folder, device="cpu", dtype="float32")
    old = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): weight
        for name, weight in model.state_dict().items()
        if name != "wav2vec2.masked_spec_embed"
    }
    assert any(name.endswith("weight_g") for name in old)
    (folder / "model.safetensors").unlink()
    torch.save(old, folder / "pytorch_model.bin")
    again, _ = load_classifier(folder, device="cpu", dtype="float32")
    for name, weight in again.state_dict().items():
        if name != "wav2vec2.masked_spec_embed":
            assert torch.equal(weight, model.state_dict()[name]), name


def test_loaded_by_its_settings_it_is_warm_and_says_what_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_model(tmp_path / "tiny-emotions", "group")
    with caplog.at_level(logging.INFO):
        engine = models.load(Stage.SER, EngineSettings(ser_model=str(folder), device="cpu", threads=1))
    assert engine.stage is Stage.SER
    model = engine(SAMPLES / "angry_customer.ogg", Options(), lambda _: None).model
    assert (model.name, model.device, model.compute_type) == ("tiny-emotions", "cpu", "float32")
    assert model.revision.startswith("sha256:")
    assert model.engine == f"transformers {device.installed('transformers')}"


def test_the_bundled_demo_model_says_that_it_is_one() -> None:
    engine = models.load(Stage.SER, EngineSettings.model_validate({"models": "demo", "device": "cpu"}))
    analysis = engine(SAMPLES / "angry_customer.ogg", Options(), lambda _: None)
    assert isinstance(analysis.value, Emotions)
    assert analysis.value.windows
    assert analysis.value.windows[0].sentiment
    assert analysis.model.name == analysis.value.vocabulary.id == "demo"
    assert [caution.code for caution in analysis.cautions] == ["demo_models"]
