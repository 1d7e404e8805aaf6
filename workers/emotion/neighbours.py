"""Windows with less than a second of speech: their scores are taken together with those of their neighbours.

These models were trained on utterances of 2 to 8 s, and are as sure of an emotion in half a word. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from speechpipe.contract import LabelScore
from workers.audio.chunks import Chunk
from workers.audio.vad import Span
from workers.emotion.tracking import Window

#: Seconds of speech from which a window stands for itself, and the pause up to which another is its neighbour.
ENOUGH_SPEECH, REACH = 1.0, 2.0

Scores = tuple[LabelScore, ...]


def speech_in(chunk: Chunk, span: Span) -> float:
    """Seconds of speech of a chunk that are within a span."""
    return sum(max(0.0, min(span.end, one.end) - max(span.start, one.start)) for one in chunk.speech)


def with_neighbours(windows: Sequence[Window], scores: Sequence[Scores]) -> tuple[list[Scores], list[Window]]:
    """The scores, those of short windows as means over them and their neighbours; and short windows without any.

    Both arguments are in order of time. The means are weighted by speech.
    """
    by_channel: dict[int, list[int]] = defaultdict(list)
    for number, window in enumerate(windows):
        by_channel[window.channel].append(number)
    taken, alone = list(scores), []
    for numbers in by_channel.values():
        for place, number in enumerate(numbers):
            window = windows[number]
            if window.speech >= ENOUGH_SPEECH:
                continue
            near = [n for n in numbers[max(0, place - 1) : place + 2] if _pause(window, windows[n]) <= REACH]
            if sum(windows[n].speech for n in near) < ENOUGH_SPEECH:
                alone.append(window)
            taken[number] = _mean([(max(windows[n].speech, 0.01), scores[n]) for n in near])
    return taken, sorted(alone, key=lambda window: window.span)


def _pause(one: Window, other: Window) -> float:
    return max(one.span.start, other.span.start) - min(one.span.end, other.span.end)


def _mean(weighted: Sequence[tuple[float, Scores]]) -> Scores:
    if len(weighted) == 1:
        return weighted[0][1]
    total = sum(weight for weight, _ in weighted)
    means: dict[str, float] = defaultdict(float)
    for weight, scores in weighted:
        for score in scores:
            means[score.name] += weight * score.score / total
    ranked = sorted(means.items(), key=lambda item: -item[1])
    return tuple(LabelScore(name=name, score=min(1.0, mean)) for name, mean in ranked)
