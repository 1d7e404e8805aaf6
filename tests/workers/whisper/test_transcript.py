"""The transcript of all channels, made of what was said on each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from faster_whisper.transcribe import Segment  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from speechpipe.contract import Caution, Language, LanguageSeconds, Transcript
from tests.workers.whisper.segments import found, spoken
from workers.audio.places import MAX_PLACES
from workers.audio.vad import Span
from workers.whisper.transcript import MIN_SPEECH_SECONDS, MIN_WORDS_IN_DOUBT, transcript_of
from workers.whisper.transcription import Channel, Said


def channel(
    number: int, *segments: Segment, language: str = "en", row_seconds: float = 20.0, **changes: Any
) -> Channel:
    """A channel that said these, all in one language."""
    fields: dict[str, Any] = {
        "language": language,
        "voted": Language(code=language, confidence=0.9),
        "said": [Said(segment, language, row_seconds) for segment in segments],
        "speech_seconds": float(len(segments)),
        "language_seconds": {language: float(len(segments))},
    }
    return Channel(number, **{**fields, **changes})


def made(*channels: Channel, duration: float = 100.0, named: bool = True) -> tuple[Transcript, list[Caution]]:
    return transcript_of(channels, duration, named=named)


def texts(segments: Sequence[Any]) -> list[tuple[int, str]]:
    return [(segment.channel, segment.text) for segment in segments]


# ----------------------------------------------------------------------------------------------------- segments


@given(st.lists(st.lists(st.tuples(st.floats(-1, 30), st.floats(-1, 30)), max_size=12), max_size=4), st.floats(1, 10))
def test_words_never_run_backwards_or_past_the_end(times: list[list[tuple[float, float]]], duration: float) -> None:
    transcript, _ = made(channel(0, *(found(*each) for each in times)), duration=duration)
    edges = [edge for segment in transcript.segments for word in segment.words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert all(0 <= edge <= round(duration, 3) for edge in edges)
    for segment in transcript.segments:
        assert segment.start <= segment.end
        if segment.words:
            assert (segment.start, segment.end) == (segment.words[0].start, segment.words[-1].end)


@pytest.mark.parametrize(
    ("changes", "suspect"),
    [
        ({}, False),
        ({"compression_ratio": 2.5}, True),  # repeats itself
        ({"avg_logprob": -1.1}, True),
        ({"no_speech_prob": 0.9, "avg_logprob": -0.2}, False),  # but sure of its words
        ({"no_speech_prob": 0.9, "avg_logprob": -0.7}, True),
    ],
)
def test_segments_that_look_invented_are_marked(changes: dict[str, Any], suspect: bool) -> None:
    transcript, _ = made(channel(0, found((0, 1), **changes)))
    [segment] = [*transcript.segments, *transcript.omitted]
    assert segment.quality.suspect is suspect


def test_a_segment_without_words_takes_its_confidence_from_the_decoder() -> None:
    transcript, _ = made(channel(0, found(start=1.0, end=2.5, text="some words", words=None)))
    [segment] = transcript.segments
    assert (segment.start, segment.end) == (1.0, 2.5)
    assert segment.confidence == pytest.approx(np.exp(-0.2), abs=1e-4)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_figures_that_are_no_numbers_are_none_and_read_back(number: float) -> None:
    bad = found((1, 2), (2, 3), avg_logprob=number, no_speech_prob=number, compression_ratio=number, start=number)
    bad.words[1].probability = bad.words[1].start = bad.words[1].end = number
    wordless = found(text="Yes.", avg_logprob=number, start=number, end=number)
    transcript, _ = made(channel(0, bad, wordless), duration=10.0)
    assert Transcript.model_validate_json(transcript.model_dump_json()) == transcript
    first = next(one for one in (*transcript.segments, *transcript.omitted) if one.words)
    quality = first.quality
    assert (quality.avg_logprob, quality.no_speech_prob, quality.compression_ratio) == (None, None, None)
    assert quality.suspect
    assert all(0 <= word.start <= word.end <= 10 for word in first.words)


def test_a_probability_that_is_no_number_is_no_certainty() -> None:
    one = found((1, 2), (2, 3))
    one.words[0].probability = math.nan
    [segment] = made(channel(0, one))[0].segments
    assert [word.confidence for word in segment.words] == [0, 0.5]


def test_channels_are_merged_in_order_of_time() -> None:
    first = channel(0, found((0, 0), (0, 1), text="a b"), found((5, 5), (5, 6), text="c d"))
    second = channel(1, *(found((at, at + 1), text=text) for at, text in ((2, "x"), (5, "y"), (7, "z"))), language="de")
    transcript, cautions = made(first, second)
    assert [(s.id, s.start, s.speaker, s.language) for s in transcript.segments] == [
        (0, 0, "channel 0", "en"),
        (1, 2, "channel 1", "de"),
        (2, 5, "channel 0", "en"),
        (3, 5, "channel 1", "de"),
        (4, 7, "channel 1", "de"),
    ]
    assert transcript.language == Language(code="en", confidence=0.9)  # that of the channel with most words
    assert transcript.speech_seconds == 5
    assert cautions == []


def test_without_names_no_segment_has_a_speaker() -> None:
    transcript, _ = made(channel(0, spoken("hello there")), named=False)
    assert [segment.speaker for segment in transcript.segments] == [None]


# ---------------------------------------------------------------------------------------------------- languages


def test_languages_are_those_spoken_longest_first() -> None:
    first = channel(0, spoken("hello there"), language_seconds={"en": 4.0, "fr": 2.0})
    second = channel(1, spoken("noch ein Wort", start=9), language="de", language_seconds={"de": 3.0, "fr": 4.0})
    transcript, _ = made(first, second)
    assert transcript.languages == (
        LanguageSeconds(code="fr", seconds=6.0),
        LanguageSeconds(code="en", seconds=4.0),
        LanguageSeconds(code="de", seconds=3.0),
    )


def test_the_language_is_the_one_that_most_of_a_channels_speech_is_in() -> None:
    one = channel(0, spoken("hello there"), language_seconds={"en": 4.0, "de": 9.0})
    assert made(one)[0].language == Language(code="de", confidence=1.0)  # nobody voted for it


def test_a_recording_without_words_has_no_language() -> None:
    transcript, cautions = made(channel(0, speech_seconds=2.0, language_seconds={"en": 2.0}))
    assert (transcript.language, transcript.languages, transcript.segments) == (None, (), ())
    assert cautions == []


# ------------------------------------------------------------------------------------------------- omitted text


@pytest.mark.parametrize(
    ("changes", "row_seconds", "omitted"),
    [
        ({}, 20.0, False),
        ({}, MIN_SPEECH_SECONDS - 0.01, False),  # short, but sure: "no"
        ({"avg_logprob": -0.6}, 20.0, False),  # unsure, but surely speech
        ({"avg_logprob": -0.6}, MIN_SPEECH_SECONDS - 0.01, True),  # a breath
        ({"avg_logprob": -0.6}, MIN_SPEECH_SECONDS, False),
        ({"avg_logprob": -0.6, "no_speech_prob": 0.7}, 20.0, True),  # unsure, and hardly speech
        ({"avg_logprob": -0.4, "no_speech_prob": 0.99}, 20.0, False),  # sure of its words
    ],
)
def test_text_too_short_or_unsure_is_kept_out_of_the_segments(
    changes: dict[str, Any], row_seconds: float, omitted: bool
) -> None:
    said = found((1, 1.5), (1.5, 2), text="Thank you.", **changes)
    transcript, _ = made(channel(0, said, row_seconds=row_seconds))
    assert (len(transcript.segments), len(transcript.omitted)) == ((0, 1) if omitted else (1, 0))
    [segment] = [*transcript.segments, *transcript.omitted]
    assert (segment.text, segment.start, segment.end, segment.speaker) == ("Thank you.", 1, 2, "channel 0")
    assert (transcript.language is None) is omitted


def test_a_long_text_is_kept_however_unsure_the_model_is_that_anybody_speaks() -> None:
    """Digits on a bad line, one after another."""
    digits = found(*[(at, at + 1) for at in range(MIN_WORDS_IN_DOUBT)], avg_logprob=-0.7, no_speech_prob=0.84)
    transcript, cautions = made(channel(0, digits))
    assert (len(transcript.segments), len(transcript.omitted)) == (1, 0)
    assert transcript.segments[0].quality.suspect
    assert cautions == []


def test_seconds_whose_text_was_set_aside_are_named() -> None:
    unsure = found((61, 62), (62, 64), avg_logprob=-0.7, no_speech_prob=0.84)
    breath = found((3, 3.5), avg_logprob=-0.6, no_speech_prob=0.7)
    transcript, [caution] = made(channel(0, breath, found((5, 6)), unsure))
    assert len(transcript.omitted) == 2
    assert (caution.code, caution.message) == (
        "untranscribed_speech",
        "3 s sound like speech but got no words: at 1:01",
    )


def test_places_where_hints_were_removed_are_named() -> None:
    [caution] = made(channel(0, found((5, 6)), unhinted=[Span(65.0, 80.0)]))[1]
    assert caution.code == "hints_removed"
    assert caution.message.endswith("transcribed without hints: at 1:05")


def test_omitted_text_is_numbered_by_itself() -> None:
    breath = found((3, 4), avg_logprob=-0.6, no_speech_prob=0.7)
    transcript, _ = made(channel(0, found((1, 2)), breath, found((5, 6))))
    assert [(s.id, s.start) for s in transcript.segments] == [(0, 1), (1, 5)]
    assert [(s.id, s.start) for s in transcript.omitted] == [(0, 3)]


# -------------------------------------------------------------------------------------------------------- bleed

SENTENCE = "I would like to check my order"


def surer(segment: Segment) -> Segment:
    for word in segment.words:
        word.probability = 0.9
    return segment


def test_what_two_channels_say_at_the_same_time_is_shown_once_with_a_caution() -> None:
    """And the surer one is shown."""
    first, second = spoken(SENTENCE, start=10.0), surer(spoken(f"{SENTENCE}.", start=10.1))
    transcript, cautions = made(channel(0, first), channel(1, second, spoken("hello", start=30)))
    assert texts(transcript.segments) == [(1, f"{SENTENCE}."), (1, "hello")]
    assert texts(transcript.omitted) == [(0, SENTENCE)]
    [caution] = cautions
    assert caution.code == "channels_alike"
    assert caution.message.startswith("4 s are the same")


def test_of_two_equally_sure_channels_the_first_is_kept() -> None:
    transcript, _ = made(channel(0, spoken(SENTENCE)), channel(1, spoken(SENTENCE)))
    assert texts(transcript.segments) == [(0, SENTENCE)]
    assert texts(transcript.omitted) == [(1, SENTENCE)]


def test_of_many_channels_that_say_the_same_one_is_kept() -> None:
    channels = [channel(number, spoken(SENTENCE)) for number in range(6)]
    assert texts(made(*channels)[0].segments) == [(0, SENTENCE)]


@pytest.mark.parametrize(
    "other",
    [
        spoken(SENTENCE, start=4.0),  # said after the other
        spoken("my order number is two seven", start=0.0),  # something else
        spoken("yes", start=0.0),  # within the other's sentence
        spoken(f"{SENTENCE} and another one and a third one as well", start=0.0),  # more than twice as long
    ],
)
def test_what_is_not_the_same_at_the_same_time_is_kept(other: Segment) -> None:
    transcript, cautions = made(channel(0, spoken(SENTENCE)), channel(1, other))
    assert len(transcript.segments) == 2
    assert transcript.omitted == ()
    assert cautions == []


def test_a_segment_is_hidden_only_for_one_that_is_shown() -> None:
    first, third = spoken("yes yes yes", start=0.0), spoken("yes yes yes", start=1.5)
    for word in first.words:
        word.probability = 0.4
    transcript, _ = made(channel(0, first, surer(third)), channel(1, spoken("yes yes yes", start=0.75)))
    assert [(s.channel, s.start) for s in transcript.segments] == [(0, 0.0), (0, 1.5)]


def test_one_channel_that_repeats_itself_keeps_all() -> None:
    transcript, cautions = made(channel(0, spoken("yes"), spoken("yes", start=0.0)))
    assert len(transcript.segments) == 2
    assert cautions == []


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["yes", "no", "yes yes no"]), st.integers(0, 6), st.booleans()),
        max_size=12,
    )
)
def test_no_text_is_lost_and_what_is_doubled_is_shown_on_another_channel(
    drawn: list[tuple[int, str, int, bool]],
) -> None:
    by_channel: dict[int, list[Segment]] = {}
    for number, text, start, sure in sorted(drawn, key=lambda each: each[2]):
        one = spoken(text, start=start / 2)
        by_channel.setdefault(number, []).append(surer(one) if sure else one)
    channels = [channel(number, *said) for number, said in sorted(by_channel.items())]
    transcript, cautions = made(*channels)
    assert len(transcript.segments) + len(transcript.omitted) == len(drawn)
    assert bool(transcript.segments) is bool(drawn)
    assert ("channels_alike" in [caution.code for caution in cautions]) is bool(transcript.omitted)
    for hidden in transcript.omitted:
        assert any(shown.start <= hidden.end and hidden.start <= shown.end for shown in transcript.segments)


# --------------------------------------------------------------------------------------------------------- gaps


def test_speech_without_words_is_named_with_its_places() -> None:
    first = channel(0, spoken("hello"), gaps=[Span(65.0, 68.0)])
    second = channel(1, gaps=[Span(5.9, 7.9), Span(3600.0, 3601.0)])
    [caution] = made(first, second, duration=4000)[1]
    assert caution.code == "untranscribed_speech"
    assert caution.message == "6 s sound like speech but got no words: at 0:05, 1:05, 60:00"


def test_a_caution_names_no_more_than_so_many_places() -> None:
    gaps = [Span(10.0 * number, 10.0 * number + 1) for number in range(MAX_PLACES + 3)]
    [caution] = made(channel(0, gaps=gaps), duration=1000)[1]
    assert caution.message.count(":") == MAX_PLACES + 1
    assert caution.message.endswith("1:30 and 3 more")
