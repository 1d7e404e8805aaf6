"""Records in other services' formats and as tables. Exports were also parsed once with those services' own SDKs
(hume 0.13, assemblyai 1.8, deepgram-sdk 7.17)."""

from __future__ import annotations

import codecs
import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from speechpipe.contract import LabelScore, Record, SegmentEmotion, Stage, Status
from speechpipe.contract.errors import ErrorCode
from speechpipe.record import exports, tables
from speechpipe.record.combine import combine
from tests.doubles import TRANSCRIPT, segment
from tests.record.test_combine import partial, recording


@pytest.fixture(scope="module")
def record() -> Record:
    """Two segments whose emotions have a sentiment."""
    sentiment = (LabelScore(name="NEGATIVE", score=0.75), LabelScore(name="NEUTRAL", score=0.25))
    made = combine(recording(), {stage: partial(stage) for stage in Stage})
    assert made is not None
    segments = []
    for each in made.segments:
        assert each.emotion is not None
        emotion = SegmentEmotion.model_validate(each.emotion.model_dump() | {"sentiment": sentiment})
        segments.append(each.model_copy(update={"emotion": emotion}))
    return made.model_copy(update={"segments": tuple(segments)})


@pytest.fixture(scope="module")
def failed() -> Record:
    made = combine(recording(), {stage: partial(stage, ErrorCode.NO_AUDIO_STREAM) for stage in Stage})
    assert made is not None
    return made


def loaded(text: str) -> Any:
    return json.loads(text)


def test_csv_has_a_column_for_each_emotion(record: Record) -> None:
    rows = list(csv.DictReader(io.StringIO(exports.to_csv(record))))
    assert [row["text"] for row in rows] == ["where is my order", "it is late"]
    assert [row["emotion"] for row in rows] == ["neutral", "anger"]
    assert {name for name in rows[0] if name.startswith("score_")} == {"score_anger", "score_neutral", "score_other"}
    assert float(rows[1]["score_anger"]) == pytest.approx(0.8)
    assert (rows[0]["start"], rows[0]["end"]) == ("0.0", "2.0")


def csv_of(*texts: str) -> str:
    spoken = TRANSCRIPT.model_copy(
        update={"segments": tuple(segment(at, at + 1, text) for at, text in enumerate(texts))}
    )
    made = combine(recording(), {Stage.STT: partial(Stage.STT, value=spoken), Stage.SER: partial(Stage.SER)})
    assert made is not None
    return exports.to_csv(made)


def csv_texts(content: str) -> list[str]:
    return [row["text"] for row in csv.DictReader(io.StringIO(content))]


@pytest.mark.parametrize(
    "text",
    [
        *("=HYPERLINK(0)", "+1+1", "-2+3", "@x", "＝cmd|' /C calc'!A0", "＋1+1", "－2+3", "＠SUM(1)"),
        *("\xa0=1+1", "\u200b=1+1", "\u200b\xa0 =1", "\ufeff=1+1", "\u200f=1+1", "；=1+1", "%=1", "-5.2+cmd"),
    ],
)
def test_a_spreadsheet_does_not_run_transcripts_as_formulas(text: str) -> None:
    assert csv_texts(csv_of(text)) == [f"'{text.strip()}"]


def test_a_formula_behind_a_semicolon_is_none_where_semicolons_separate_cells() -> None:
    assert csv_texts(csv_of("yes;=cmd|' /C calc'!A0;", "no;\t@SUM(1)", ";=1")) == [
        "yes;'=cmd|' /C calc'!A0;",
        "no;\t'@SUM(1)",
        "';'=1",
    ]


@pytest.mark.parametrize(
    "text", ["-5.2", "+5", "-5,2", "-1.000,5", "－5.2", "-20 %", "1e-5", "a = b", "well - no; and yes", "(-5)"]
)
def test_numbers_and_sentences_stay_as_they_are_in_a_spreadsheet(text: str) -> None:
    assert csv_texts(csv_of(text)) == [text]


def test_excel_reads_csv_as_utf_8() -> None:
    content = csv_of("Müller – 50 €", "日本語の文字", "Größe: 5 µm").encode()
    assert content.startswith(codecs.BOM_UTF8)
    assert csv_texts(content.decode("utf-8-sig")) == ["Müller – 50 €", "日本語の文字", "Größe: 5 µm"]


def test_hume_predictions(record: Record) -> None:
    (source,) = loaded(exports.to_hume(record))
    (prediction,) = source["results"]["predictions"]
    (group,) = prediction["models"]["prosody"]["grouped_predictions"]
    first, second = group["predictions"]
    assert first["text"] == "where is my order"
    assert first["time"] == {"begin": 0.0, "end": 2.0}
    assert second["emotions"][0] == {"name": "anger", "score": pytest.approx(0.8)}
    assert source["results"]["errors"] == []


def test_hume_predictions_are_windows_if_there_is_no_transcript(record: Record) -> None:
    half = combine(recording(), {Stage.STT: partial(Stage.STT, ErrorCode.MODEL_ERROR), Stage.SER: partial(Stage.SER)})
    assert half is not None
    (source,) = loaded(exports.to_hume(half))
    (group,) = source["results"]["predictions"][0]["models"]["prosody"]["grouped_predictions"]
    assert [each["time"] for each in group["predictions"]] == [{"begin": 0.0, "end": 2.2}, {"begin": 2.2, "end": 4.0}]
    assert len(source["results"]["errors"]) == 1


def test_assemblyai_transcript(record: Record) -> None:
    content = loaded(exports.to_assemblyai(record))
    assert (content["status"], content["text"]) == ("completed", record.text)
    assert content["words"][0] | {"confidence": 0} == {
        **{"text": "where", "start": 0, "end": 500, "confidence": 0},
        **{"speaker": None, "channel": None},
    }
    assert [each["text"] for each in content["utterances"]] == ["where is my order", "it is late"]
    assert content["sentiment_analysis_results"][0]["sentiment"] == "NEGATIVE"


def test_deepgram_response(record: Record) -> None:
    results = loaded(exports.to_deepgram(record))["results"]
    (alternative,) = results["channels"][0]["alternatives"]
    assert alternative["transcript"] == "where is my order it is late"
    assert alternative["words"][4]["start"] == 2.5
    spans = [(each["start_word"], each["end_word"]) for each in results["sentiments"]["segments"]]
    assert spans == [(0, 3), (4, 6)]
    assert results["sentiments"]["average"] == {"sentiment": "negative", "sentiment_score": -0.75}


def test_exports_of_a_failed_record_give_the_error(failed: Record) -> None:
    assert failed.status is Status.REJECTED
    assert failed.error is not None
    assert exports.to_csv(failed).count("\n") == 1
    assert loaded(exports.to_hume(failed))[0]["results"]["errors"][0]["message"] == failed.error.message
    content = loaded(exports.to_assemblyai(failed))
    assert (content["status"], content["error"]) == ("error", failed.error.message)
    results = loaded(exports.to_deepgram(failed))["results"]
    assert results["channels"][0]["alternatives"][0]["transcript"] == ""


def check(row: Any, fields: list[dict[str, Any]]) -> None:
    """Check a row as BigQuery would: all fields and no others, lists for REPEATED, objects for RECORD."""
    assert set(row) == {field["name"] for field in fields}
    for field in fields:
        found = row[field["name"]]
        if field["mode"] == "REPEATED":
            assert isinstance(found, list)
        for each in found if field["mode"] == "REPEATED" else [found]:
            if each is None:
                assert field["mode"] == "NULLABLE"
            elif field["type"] == "RECORD":
                check(each, field["fields"])
            else:
                kinds: dict[str, Any] = {"STRING": str, "TIMESTAMP": str, "INTEGER": int, "BOOLEAN": bool}
                kinds["FLOAT"] = (int, float)
                assert isinstance(each, kinds[field["type"]])


def test_every_row_fits_the_schema(record: Record, failed: Record, tmp_path: Path) -> None:
    assert tables.write_bigquery([record, failed], tmp_path / "rows") == 2
    for line in (tmp_path / "rows").read_text().splitlines():
        check(json.loads(line), tables.schema())
    assert [each["key"] for each in tables.row(record)["halves"]] == ["stt", "ser"]
    assert tables.row(record)["halves"][0]["model"]["name"] == "m"


def test_parquet_has_the_same_content_as_the_rows(record: Record, failed: Record, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert tables.write_parquet([record] * 150 + [failed], tmp_path / "file") == 151
    rows = parquet.read_table(tmp_path / "file").to_pylist()
    assert rows[0]["segments"][1]["emotion"]["top"] == "anger"
    assert rows[149]["timing"]["queued_at"] == record.timing.queued_at
    assert rows[150]["status"] == "rejected"
    assert rows[0]["segments"][0]["words"][0]["word"].strip() == "where"
