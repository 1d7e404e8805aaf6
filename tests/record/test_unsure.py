"""Where the model is unsure: `top` is null, the scores stay, and whatever people read says `unsure`."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import timedelta

import pytest
from rich.console import Console

from speechpipe.cli.display import show_record
from speechpipe.console.index import Index, Query
from speechpipe.contract import Emotions, EmotionWindow, Record, Stage, Summary, Transcript
from speechpipe.record.align import align_segments, summarise, turning_points
from speechpipe.record.artifacts import render, transcript_vtt
from speechpipe.record.combine import combine
from speechpipe.record.exports import to_assemblyai, to_csv, to_deepgram, to_hume
from tests.doubles import AUDIO, START, VOCABULARY, segment, window
from tests.record.test_combine import partial, recording

CAUTIOUS = VOCABULARY.model_copy(update={"sure_from": 0.6})


def emotions(*windows: EmotionWindow) -> Emotions:
    return Emotions(vocabulary=CAUTIOUS, windows=windows)


def faint(start: float, end: float, top: str = "neutral") -> EmotionWindow:
    """A window whose label leads, but not surely."""
    return window(start, end, top, score=0.5)


@pytest.fixture
def record() -> Record:
    """Neutral, then unsure, then angry."""
    transcript = Transcript(segments=(segment(0, 4, "Yes."), segment(4, 10, "Well.", 1), segment(10, 13, "No!", 2)))
    value = emotions(window(0, 4), faint(4, 10, "anger"), window(10, 13, "anger"))
    audio = AUDIO.model_copy(update={"duration": 13.0})
    partials = {
        Stage.STT: partial(Stage.STT, value=transcript, audio=audio),
        Stage.SER: partial(Stage.SER, value=value, audio=audio),
    }
    made = combine(recording(), partials)
    assert made is not None
    return made


def test_segments_and_words_have_no_label_but_keep_their_scores(record: Record) -> None:
    found = [segment.emotion for segment in record.segments if segment.emotion]
    assert [emotion.top for emotion in found] == ["neutral", None, "anger"]
    assert found[1].confidence == 0.5
    assert found[1].scores[0].name == "anger"
    assert [segment.words[0].emotion for segment in record.segments] == ["neutral", None, "anger"]
    assert Record.model_validate_json(record.model_dump_json()) == record


def test_the_summary_counts_unsure_time_by_itself(record: Record) -> None:
    summary = record.summary
    assert summary.emotion_share == {
        "neutral": pytest.approx(4 / 13, abs=1e-6),
        "anger": pytest.approx(3 / 13, abs=1e-6),
    }
    assert summary.unsure_share == pytest.approx(6 / 13, abs=1e-6)
    assert (summary.dominant_emotion, summary.shown_emotion) == (None, "unsure")
    assert [slice_.emotion for slice_ in summary.trend] == ["neutral", None, None, "anger"]
    assert all(slice_.scores for slice_ in summary.trend)


def test_a_label_that_leads_longer_than_the_model_is_unsure_is_dominant() -> None:
    summary = summarise(None, emotions(window(0, 6), faint(6, 10)), 10)
    assert (summary.dominant_emotion, summary.unsure_share) == ("neutral", 0.4)
    assert summarise(None, emotions(faint(0, 6)), 6).shown_emotion == "unsure"
    assert Summary().shown_emotion is None


def test_a_turning_point_has_two_sure_sides() -> None:
    assert [
        (p.at, p.before, p.after) for p in turning_points(emotions(window(0, 4), faint(4, 9), window(9, 12, "anger")))
    ] == [(9, "neutral", "anger")]
    assert turning_points(emotions(window(0, 4), faint(4, 9, "anger"))) == ()
    assert turning_points(emotions(window(0, 4), faint(4, 9, "anger"), window(9, 14))) == ()


def test_a_segment_that_is_mostly_a_short_sound_is_unsure_whatever_its_scores() -> None:
    short = window(0, 2, "anger").model_copy(update={"unsure": True})
    value = Emotions(vocabulary=VOCABULARY, windows=(short, window(2, 3, "anger")))
    one, other = align_segments(Transcript(segments=(segment(0, 3, "No."), segment(1.5, 3, "No.", 1))), value)
    assert one.emotion
    assert other.emotion
    assert (one.emotion.top, other.emotion.top) == (None, "anger")


def test_subtitles_say_so(record: Record) -> None:
    assert re.findall(r"<c\.(\w+)>", transcript_vtt(record)) == ["neutral", "unsure", "anger"]
    files = {file.name: file.body.decode() for file in render(record)}
    cues = [json.loads(line) for line in files["emotion.vtt"].splitlines() if line.startswith("{")]
    assert [cue["emotion"] for cue in cues] == ["neutral", None, "anger"]


def test_exports_say_so_or_leave_it_out(record: Record) -> None:
    assert [row["emotion"] for row in csv.DictReader(io.StringIO(to_csv(record)))] == ["neutral", "unsure", "anger"]
    sides = record.segments[1].model_copy(update={"emotion": None})
    without = record.model_copy(update={"segments": (record.segments[0], sides, record.segments[2])})
    assert to_assemblyai(record) == to_assemblyai(without)
    assert to_deepgram(record) == to_deepgram(without)
    assert len(json.loads(to_hume(record))[0]["results"]["predictions"][0]["models"]["prosody"]["grouped_predictions"])


def test_the_report_shows_it_in_grey(record: Record) -> None:
    report = next(file.body.decode() for file in render(record) if file.name == "report.html")
    assert "Mostly <b>unsure</b>: 46% of the scored time." in report
    assert '<small><i class="chip e16" aria-hidden=true>?</i> unsure</small>' in report
    assert "unsure from 0:04" in report
    assert ".e16 { --c: var(--e16) }" in report


def test_the_terminal_shows_it(record: Record) -> None:
    out = Console(record=True, width=200, file=io.StringIO())
    show_record(record, out)
    text = out.export_text()
    assert "Well.  unsure\n" in text
    assert "how: neutral 31%, anger 23%, unsure 46%; turns anger at 0:10" in text


def test_the_console_lists_and_finds_it(record: Record) -> None:
    index, now = Index(), START + timedelta(hours=1)
    done = recording().model_copy(update={"summary": record.summary, "status": record.status})
    index.upsert([done], now)
    assert index.counters(now)["emotions"] == {"unsure": 1}
    assert index.search(Query(emotion="unsure"), now)[0] == 1
    assert index.search(Query(emotion="anger"), now)[0] == 0
    index.close()
