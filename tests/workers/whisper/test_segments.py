"""How what was said is cut into segments."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from faster_whisper.transcribe import Segment  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.whisper.segments import found, spoken
from workers.whisper.segments import MAX_PAUSE, MAX_SENTENCE, MIN_SENTENCE, cut


def texts(segment: Segment) -> list[str]:
    return [part.text for part in cut(segment)]


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ("It came today. Is it for me? Then", [" It came today.", " Is it for me?", " Then"]),
        ("It came today", [" It came today"]),
        ("He said “come here.” And they went", [" He said “come here.”", " And they went"]),
        ("(It came today!) And more of it", [" (It came today!)", " And more of it"]),
        ("what do you… well then", [" what do you…", " well then"]),
        ("今日は いい 天気です。 明日は 雨です。", [" 今日は いい 天気です。", " 明日は 雨です。"]),
        ("आज मौसम अच्छा है। कल बारिश", [" आज मौसम अच्छा है।", " कल बारिश"]),
        ("هل أنت هنا؟ نعم أنا هنا", [" هل أنت هنا؟", " نعم أنا هنا"]),
        ("a comma, no end here", [" a comma, no end here"]),
        ("version 2.5 of it", [" version 2.5 of it"]),
    ],
)
def test_a_segment_is_cut_after_its_sentences(said: str, parts: list[str]) -> None:
    assert texts(spoken(said)) == parts


@pytest.mark.parametrize(
    "said",
    [
        "we know that Mr. Smith was here",
        "we know that Mrs. Smith was here",
        "we know that Dr. Smith was here",
        "we have met Prof. Smith before",
        "we went to St. Petersburg again",
        "they call him John F. Kennedy there",
        "we will meet on the 3. October again",
        "we have them, e.g. apples and pears",
        "das war gestern, z.B. abends um acht",
        "it was Smith vs. Jones all day",
        "it was (Dr. Smith) who called",
    ],
)
def test_an_abbreviation_does_not_end_a_sentence(said: str) -> None:
    assert texts(spoken(said)) == [f" {said}"]


def test_a_short_sentence_stays_with_the_next_one() -> None:
    assert texts(spoken("Yes. It came today. Good.", each=0.3)) == [" Yes. It came today.", " Good."]
    assert texts(spoken("Yes. It came today.", each=MIN_SENTENCE)) == [" Yes.", " It came today."]


def test_no_segment_spans_a_pause_even_within_a_sentence() -> None:
    parts = list(cut(spoken("I am waiting for you", pauses={2: MAX_PAUSE, 4: MAX_PAUSE - 0.01})))
    assert [part.text for part in parts] == [" I am", " waiting for you"]
    assert [(part.start, part.end) for part in parts] == [(0.0, 1.0), (2.0, pytest.approx(4.49))]


def test_a_sentence_that_is_too_long_is_cut_at_a_comma_or_a_pause() -> None:
    words = [f"w{number}" for number in range(40)]
    with_comma = [*words[:17], "w17,", *words[18:]]
    assert [len(part.words) for part in cut(spoken(" ".join(with_comma)))] == [18, 22]
    assert [len(part.words) for part in cut(spoken(" ".join(words), pauses={22: 0.5}))] == [22, 18]
    # A comma near an end would leave a part too short to be worth it.
    assert [len(part.words) for part in cut(spoken(" ".join(["w0,", *words[1:]]), pauses={22: 0.5}))] == [22, 18]


def test_the_times_are_those_of_the_words_and_other_values_stay() -> None:
    segment = replace(spoken("It came today. Is it for me? Then"), avg_logprob=-0.7)
    parts = list(cut(segment))
    assert [(part.start, part.end) for part in parts] == [(0.0, 1.5), (1.5, 3.5), (3.5, 4.0)]
    assert {part.avg_logprob for part in parts} == {-0.7}


def test_a_segment_without_words_stays_whole() -> None:
    segment = found(text="It came today. Is it for me?", start=1.0, end=9.0)
    assert list(cut(segment)) == [segment]


text_of_words = st.sampled_from(["yes", "no,", "well", "end.", "Mr.", "what?", "3.", "好。", "—", "…", "a.b"])


@given(st.lists(st.tuples(text_of_words, st.floats(0, 4), st.floats(0, 3)), min_size=1, max_size=80))
def test_every_word_is_kept_once_in_order_and_no_segment_spans_a_pause(said: list[tuple[str, float, float]]) -> None:
    times, at = [], 0.0
    for _, pause, length in said:
        times.append((at + pause, at + pause + length))
        at += pause + length
    segment = found(*times, text=" ".join(word for word, _, _ in said))
    parts = list(cut(segment))
    assert [word for part in parts for word in part.words] == segment.words
    assert "".join(part.text for part in parts) == segment.text
    for part in parts:
        assert (part.start, part.end) == (part.words[0].start, part.words[-1].end)
        assert all(b.start - a.end < MAX_PAUSE for a, b in itertools.pairwise(part.words))
        assert part.end - part.start <= MAX_SENTENCE or len(part.words) < 4
