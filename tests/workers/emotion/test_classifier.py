"""The emotion engine with real transformers models, tiny and random, that are made here."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from speechpipe.contract import Emotions, Model, Options, Stage
from speechpipe.contract.errors import ErrorCode, Rejected
from speechpipe.settings import EngineSettings
from tests.workers.audio.media import decode, tone, write_audio
from workers.emotion import classifier
from workers.emotion.classifier import EmotionEngine, UninitialisedWeights, load_classifier
from workers.emotion.head import UnreadableModel
from workers.emotion.windows import GRID
from workers.models import choice, device

pytestmark = pytest.mark.engines

SAMPLES = Path(__file__).parents[2] / "samples"
LABELS = {0: "angry", 1: "happy", 2: "neutral", 3: "sad"}


FAMILIES = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}


def make_model(folder: Path, front_end: str, *, family: str = "wav2vec2", drop: str | None = None) -> Path:
    import transformers  # imported here, as it takes two seconds and `make check` runs none of these tests

    torch.manual_seed(0)
    config = getattr(transformers, f"{FAMILIES[family]}Config")(
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
    model = getattr(transformers, f"{FAMILIES[family]}ForSequenceClassification")(config)
    for parameter in model.parameters():  # large enough that windows differ
        parameter.data.normal_(0, 0.3)
    weights = {name: weight for name, weight in model.state_dict().items() if name != drop}
    model.save_pretrained(folder, state_dict=weights)
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=front_end == "layer")
    extractor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def engine_with(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., EmotionEngine]:
    made: dict[str, EmotionEngine] = {}

    def make(front_end: str = "layer", family: str = "wav2vec2") -> EmotionEngine:
        name = f"{family}-{front_end}"
        if name not in made:
            folder = make_model(tmp_path_factory.mktemp(name), front_end, family=family)
            model, extractor = load_classifier(folder, device="cpu", dtype="float32")
            identity = Model(name="tiny", revision="1", engine="transformers")
            made[name] = EmotionEngine(model, extractor, identity, max_seconds=100)
        return made[name]

    return make


def windows(*seconds: float) -> list[np.ndarray]:
    """Windows of different lengths and pitches."""
    random = np.random.default_rng(0)
    return [
        tone(length, 150.0 * 2**n) + random.normal(0, 0.01 * n, round(length * 16000)).astype(np.float32)
        for n, length in enumerate(seconds)
    ]


Forward = Callable[[Sequence[classifier.Row]], Sequence[np.ndarray]]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Callable[[EmotionEngine, int], list[list[classifier.Row]]]:
    """Record an engine's batches. The first waits until `gather` more rows are in the queue."""

    def watch(engine: EmotionEngine, gather: int) -> list[list[classifier.Row]]:
        seen: list[list[classifier.Row]] = []
        gathered = threading.Semaphore(0)
        forward: Forward = engine._forward
        put = engine._batcher.put

        def run(rows: Sequence[classifier.Row]) -> Sequence[np.ndarray]:
            if not seen:
                for _ in range(gather):
                    assert gathered.acquire(timeout=10)
            seen.append(list(rows))
            return forward(rows)

        def submit(submitter: Any, row: classifier.Row) -> Any:
            future = put(submitter, row)
            gathered.release()
            return future

        monkeypatch.setattr(engine._batcher, "_run", run)
        monkeypatch.setattr(engine._batcher, "put", submit)
        return seen

    return watch


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("front_end", ["layer", "group"])
def test_a_window_scores_the_same_alone_and_in_a_batch(
    engine_with: Callable[..., EmotionEngine], batches: Any, front_end: str, family: str
) -> None:
    engine = engine_with(front_end, family)
    mixed = windows(1, 3, 2.37, 2.37, 1, 2.8, 2.99)
    alone = np.concatenate([engine.logits([window]) for window in mixed])
    seen = batches(engine, len(mixed))
    together = engine.logits(mixed)
    assert max(map(len, seen)) > 1
    differ = alone.std(axis=0).min()  # windows do differ: equal scores would prove nothing
    assert np.abs(together - alone).max() < min(1e-4, 0.02 * differ)


def test_windows_share_a_batch_if_that_changes_no_score(
    engine_with: Callable[..., EmotionEngine], batches: Any
) -> None:
    for front_end, expected in (
        ("layer", [[8000], [16000, 16000], [44800, 48000, 48000]]),  # padded to the longest, with a mask
        ("group", [[8000], [16000, 16000], [44800], [48000, 48000]]),  # never padded
    ):
        seen = batches(engine_with(front_end), 6)  # the first, the only one of its length, waits for the others
        engine_with(front_end).logits(windows(0.5, 1, 3, 1, 2.8, 3))
        assert sorted(sorted(len(row.input) for row in batch) for batch in seen) == expected


def test_windows_of_different_recordings_share_a_batch_and_score_as_alone(
    engine_with: Callable[..., EmotionEngine], batches: Any
) -> None:
    engine = engine_with("layer")
    names = ["changing_mood.m4a", "support_call_stereo.wav", "order_inquiry.wav"]

    def scored(name: str) -> Emotions:
        value = engine(SAMPLES / name, Options(), lambda _: None).value
        assert isinstance(value, Emotions)
        return value

    alone = [scored(name) for name in names]
    seen = batches(engine, 4)
    with ThreadPoolExecutor(len(names)) as threads:
        together = list(threads.map(scored, names))
    assert sum(map(len, seen)) == sum(len(one.windows) for one in alone)
    assert len(seen) < sum(map(len, seen))
    for one, other in zip(alone, together, strict=True):
        assert [(w.start, w.end) for w in one.windows] == [(w.start, w.end) for w in other.windows]
        for before, after in zip(one.windows, other.windows, strict=True):
            scores = {score.name: score.score for score in before.scores}
            assert all(abs(scores[score.name] - score.score) < 1e-4 for score in after.scores)


def test_progress_counts_scored_windows_not_queued_ones(
    engine_with: Callable[..., EmotionEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_with()
    rows = 6
    forward, put = engine._forward, engine._batcher.put
    queued = threading.Semaphore(0)
    scored: list[int] = []

    def run(batch: Sequence[classifier.Row]) -> Sequence[np.ndarray]:
        if not scored:  # none is, while the recording submits most of its windows
            for _ in range(rows):
                assert queued.acquire(timeout=60)
        made = forward(batch)
        scored.append(len(batch))
        return made

    def submit(*args: Any) -> Any:
        queued.release()
        return put(*args)

    monkeypatch.setattr(engine._batcher, "_run", run)
    monkeypatch.setattr(engine._batcher, "put", submit)
    shown: list[tuple[float, int]] = []
    analysis = engine(
        SAMPLES / "support_call_stereo.wav",
        Options(channels="split"),
        lambda share: shown.append((share, sum(scored))),
    )
    assert isinstance(analysis.value, Emotions)
    assert len(analysis.value.windows) >= rows
    assert [share for share, done in shown if done == 0] != []
    assert {share for share, done in shown if done == 0} == {0.0}
    assert [share for share, _ in shown] == sorted(share for share, _ in shown)
    assert len({share for share, _ in shown}) > 2
    assert shown[-1][0] == 1.0


# ------------------------------------------------------------------------------------------------------- recordings


def test_a_call_on_two_channels_is_scored_on_both(engine_with: Callable[..., EmotionEngine]) -> None:
    shown: list[float] = []
    analysis = engine_with("layer")(SAMPLES / "support_call_stereo.wav", Options(channels="split"), shown.append)
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
    assert [caution.code for caution in analysis.cautions] == ["uncalibrated", "narrow_band"]  # 8 kHz voices


def test_only_the_chosen_channels_are_scored(engine_with: Callable[..., EmotionEngine]) -> None:
    path, options = SAMPLES / "support_call_stereo.wav", Options(channels="split")
    both = engine_with("layer")(path, options, lambda _: None).value
    one = engine_with("layer")(path, options.model_copy(update={"emotion": (1,)}), lambda _: None).value
    assert isinstance(both, Emotions)
    assert isinstance(one, Emotions)
    assert one.windows
    assert [(w.start, w.end) for w in one.windows] == [(w.start, w.end) for w in both.windows if w.channel == 1]
    assert {window.channel for window in one.windows} == {1}


def test_a_choice_of_channels_that_do_not_exist_is_rejected_with_the_allowed_ones(
    engine_with: Callable[..., EmotionEngine],
) -> None:
    options = Options(channels="split", emotion=(2, 3))
    with pytest.raises(Rejected) as caught:
        engine_with("layer")(SAMPLES / "support_call_stereo.wav", options, lambda _: None)
    assert caught.value.code is ErrorCode.INVALID_OPTION
    assert caught.value.message == "option 'emotion': given '2,3'; allowed: 0 to 1: the recording's channels"


def test_of_the_chosen_channels_those_that_exist_are_scored(engine_with: Callable[..., EmotionEngine]) -> None:
    options = Options(channels="split", emotion=(1, 2))  # counted from 1
    analysis = engine_with("layer")(SAMPLES / "support_call_stereo.wav", options, lambda _: None)
    assert isinstance(analysis.value, Emotions)
    assert {window.channel for window in analysis.value.windows} == {1}
    [caution] = [caution for caution in analysis.cautions if caution.code == "no_such_channel"]
    assert caution.message == "emotion was asked for on channel 2, but the recording's channels are 0 to 1"


@pytest.mark.parametrize("chosen", [(1,), (0, 1), (7,)])
def test_a_choice_of_channels_of_a_mono_recording_means_its_channel(
    engine_with: Callable[..., EmotionEngine], chosen: tuple[int, ...]
) -> None:
    options = Options(channels="split", emotion=chosen)
    analysis = engine_with("layer")(SAMPLES / "happy_customer.mp3", options, lambda _: None)
    assert isinstance(analysis.value, Emotions)
    assert {window.channel for window in analysis.value.windows} == {0}
    assert [caution.code for caution in analysis.cautions] == ["uncalibrated", "mono_split"]


def test_silence_is_a_result_with_a_caution(engine_with: Callable[..., EmotionEngine], tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.wav", [0 * tone(3)], codec="pcm_s16le")
    analysis = engine_with("layer")(path, Options(), lambda _: None)
    assert isinstance(analysis.value, Emotions)
    assert analysis.value.windows == ()
    assert analysis.value.vocabulary.labels == tuple(LABELS.values())
    assert [caution.code for caution in analysis.cautions] == ["no_speech"]


def test_split_of_a_mono_recording_gives_a_caution(engine_with: Callable[..., EmotionEngine]) -> None:
    analysis = engine_with("layer")(SAMPLES / "happy_customer.mp3", Options(channels="split"), lambda _: None)
    assert [caution.code for caution in analysis.cautions] == ["uncalibrated", "mono_split"]


def test_a_window_is_scored_on_the_audio_of_its_span(engine_with: Callable[..., EmotionEngine]) -> None:
    engine = engine_with("layer")
    path = SAMPLES / "changing_mood.m4a"
    value = engine(path, Options(), lambda _: None).value
    assert isinstance(value, Emotions)
    samples = decode(path, max_seconds=100).samples[0]
    last = value.windows[-1]
    first, end = round(last.start * 16000), round(last.end * 16000)
    unscored = (end - first) % GRID
    begin = first + unscored // 2
    [logits] = engine.logits([samples[begin : begin + end - first - unscored]])
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


def test_a_model_from_before_safetensors_loads_completely(tmp_path: Path) -> None:
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


def test_a_model_loaded_from_settings_is_warm_and_identifies_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_model(tmp_path / "tiny-emotions", "group")
    with caplog.at_level(logging.INFO):
        engine = choice.load(
            Stage.SER, EngineSettings(ser_model=str(folder), device="cpu", threads=1, compute_type="float32")
        )
    assert engine.stage is Stage.SER
    model = engine(SAMPLES / "angry_customer.ogg", Options(), lambda _: None).model
    assert (model.name, model.device, model.compute_type) == ("tiny-emotions", "cpu", "float32")
    assert model.revision.startswith("sha256:")
    assert model.engine == f"transformers {device.installed('transformers')}"


def test_a_model_with_labels_from_one_works_once_the_setting_names_them(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "mine", "layer")
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {str(number + 1): label for number, label in LABELS.items()}
    (folder / "config.json").write_text(json.dumps(config))
    given = EngineSettings(ser_model=str(folder), device="cpu", threads=1, ser_labels=("rage", "joy", "calm", "grief"))
    engine = choice.load(Stage.SER, given)
    value = engine(SAMPLES / "angry_customer.ogg", Options(), lambda _: None).value
    assert isinstance(value, Emotions)
    assert {score.name for score in value.windows[0].scores} == {"rage", "joy", "calm", "grief"}
    assert value.vocabulary.labels == given.ser_labels


def test_a_bin_with_another_number_of_outputs_than_labels_is_refused(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "mine", "layer")
    model, _ = load_classifier(folder, device="cpu", dtype="float32")
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(UnreadableModel, match="mine has 4 outputs, but 2 labels: SPEECHPIPE_SER_LABELS names them"):
        load_classifier(folder, device="cpu", dtype="float32", labels=("angry", "sad"))


def test_the_bundled_toy_model_says_what_it_is() -> None:
    engine = choice.load(Stage.SER, EngineSettings.model_validate({"models": "toy", "device": "cpu"}))
    analysis = engine(SAMPLES / "angry_customer.ogg", Options(), lambda _: None)
    assert isinstance(analysis.value, Emotions)
    assert analysis.value.windows
    assert analysis.value.windows[0].sentiment
    assert analysis.model.name == analysis.value.vocabulary.id == "toy"
    assert [caution.code for caution in analysis.cautions] == ["demo_models", "uncalibrated"]
