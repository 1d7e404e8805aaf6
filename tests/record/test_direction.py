"""Text that runs from right to left, in subtitles."""

from __future__ import annotations

import pytest

from speechpipe.contract import Record
from speechpipe.record.artifacts import transcript_srt, transcript_vtt
from speechpipe.record.direction import isolated, runs_from_right
from tests.doubles import segment
from tests.record.test_artifacts import record

RLI, LRI, FSI, PDI = "\u2067", "\u2066", "\u2068", "\u2069"
HEBREW = "אני גר ב-New York כבר 99 שנים."


def spoken(*texts: str, speakers: tuple[str, ...] = ("channel 0", "channel 1")) -> Record:
    return record(
        *(
            segment(3 * at, 3 * at + 2, text, at % 2, at).model_copy(update={"speaker": speakers[at % 2]})
            for at, text in enumerate(texts)
        )
    )


@pytest.mark.parametrize(
    ("text", "right"),
    [("שלום", True), ("«مرحبا»", True), ("99 שנים", True), ("Anna: مرحبا", False), ("今天", False), ("12!", False)],
)
def test_the_first_letter_gives_the_direction(text: str, right: bool) -> None:
    assert runs_from_right(text) is right


def test_only_text_from_right_to_left_is_isolated() -> None:
    assert isolated("call 1.wav") == "call 1.wav"
    assert isolated("今天") == "今天"
    assert isolated("שיחה.wav") == f"{FSI}שיחה.wav{PDI}"


def test_an_isolate_in_a_name_cannot_end_ours() -> None:
    assert isolated("\u202eשיחה\u2069.wav\u2067") == f"{FSI}שיחה.wav{PDI}"


def test_a_label_keeps_its_place_before_text_from_right_to_left() -> None:
    lines = transcript_srt(spoken(HEBREW, "Good evening.")).splitlines()
    assert f"channel 0: {RLI}{HEBREW}{PDI}" in lines
    assert "channel 1: Good evening." in lines


def test_a_name_from_right_to_left_keeps_its_place_before_the_text() -> None:
    lines = transcript_srt(spoken("Good evening.", "Hello.", speakers=("דנה (1)", "Tom"))).splitlines()
    assert f"{FSI}דנה (1){PDI}: Good evening." in lines
    assert "Tom: Hello." in lines


def test_a_line_that_begins_with_another_script_keeps_the_direction_of_the_whole() -> None:
    text = "אני גר כבר תשעים ותשע שנים בעיר הגדולה והיפה New York עם המשפחה שלי, וטוב לי שם."
    vtt = transcript_vtt(spoken(text, "Good evening."))
    lines = [line for line in vtt.splitlines() if RLI in line]
    assert len(lines) >= 2
    assert all(line.count(RLI) == line.count(PDI) == 1 for line in lines)
    assert "Good evening." in vtt


def test_a_quotation_from_right_to_left_does_not_turn_an_english_line() -> None:
    srt = transcript_srt(spoken("He said שלום, and left.", "Yes."))
    assert f"channel 0: {LRI}He said שלום, and left.{PDI}" in srt
