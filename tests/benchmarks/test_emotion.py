"""`make bench-emotion`: its figures, and a run on a folder of clips with the toy model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import emotion
from benchmarks.emotion_scores import (
    Answer,
    calibration_error,
    calibration_error_of_chance,
    confusion,
    curve,
    figures,
    name_of,
    named,
    unweighted_recall,
)
from tests.workers.audio.media import write_audio

SURE = [Answer("anger", "anger", 0.95), Answer("anger", "anger", 0.9), Answer("sadness", "anger", 0.6)]


def test_labels_of_other_vocabularies_mean_the_same() -> None:
    assert {name_of(label) for label in ("angry", "ANG", "Anger ", "生气/angry")} == {"anger"}
    assert name_of("calm") == "calm"  # RAVDESS has it beside neutral
    assert name_of("sleepiness") == "sleepiness"


def test_figures_of_three_clips() -> None:
    assert unweighted_recall(SURE) == 0.5  # every angry clip, no sad one
    assert confusion(SURE) == {"anger": {"anger": 2}, "sadness": {"anger": 1}}
    # Confidence 0.95 and 0.9 share a bin in which all are right; 0.6 is wrong.
    assert calibration_error(SURE) == pytest.approx((0.15 + 0.6) / 3)
    assert curve(SURE) == {"100%": 0.6667, "75%": 1.0, "50%": 1.0, "25%": 1.0}
    assert figures(SURE)["accuracy"] == 0.6667


def test_a_model_that_is_as_right_as_it_says_has_no_calibration_error() -> None:
    answers = [Answer("anger", "anger" if right else "sadness", 0.75) for right in (True, True, True, False)]
    assert calibration_error(answers) == 0


def test_the_calibration_error_of_chance_falls_with_the_number_of_answers() -> None:
    few, many = ([Answer("anger", "anger", 0.75)] * count for count in (4, 4_000))
    assert calibration_error_of_chance(few) == pytest.approx(0.158, abs=0.01)  # the mean of |right of 4 - 3| / 4
    assert calibration_error_of_chance(many) < 0.01


def test_what_is_named_is_counted_apart() -> None:
    answers = [*SURE[:2], Answer("sadness", "anger", 0.6, named=False)]
    assert named(answers) == {"share": 0.6667, "accuracy": 1.0}
    assert named(answers[2:]) == {"share": 0.0, "accuracy": None}


def write_clips(folder: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["file,emotion,lang,speaker"]
    for number, (corpus, label) in enumerate([("a", "angry"), ("a", "sad"), ("b", "happy"), ("b", "boredom")]):
        (folder / corpus).mkdir(exist_ok=True)
        audio = rng.normal(0, 0.1, 16_000 * (2 + 2 * number)).astype(np.float32)
        write_audio(folder / corpus / f"{number}.wav", [audio], codec="pcm_s16le")
        lines.append(f"{corpus}/{number}.wav,{label},xx,{number}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.engines
def test_a_folder_is_measured_by_corpus_and_in_every_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    write_clips(folder)
    monkeypatch.setattr(emotion, "RESULTS", tmp_path / "results")
    emotion.main([str(folder), "--model", "toy", "--write"])
    out = capsys.readouterr().out
    assert "1 clips of other emotions left out" in out
    assert "| a | xx | as it is | 2 |" in out
    content = json.loads((tmp_path / "results" / "emotion-toy-clips.json").read_text())
    assert {(row["corpus"], row["way"]) for row in content["rows"]} == {
        (corpus, way) for corpus in "ab" for way in ("as it is", "telephone", "noise at 10 dB", "1 s", "0.5 s")
    }
    assert content["model"]["name"] == "toy"


@pytest.mark.engines
def test_what_is_missing_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"labels\.csv is missing"):
        emotion.main([str(tmp_path), "--model", "toy"])
    (tmp_path / "labels.csv").write_text("file,emotion\nx.wav,angry\n")
    with pytest.raises(SystemExit, match=r"has no column 'lang'|is missing"):
        emotion.main([str(tmp_path), "--model", "toy"])
    (tmp_path / "labels.csv").write_text("file,emotion,lang,speaker\n")
    with pytest.raises(SystemExit, match="names no clip of anger, happiness, neutral, sadness"):
        emotion.main([str(tmp_path), "--model", "toy"])
