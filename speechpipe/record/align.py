"""Align emotion windows with the transcript, and compute the summary, trend and turning points. Pure.

A segment's scores are the mean of the windows on its channel, weighted by how long each overlaps the segment. The
windows themselves stay in the record, so that anyone can aggregate them differently.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, pairwise

from speechpipe.contract import (
    Emotions,
    EmotionWindow,
    LabelScore,
    Segment,
    SegmentEmotion,
    Summary,
    Transcript,
    TrendSlice,
    TurningPoint,
    Vocabulary,
    Word,
)

TREND_SLICES = 4
#: A change of emotion is a turning point if both sides last at least this long; shorter ones are noise.
TURNING_POINT_SECONDS = 2.0
#: A word further than this from every window gets no emotion.
MAX_WORD_DISTANCE_SECONDS = 0.5


def sorted_scores(scores: Mapping[str, float]) -> tuple[LabelScore, ...]:
    """Sort scores, highest first and equal ones by name, so that the result does not depend on the input's order."""
    ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return tuple(LabelScore(name=name, score=min(max(score, 0.0), 1.0)) for name, score in ranked)


def overlap(start: float, end: float, window: EmotionWindow) -> float:
    """Seconds that [start, end] shares with a window; 0 if they do not overlap."""
    return max(0.0, min(end, window.end) - max(start, window.start))


def align_segments(transcript: Transcript, emotions: Emotions) -> tuple[Segment, ...]:
    """The transcript's segments and words, each with the emotion of the windows near it."""
    by_channel: dict[int, list[EmotionWindow]] = defaultdict(list)
    for window in emotions.windows:
        by_channel[window.channel].append(window)
    indexes = {channel: _WindowIndex(windows) for channel, windows in by_channel.items()}
    empty = _WindowIndex(())
    aligned = []
    for segment in transcript.segments:
        first = min([segment.start, *(word.start for word in segment.words)])
        last = max([segment.end, *(word.end for word in segment.words)])
        windows = indexes.get(segment.channel, empty).near(first, last)
        emotion = _segment_emotion(segment, windows, emotions.vocabulary)
        words = tuple(_word_emotion(word, windows, emotions.vocabulary) for word in segment.words)
        aligned.append(segment.model_copy(update={"emotion": emotion, "words": words}))
    return tuple(aligned)


class _WindowIndex:
    """Find a channel's windows near a time without a full scan: ten hours have 7,000 windows and 100,000 words."""

    def __init__(self, windows: Sequence[EmotionWindow]) -> None:
        self._windows = sorted(windows, key=lambda window: window.start)
        self._starts = [window.start for window in self._windows]
        self._longest = max((window.end - window.start for window in windows), default=0.0)

    def near(self, start: float, end: float) -> list[EmotionWindow]:
        """All windows within MAX_WORD_DISTANCE_SECONDS of [start, end], perhaps some further away, sorted by start."""
        first = bisect_left(self._starts, start - self._longest - MAX_WORD_DISTANCE_SECONDS)
        return self._windows[first : bisect_right(self._starts, end + MAX_WORD_DISTANCE_SECONDS)]


def top_label(window: EmotionWindow, vocabulary: Vocabulary) -> str | None:
    """The highest-scoring primary label; None if the model is unsure."""
    return leading(window.scores, [(1.0, window)], vocabulary)


def leading(
    scores: Sequence[LabelScore], weighted: Iterable[tuple[float, EmotionWindow]], vocabulary: Vocabulary
) -> str | None:
    """The highest primary label of scores that come from windows with these weights.

    None if its score is too low for the vocabulary, or if most of the weight is in windows that are unsure.
    """
    top = next((s for s in scores if s.name in vocabulary.primary), None)
    unsure = sum(weight if window.unsure else -weight for weight, window in weighted) > 0
    return None if top is None or unsure or top.score < vocabulary.sure_from else top.name


def _segment_emotion(
    segment: Segment, windows: Sequence[EmotionWindow], vocabulary: Vocabulary
) -> SegmentEmotion | None:
    shared = [(overlap(segment.start, segment.end, window), window) for window in windows]
    shared = [(seconds, window) for seconds, window in shared if seconds > 0]
    if not shared:
        return None
    scores = _mean((seconds, window.scores) for seconds, window in shared)
    primary = [s for s in scores if s.name in vocabulary.primary]
    runner_up = primary[1].score if len(primary) > 1 else 0.0
    return SegmentEmotion(
        top=leading(scores, shared, vocabulary),
        confidence=primary[0].score,
        margin=primary[0].score - runner_up,
        coverage=min(1.0, sum(seconds for seconds, _ in shared) / (segment.end - segment.start)),
        scores=scores,
        sentiment=_mean((seconds, window.sentiment) for seconds, window in shared),
    )


def _word_emotion(word: Word, windows: Sequence[EmotionWindow], vocabulary: Vocabulary) -> Word:
    """The word with the label of the window nearest to its midpoint, if one is within MAX_WORD_DISTANCE_SECONDS."""
    midpoint = (word.start + word.end) / 2
    distances = [(max(w.start - midpoint, midpoint - w.end, 0.0), w.start, w) for w in windows]
    distance, _, nearest = min(distances, key=lambda d: d[:2], default=(1.0, 0.0, None))
    if nearest is None or distance > MAX_WORD_DISTANCE_SECONDS:
        return word
    return word.model_copy(update={"emotion": top_label(nearest, vocabulary)})


def _mean(weighted: Iterable[tuple[float, tuple[LabelScore, ...]]]) -> tuple[LabelScore, ...]:
    total = 0.0
    sums: dict[str, float] = defaultdict(float)
    for weight, scores in weighted:
        total += weight
        for s in scores:
            sums[s.name] += weight * s.score
    return sorted_scores({name: value / total for name, value in sums.items()}) if total else ()


def summarise(transcript: Transcript | None, emotions: Emotions | None, duration: float) -> Summary:
    """Summarise the halves that exist. `duration` is the recording's, in seconds."""
    words = sum(len(s.words) or len(s.text.split()) for s in transcript.segments) if transcript else 0
    speech = transcript.speech_seconds if transcript else 0.0
    if emotions is None or not emotions.windows:
        return Summary(speech_seconds=speech, words=words)
    share: dict[str | None, float] = defaultdict(float)
    for window in emotions.windows:
        share[top_label(window, emotions.vocabulary)] += window.end - window.start
    total = sum(share.values())
    unsure = share.pop(None, 0.0) / total
    ranked = sorted_scores({label: seconds / total for label, seconds in share.items() if label is not None})
    return Summary(
        speech_seconds=speech,
        words=words,
        dominant_emotion=ranked[0].name if ranked and ranked[0].score >= unsure else None,
        emotion_share={s.name: s.score for s in ranked},
        unsure_share=min(unsure, 1.0),
        trend=_trend(emotions, duration),
        turning_points=turning_points(emotions),
    )


def _trend(emotions: Emotions, duration: float) -> tuple[TrendSlice, ...]:
    width = duration / TREND_SLICES
    slices = []
    for i in range(TREND_SLICES):
        start, end = i * width, (i + 1) * width
        shared = [(seconds, w) for w in emotions.windows if (seconds := overlap(start, end, w))]
        scores = _mean((seconds, window.scores) for seconds, window in shared)
        top = leading(scores, shared, emotions.vocabulary)
        slices.append(TrendSlice(start=start, end=end, emotion=top, scores=scores))
    return tuple(slices)


def turning_points(emotions: Emotions) -> tuple[TurningPoint, ...]:
    """Where a channel's dominant emotion changes and stays changed, sorted by time. Both sides are sure."""
    points = []
    channels = sorted({window.channel for window in emotions.windows})
    for channel in channels:
        windows = sorted((w for w in emotions.windows if w.channel == channel), key=lambda w: w.start)
        runs = _runs(windows, emotions.vocabulary)
        lasting = [(label, at, seconds) for label, at, seconds in runs if label and seconds >= TURNING_POINT_SECONDS]
        for (before, _, _), (after, at, _) in pairwise(lasting):
            if before != after:
                points.append(TurningPoint(at=at, channel=channel, before=before, after=after))
    return tuple(sorted(points, key=lambda point: (point.at, point.channel)))


def _runs(windows: Sequence[EmotionWindow], vocabulary: Vocabulary) -> list[tuple[str | None, float, float]]:
    """(label, start, scored seconds) of each run of windows with the same top label, or with none."""
    runs = []
    for label, group in groupby(windows, key=lambda w: top_label(w, vocabulary)):
        members = list(group)
        runs.append((label, members[0].start, sum(w.end - w.start for w in members)))
    return runs
