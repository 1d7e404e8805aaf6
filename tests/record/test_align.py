from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechpipe.contract import Emotions, EmotionWindow, Transcript
from speechpipe.record.align import align_segments, sorted_scores, summarise, turning_points
from tests.doubles import VOCABULARY, segment, window


def emotions(*windows: EmotionWindow) -> Emotions:
    return Emotions(vocabulary=VOCABULARY, windows=windows)


def test_windows_are_weighted_by_their_overlap_with_the_segment() -> None:
    transcript = Transcript(segments=(segment(0, 4, "one two three four"),))
    (aligned,) = align_segments(transcript, emotions(window(0, 1, "anger"), window(1, 4, "neutral")))
    assert aligned.emotion is not None
    assert aligned.emotion.top == "neutral"
    assert aligned.emotion.coverage == 1.0
    by_name = {s.name: s.score for s in aligned.emotion.scores}
    assert by_name["neutral"] == pytest.approx((1 * 0.1 + 3 * 0.8) / 4)
    assert aligned.emotion.margin == pytest.approx(by_name["neutral"] - by_name["anger"])
    assert [w.emotion for w in aligned.words] == ["anger", "neutral", "neutral", "neutral"]


def test_a_label_that_is_not_primary_never_leads() -> None:
    transcript = Transcript(segments=(segment(0, 2, "one"),))
    (aligned,) = align_segments(transcript, emotions(window(0, 2, "other")))
    assert aligned.emotion is not None
    assert aligned.emotion.scores[0].name == "other"
    assert aligned.emotion.top in VOCABULARY.primary


def test_a_segment_without_overlapping_windows_has_no_emotion() -> None:
    transcript = Transcript(segments=(segment(10, 12, "far away"),))
    (aligned,) = align_segments(transcript, emotions(window(0, 2), window(10, 12, channel=1)))
    assert aligned.emotion is None
    assert {w.emotion for w in aligned.words} == {None}


def test_turning_points_need_both_sides_to_last() -> None:
    flicker = emotions(window(0, 5), window(5, 6, "anger"), window(6, 10))
    assert turning_points(flicker) == ()
    turn = emotions(window(0, 5), window(5, 8, "anger"), window(8, 9), window(9, 14, "anger"), window(14, 18))
    assert [(p.at, p.before, p.after) for p in turning_points(turn)] == [
        (5, "neutral", "anger"),
        (14, "anger", "neutral"),
    ]


def test_turning_points_are_found_per_channel() -> None:
    both = emotions(window(0, 5), window(0, 5, "anger", channel=1), window(5, 9, "anger"), window(5, 9, channel=1))
    assert [(p.at, p.channel, p.after) for p in turning_points(both)] == [(5, 0, "anger"), (5, 1, "neutral")]


def test_the_summary_gives_share_and_trend() -> None:
    summary = summarise(None, emotions(window(0, 6), window(6, 8, "anger")), 8.0)
    assert summary.dominant_emotion == "neutral"
    assert summary.emotion_share == {"neutral": 0.75, "anger": 0.25}
    assert [slice_.emotion for slice_ in summary.trend] == ["neutral", "neutral", "neutral", "anger"]
    assert [(s.start, s.end) for s in summary.trend] == [(0, 2), (2, 4), (4, 6), (6, 8)]


WINDOWS = st.builds(
    lambda start, length, top, channel, score: window(start, start + length, top, channel, score),
    st.floats(0, 50),
    st.floats(0.5, 6),
    st.sampled_from(["anger", "neutral", "other"]),
    st.integers(0, 1),
    st.floats(0.4, 1),
)


@given(st.lists(WINDOWS, max_size=8), st.randoms())
def test_the_order_of_windows_does_not_matter(windows: list[EmotionWindow], random: object) -> None:
    shuffled = list(windows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    transcript = Transcript(segments=(segment(1, 9, "one two three"), segment(20, 30, "four", 1, 1)))
    for one, other in zip(
        align_segments(transcript, emotions(*windows)), align_segments(transcript, emotions(*shuffled)), strict=True
    ):
        if one.emotion is None or other.emotion is None:
            assert one.emotion == other.emotion
        else:
            assert {s.name: s.score for s in one.emotion.scores} == pytest.approx(
                {s.name: s.score for s in other.emotion.scores}, abs=2e-6
            )
            assert one.emotion.scores == tuple(sorted(one.emotion.scores, key=lambda s: (-s.score, s.name)))


def test_equal_scores_are_ordered_by_name() -> None:
    assert [s.name for s in sorted_scores({"b": 0.5, "a": 0.5, "c": 0.9})] == ["c", "a", "b"]


def test_a_long_window_is_found_among_many_that_start_later() -> None:
    windows = (window(0, 100, "anger"), *(window(n / 10, n / 10 + 0.05) for n in range(10, 600)))
    (aligned,) = align_segments(
        Transcript(segments=(segment(70, 72, "so it is"),)), Emotions(vocabulary=VOCABULARY, windows=windows)
    )
    assert aligned.emotion is not None
    assert aligned.emotion.top == "anger"
    assert [word.emotion for word in aligned.words] == ["anger"] * 3
