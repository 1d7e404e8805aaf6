from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest

from speechpipe.contract import Options, Record, Segment, Stage, Transcript
from speechpipe.record.artifacts import render, transcript_srt, transcript_vtt
from speechpipe.record.combine import combine
from speechpipe.record.subtitles import timestamp
from tests.doubles import segment
from tests.record.test_combine import partial, recording

HOSTILE = 'a <script>alert("x")</script> --> b & </v>'


def record(*segments: Segment, **changes: object) -> Record:
    value = Transcript(segments=segments) if segments else None
    made = combine(
        recording(Options(ref=HOSTILE)), {Stage.STT: partial(Stage.STT, value=value), Stage.SER: partial(Stage.SER)}
    )
    assert made is not None
    return made.model_copy(update=changes)


def test_every_listed_file_is_rendered_and_the_record_comes_last() -> None:
    made = record()
    names = [artifact.name for artifact in render(made)]
    listed = {uri.rsplit("/", 1)[1] for uri in made.artifacts.model_dump(exclude_none=True).values()}
    assert set(names) == listed
    assert names[-1] == "record.json"
    assert Record.model_validate_json(render(made)[-1].body) == made


def test_vtt_has_times_voices_and_emotions() -> None:
    turns = [segment(0, 2, "Hello there."), segment(2.5, 4, "Hi.", 1, 1)]
    turns = [s.model_copy(update={"speaker": f"channel {s.channel}"}) for s in turns]
    lines = transcript_vtt(record(*turns)).splitlines()
    assert lines[0] == "WEBVTT"
    assert "00:00:00.000 --> 00:00:02.000" in lines
    assert "<v channel 0><c.neutral>Hello there.</c></v>" in lines
    assert "<v channel 1>Hi.</v>" in lines  # no windows on this channel, so no emotion


def test_markup_in_a_transcript_is_text() -> None:
    made = record(segment(0, 2, HOSTILE))
    vtt = transcript_vtt(made)
    body = vtt.split("\n\n", 1)[1]
    assert "<script" not in body
    assert body.count("-->") == 1
    for artifact in render(made):
        if artifact.name == "report.html":
            assert _tags(artifact.body.decode()).count("script") == 2  # the data and the page's script
            assert "&lt;script&gt;alert" in artifact.body.decode()


def _tags(html: str) -> list[str]:
    found: list[str] = []

    class Collect(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append(tag)

    Collect().feed(html)
    return found


def test_srt_is_numbered_and_plain() -> None:
    assert transcript_srt(record(segment(0, 2, "One."), segment(3, 4, "Two --> 2.", 1))) == (
        "1\n00:00:00,000 --> 00:00:02,000\nOne.\n\n2\n00:00:03,000 --> 00:00:04,000\nTwo → 2.\n"
    )


def test_srt_names_the_speaker_if_there_are_several() -> None:
    turns = [segment(0, 2, "One."), segment(3, 4, "Two.", 1, 1)]
    text = transcript_srt(record(*(s.model_copy(update={"speaker": f"channel {s.channel}"}) for s in turns)))
    assert "\nchannel 0: One.\n" in text
    assert "\nchannel 1: Two.\n" in text


def test_emotion_vtt_has_one_line_of_json_per_window() -> None:
    made = record()
    body = next(a.body.decode() for a in render(made) if a.name == "emotion.vtt")
    cues = [json.loads(block.splitlines()[1]) for block in body.split("\n\n")[1:]]
    assert [cue["emotion"] for cue in cues] == ["neutral", "anger"]
    assert set(cues[0]["scores"]) == {"neutral", "anger", "other"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "00:00:00.000"), (59.9996, "00:01:00.000"), (3661.5, "01:01:01.500"), (360000, "100:00:00.000")],
)
def test_timestamps(seconds: float, text: str) -> None:
    assert timestamp(seconds) == text
