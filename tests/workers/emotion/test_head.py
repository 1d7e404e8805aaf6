"""Labels that a model's files name wrongly, or not at all: a sentence when it is loaded and in `speechpipe doctor`."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from speechpipe.cli.doctor import diagnose
from speechpipe.contract import Stage
from speechpipe.settings import EngineSettings
from workers.emotion.head import UnreadableModel, read_head
from workers.emotion.labels import recognised, vocabulary_of
from workers.models import choice, label_names

EMOTIONS = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
NO_NAMES = {str(n): f"LABEL_{n}" for n in range(13)}


def named(*labels: Any, first: int = 0) -> dict[str, Any]:
    return {str(number): label for number, label in enumerate(labels, first)}


def write_model(folder: Path, table: Any, outputs: int | None, **config: Any) -> Path:
    """A model's folder as far as its labels go: the config, and the header of the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"model_type": "wav2vec2", "id2label": table, **config}
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "preprocessor_config.json").write_text("{}")
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    if outputs is not None:
        header["classifier.weight"] = {"dtype": "F32", "shape": [outputs, 8], "data_offsets": [0, 0]}
    written = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(written)) + written)
    return folder


REFUSED = {
    "no names": (NO_NAMES, 13, {}, "its labels have no names; name its 13 outputs in their order"),
    "numbers": (named("0", "1", "2"), 3, {}, "its labels have no names"),
    "no table": (None, 7, {}, "its labels have no names; name its 7 outputs"),
    "empty names": (named("", " ", None), 3, {}, "its labels have no names"),
    "from one": (named(*EMOTIONS, first=1), 7, {}, "for the outputs 1, 2, 3, 4, 5, 6, 7, but its outputs are 0 to 6"),
    "from one, .bin": (named(*EMOTIONS, first=1), None, {}, "but its outputs are 0 to 6"),
    "a hole": ({"0": "angry", "1": "happy", "3": "sad"}, 4, {}, "for the outputs 0, 1, 3, but its outputs are 0 to 3"),
    "too short": (named("angry", "happy"), 7, {}, "for the outputs 0, 1, but its outputs are 0 to 6"),
    "too long": (named(*EMOTIONS, "calm"), 7, {}, "but its outputs are 0 to 6"),
    "below zero": (named("angry", "sad", first=-1), 2, {}, "for the outputs -1, 0, but"),
    "one output": (named("angry"), 1, {}, "has 1 output: a model of emotions has two or more"),
    "scales": (named("arousal", "dominance", "valence"), 3, {}, "estimates scales .arousal, dominance, valence."),
    "regression": (named("a", "b"), 2, {"problem_type": "regression"}, "estimates scales"),
    "twice": (named("angry", "sad", " angry "), 3, {}, "two or more different ones"),
    "no numbers": ({"angry": 0, "sad": 1}, 2, {}, "the keys of its label table"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_model_is_refused_in_words_when_it_is_loaded_and_by_doctor(tmp_path: Path, kind: str) -> None:
    table, outputs, config, reason = REFUSED[kind]
    folder = write_model(tmp_path / "mine", table, outputs, **config)
    settings = EngineSettings(ser_model=str(folder))
    with pytest.raises(UnreadableModel, match=reason) as caught:
        choice.load(Stage.SER, settings)
    [finding] = [one for one in diagnose(cloud=False, environ={"SPEECHPIPE_SER_MODEL": str(folder)}) if _is_ours(one)]
    assert (finding.ok, finding.required, finding.detail) == (False, True, str(caught.value))
    assert "SPEECHPIPE_SER_LABELS" in finding.remedy


def _is_ours(finding: Any) -> bool:
    return bool(finding.what == "emotion labels")


@pytest.mark.parametrize("kind", ["no names", "from one", "a hole", "too short", "too long", "no table", "twice"])
def test_the_setting_names_the_outputs_of_such_a_model(tmp_path: Path, kind: str) -> None:
    table, outputs, _, _ = REFUSED[kind]
    folder = write_model(tmp_path / "mine", table, outputs)
    labels = tuple(f"mood {n}" for n in range(outputs or 0))
    environ = {"SPEECHPIPE_SER_MODEL": str(folder), "SPEECHPIPE_SER_LABELS": ", ".join(labels)}
    [finding] = [one for one in diagnose(cloud=False, environ=environ) if _is_ours(one)]
    assert finding.ok
    assert finding.detail == f"{', '.join(labels)}, of mine"


def test_the_setting_has_to_name_every_output_and_cannot_make_emotions_of_scales(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine", NO_NAMES, 13)
    with pytest.raises(UnreadableModel, match="SPEECHPIPE_SER_LABELS names 2 labels, but mine has 13 outputs"):
        vocabulary_of("mine", read_head(folder), ("angry", "sad"))
    folder = write_model(tmp_path / "scales", named("a", "b", "c"), 3, problem_type="regression")
    with pytest.raises(UnreadableModel, match="estimates scales"):
        vocabulary_of("scales", read_head(folder), ("angry", "sad", "happy"))
    [finding] = [one for one in diagnose(cloud=False, environ={"SPEECHPIPE_SER_LABELS": "a,,b"}) if _is_ours(one)]
    assert "a label has no name" in finding.detail


def test_the_setting_is_not_for_a_model_that_stands_in_for_another() -> None:
    settings = EngineSettings(ser_model="toy", ser_labels=("a", "b", "c", "d"))
    toy = choice.toy(Stage.SER)
    assert label_names.vocabulary(toy.name, toy.folder, settings).labels != settings.ser_labels


def test_a_copy_of_the_default_model_is_recognised_by_its_shape_and_its_records_say_so(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "copy", NO_NAMES, 13, hidden_size=1024, num_hidden_layers=24)
    settings = EngineSettings(ser_model=str(folder))
    vocabulary = label_names.vocabulary("copy", folder, settings)
    assert (vocabulary.labels[2], vocabulary.activation, len(vocabulary.primary)) == ("angry", "sigmoid", 7)
    [caution] = label_names.cautions("copy", folder, settings)
    assert caution.code == "labels_assumed"
    default = write_model(tmp_path / choice.DEFAULT_CLASSIFIER, NO_NAMES, 13, hidden_size=1024, num_hidden_layers=24)
    assert not recognised(choice.DEFAULT_CLASSIFIER, read_head(default))  # known by its name: nothing to say
    other = write_model(tmp_path / "other", named(*"abcdefghijklm"), 13, hidden_size=1024, num_hidden_layers=24)
    assert vocabulary_of("other", read_head(other)).labels == tuple("abcdefghijklm")


def test_labels_may_be_any_text(tmp_path: Path) -> None:
    odd = (
        "生气/angry",
        "開心/happy",
        "中立/neutral",
        "__unk__",
        "",
        "a.b",
        'sad"<b>',
        "ANGRY",
        "x\ny\x1b[31m",
        "\ud800",
    )
    folder = write_model(tmp_path, named(*odd), len(odd))
    vocabulary = vocabulary_of("odd", read_head(folder))
    assert vocabulary.labels == (*odd[:4], "LABEL_4", *odd[5:8], "x y [31m", "?")
    assert set(vocabulary.labels) - set(vocabulary.primary) == {"__unk__", "LABEL_4"}
    assert vocabulary.sentiment["生气/angry"] == vocabulary.sentiment["ANGRY"] == "NEGATIVE"
    assert vocabulary_of("odd", read_head(folder)).model_dump_json()


@pytest.mark.parametrize("content", [b"", b"[1]", b'"x"', b"{", b"\xff"])
def test_a_config_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = write_model(tmp_path, named(*EMOTIONS), 7)
    (folder / "config.json").write_bytes(content)
    with pytest.raises(UnreadableModel, match=r"config\.json"):
        read_head(folder)


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 1 << 60) + b"{"])
def test_weights_without_a_readable_header_leave_the_table_to_tell(tmp_path: Path, content: bytes) -> None:
    folder = write_model(tmp_path, named(*EMOTIONS), 7)
    (folder / "model.safetensors").write_bytes(content)
    assert vocabulary_of("mine", read_head(folder)).labels == tuple(EMOTIONS)


def test_the_model_or_a_setting_says_from_which_score_a_label_counts(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine", named(*EMOTIONS), 7, calibration={"sure_from": 0.4})
    plain = write_model(tmp_path / "plain", named(*EMOTIONS), 7)
    given, none = EngineSettings(sure_from=0.55), EngineSettings()
    assert label_names.vocabulary("mine", folder, none).sure_from == 0.4
    assert label_names.vocabulary("mine", folder, given).sure_from == 0.55
    assert label_names.vocabulary("plain", plain, none).sure_from == 0


def test_the_config_of_a_model_says_whether_it_is_calibrated(tmp_path: Path) -> None:
    fitted = write_model(tmp_path / "a", named(*EMOTIONS), 7, calibration={"temperature": 1.3, "fitted_on": "x"})
    plain = write_model(tmp_path / "b", named(*EMOTIONS), 7, calibration={"sure_from": 0.4})
    assert label_names.vocabulary("a", fitted, EngineSettings()).calibrated
    assert not label_names.vocabulary("b", plain, EngineSettings()).calibrated


@pytest.mark.parametrize("given", [-0.1, 1.1, "0.5", None, True, float("nan")])
def test_a_model_with_an_impossible_score_is_refused(tmp_path: Path, given: Any) -> None:
    folder = write_model(tmp_path, named(*EMOTIONS), 7, calibration={"sure_from": given})
    with pytest.raises(UnreadableModel, match=r"calibration\.sure_from in config\.json is .*, but must be from 0 to 1"):
        read_head(folder)
