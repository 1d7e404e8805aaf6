"""Labels that are no words, all the way to what people read."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from speechpipe.contract import Emotions, EmotionWindow, LabelScore, Record, Stage, Transcript, Vocabulary
from speechpipe.record.artifacts import render, transcript_vtt
from speechpipe.record.combine import combine
from speechpipe.record.exports import to_csv
from speechpipe.record.report.label_styles import label_styles
from speechpipe.record.subtitles import class_names
from speechpipe.record.tables import write_bigquery
from tests.doubles import segment
from tests.record.test_combine import partial, recording

LABELS = (
    "生气/angry",
    "開心/happy",
    "a.b",
    "a-b",
    "a b",
    "__unk__",
    'sad"<b>',
    "ANGRY",
    "angry",
    "=1+1",
    "!",
    "?",
    "unknown",
)


@pytest.fixture(scope="module")
def record() -> Record:
    """Each label leads in a window of its own, under a sentence of its own."""
    windows, said = [], []
    for number, label in enumerate(LABELS):
        others = [LabelScore(name=other, score=0.0) for other in LABELS if other != label]
        scores = (LabelScore(name=label, score=1.0), *others)
        windows.append(EmotionWindow(start=3 * number, end=3 * number + 2, scores=scores))
        said.append(segment(3 * number, 3 * number + 2, f"Sentence {number}.", number))
    vocabulary = Vocabulary(id="odd", labels=LABELS, primary=LABELS, activation="softmax")
    emotions = Emotions(vocabulary=vocabulary, windows=tuple(windows))
    made = combine(
        recording(),
        {
            Stage.STT: partial(Stage.STT, value=Transcript(segments=tuple(said))),
            Stage.SER: partial(Stage.SER, value=emotions),
        },
    )
    assert made is not None
    return made


def test_every_label_has_its_own_class_in_vtt(record: Record) -> None:
    classes = re.findall(r"<c\.([^.\s&<>]+)>Sentence", transcript_vtt(record))
    assert len(classes) == len(set(classes)) == len(LABELS)
    assert dict(zip(LABELS, classes, strict=True)) == class_names(LABELS)
    assert class_names(LABELS)["a-b"] == "a-b"
    assert class_names(["a.b"]) == {"a.b": "a-b"}


def test_csv_has_every_label_as_a_column_and_runs_none_as_a_formula(record: Record) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(record))))
    assert [row["emotion"] for row in rows] == [label.replace("=1+1", "'=1+1") for label in LABELS]
    assert all(float(row[f"score_{label}"]) == 1 for row, label in zip(rows, LABELS, strict=True))


def test_a_table_has_every_label_as_a_key(record: Record, tmp_path: Path) -> None:
    assert write_bigquery([record], tmp_path / "rows.json") == 1
    share = json.loads((tmp_path / "rows.json").read_text("utf-8"))["summary"]["emotion_share"]
    assert {entry["key"] for entry in share} == set(LABELS)


def test_every_file_is_made_and_the_record_reads_back(record: Record) -> None:
    files = {file.name: file.body.decode() for file in render(record)}
    assert Record.model_validate_json(files["record.json"]) == record
    assert 'sad"' not in files["report.html"]
    assert "sad&quot;&lt;b&gt;" in files["report.html"]
    cues = [json.loads(line) for line in files["emotion.vtt"].splitlines() if line.startswith("{")]
    assert [cue["emotion"] for cue in cues] == list(LABELS)


def test_labels_look_different_in_the_report_and_known_emotions_as_always() -> None:
    styles = label_styles(LABELS)
    assert list(styles) == [*LABELS, "unsure"]
    assert len({style.slot for style in styles.values()}) == len(styles)
    assert len({style.code for style in styles.values()}) == len(styles)
    assert styles["生气/angry"].slot == label_styles(["anger"])["anger"].slot
