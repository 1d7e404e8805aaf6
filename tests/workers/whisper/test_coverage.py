"""Speech that got no words is found."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.audio.chunks import Chunk
from workers.audio.decoder import SAMPLE_RATE
from workers.audio.vad import Span
from workers.whisper.coverage import LAST_PART, MAX_WORD, MIN_GAP, TOLERANCE, _joined, missed


def chunk(start: float, end: float, *speech: tuple[float, float], pad: float = 0.4) -> Chunk:
    """A chunk with speech from `start` to `end`, or at these times. Each sample is its number in the recording."""
    span = Span(max(0.0, start - pad), end + pad)
    first, last = (round(at * SAMPLE_RATE) for at in span)
    samples = np.arange(first, last).astype(np.int64)
    return Chunk(0, span, samples, tuple(Span(*one) for one in speech or [(start, end)]))  # type: ignore[arg-type]


def said(start: float, end: float, each: float = 0.4) -> list[Span]:
    """Words without gaps."""
    edges = [*np.arange(start, end, each).tolist(), end]
    return [Span(a, b) for a, b in itertools.pairwise(edges)]


def holes(chunks: list[Chunk], words: list[Span]) -> list[list[tuple[float, float]]]:
    """The speech of each run, rounded to tenths of a second."""
    runs = missed(chunks, words)
    return [[(round(s.start, 1), round(s.end, 1)) for part in run for s in part.speech] for run in runs]


T = TOLERANCE


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (said(10, 20), []),
        ([], [[(10, 20)]]),
        (said(13, 20), [[(10, 13 - T)]]),  # at the start
        (said(10, 17), [[(17 + T, 20)]]),  # at the end
        ([*said(10, 13), *said(17, 20)], [[(13 + T, 17 - T)]]),  # in the middle
        ([*said(12, 14), *said(17, 20)], [[(10, 12 - T)], [(14 + T, 17 - T)]]),
        ([*said(10, 13), *said(13 + MIN_GAP, 20)], []),  # not worth another attempt
        ([*said(10, 14), Span(14, 14), *said(14, 20)], []),  # a word without length
        ([*said(10, 13), Span(13, 17), *said(17, 20)], [[(13 + T, 17 - LAST_PART - T)]]),  # it swallowed others
        (said(9, 21), []),
    ],
)
def test_a_hole_in_a_chunk_is_found(words: list[Span], expected: list[list[tuple[float, float]]]) -> None:
    rounded = [[(round(a, 1), round(b, 1)) for a, b in run] for run in expected]
    assert holes([chunk(10, 20)], words) == rounded


def test_a_sentence_that_a_short_word_was_stretched_over_is_found() -> None:
    """As Whisper base does it: "I'm so" of the next sentence is aligned to all of one that it passed over."""
    words = [Span(50.9, 51.52), Span(51.52, 53.56), Span(56.15, 57.53), *said(57.53, 58.83, 0.2)]
    assert len(missed([chunk(51.0, 53.3), chunk(56.0, 58.8)], words)) == 1


def test_a_hole_across_chunks_is_one_run() -> None:
    chunks = [chunk(0, 5), chunk(6, 9), chunk(10, 15)]
    assert holes(chunks, [*said(0, 3), *said(12, 15)]) == [[(3.2, 5), (6, 9), (10, 11.8)]]
    with_a_word = [*said(0, 3), *said(7, 7.4), *said(12, 15)]
    assert holes(chunks, with_a_word) == [[(3.2, 5), (6, 6.8)], [(7.7, 9), (10, 11.8)]]


def test_where_words_cover_all_speech_there_is_none() -> None:
    assert holes([chunk(0, 5), chunk(7, 9)], [*said(0, 5), *said(7, 9)]) == []
    assert holes([chunk(0, 9, (0, 3), (6, 9))], [*said(0, 3), *said(6, 9)]) == []  # a pause is no speech


def test_short_pieces_of_speech_are_a_hole_together() -> None:
    words_around = [Span(0, 0.4), Span(4, 4.4)]
    pieces = chunk(0, 4.4, (0, 0.4), (1, 1.5), (2, 2.5), (3, 3.5), (4, 4.4))
    assert len(missed([pieces], words_around)) == 1
    assert missed([chunk(0, 4.4, (0, 0.4), (1, 1.5), (4, 4.4))], words_around) == []


def test_a_hole_has_the_sound_of_its_time_and_a_little_around() -> None:
    [[part]] = missed([chunk(10, 20)], [*said(10, 13), *said(17, 20)])
    assert part.span.start == pytest.approx(13 + T - 0.2)
    assert part.span.end == pytest.approx(17 - T + 0.2)
    assert part.samples[0] == round(part.span.start * SAMPLE_RATE)
    assert part.samples[-1] == round(part.span.end * SAMPLE_RATE) - 1


def part_of(start: float, end: float) -> Chunk:
    return chunk(start, end, pad=0)


def test_parts_that_overlap_are_joined_and_others_are_not() -> None:
    joined = _joined([part_of(0, 2), part_of(1.5, 3), part_of(3.5, 4)])
    assert [(one.span.start, one.span.end) for one in joined] == [(0, 3), (3.5, 4)]
    assert joined[0].speech == (Span(0, 2), Span(1.5, 3))
    np.testing.assert_array_equal(joined[0].samples, np.arange(3 * SAMPLE_RATE))


milliseconds = st.lists(st.tuples(st.integers(0, 600), st.integers(50, 600)), min_size=1, max_size=8)


@given(milliseconds)
def test_joined_parts_never_hold_a_sample_twice_and_lose_none(drawn: list[tuple[int, int]]) -> None:
    """Parts in order of their starts and ends, as chunks are."""
    parts, start, end = [], 0, 0
    for ahead, more in drawn:
        start, end = start + ahead, max(end, start + ahead) + more
        parts.append(part_of(start / 1000, end / 1000))
    joined = _joined(parts)
    samples = np.concatenate([part.samples for part in joined])
    np.testing.assert_array_equal(samples, np.unique(np.concatenate([part.samples for part in parts])))
    for part in joined:
        assert part.span.length == pytest.approx(len(part.samples) / SAMPLE_RATE, abs=2 / SAMPLE_RATE)
    assert [span for part in joined for span in part.speech] == [span for part in parts for span in part.speech]


@given(
    st.lists(st.tuples(st.floats(0.5, 3), st.floats(0.2, 6)), min_size=1, max_size=5),
    st.lists(st.tuples(st.floats(0, 4), st.floats(0, 2)), max_size=15),
)
def test_holes_lie_in_speech_outside_of_words(
    drawn: list[tuple[float, float]], drawn_words: list[tuple[float, float]]
) -> None:
    chunks, at = [], 0.0
    for pause, length in drawn:
        chunks.append(chunk(at + pause, at + pause + length, pad=0.2))
        at += pause + length
    words, at = [], 0.0
    for pause, length in drawn_words:
        words.append(Span(at + pause, at + pause + length))
        at += pause + length
    runs = missed(chunks, words)
    speech = [span for one in chunks for span in one.speech]
    for gap in (span for run in runs for part in run for span in part.speech):
        assert any(span.start <= gap.start <= gap.end <= span.end for span in speech)
        for word in words:
            start = word.end - LAST_PART if word.length > MAX_WORD else word.start
            assert min(gap.end, word.end) - max(gap.start, start) < 1e-9
    assert all(sum(span.length for part in run for span in part.speech) >= MIN_GAP - 1e-9 for run in runs)
