"""What the reader of emotions should know about a recording: where they are missing, weak, or counted twice. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from speechpipe.contract import Caution, Vocabulary
from workers.audio.places import places
from workers.audio.vad import Span
from workers.emotion.levels import FRAMES_PER_SECOND, SILENCE, Levels
from workers.emotion.tracking import Window

#: Sound without speech is told if it is this loud, or if there is speech nearly as loud as that; decibels.
_LOUD, _BELOW_SPEECH = -40.0, 6.0
#: Seconds. Shorter sounds are not told; a laugh has breaks up to the second value.
_SHORTEST_SOUND, _LONGEST_BREAK = 0.5, 0.4
#: The least part of a sound in which a voice would be periodic.
_LEAST_VOICED = 0.4
#: Seconds that windows of two channels share, the most by which one voice arrives later, and the correlation of their
#: levels from which they are one voice.
_SHARED, _DELAY, _ALIKE = 1.0, 0.32, 0.85


def absences(windows: Sequence[Window], *, split: bool, channels: int) -> Iterator[Caution]:
    """Cautions for a recording without speech, and for one of whose channels only one exists."""
    if not windows:
        yield Caution(code="no_speech", message="no speech was found in the recording")
    if split and channels == 1:
        message = "channels=split was asked for, but the recording has one channel"
        yield Caution(code="mono_split", message=message)


def uncalibrated(vocabulary: Vocabulary, windows: Sequence[Window]) -> Iterator[Caution]:
    """A caution for scores that are no probabilities of being right, as far as anybody knows."""
    if windows and not vocabulary.calibrated:
        message = "the confidence of the emotion model has not been compared with how often it is right"
        yield Caution(code="uncalibrated", message=message)


def dropped(windows: Sequence[Window], why: str) -> Iterator[Caution]:
    """A caution for windows whose scores could not be used."""
    if windows:
        spans = [window.span for window in windows]
        what = "1 window is" if len(spans) == 1 else f"{len(spans)} windows are"
        yield Caution(code="windows_dropped", message=f"{what} left out, because {why}: at {places(spans)}")


def short(windows: Sequence[Window]) -> Iterator[Caution]:
    """A caution for windows with too little speech, and no neighbours to take them with."""
    if windows:
        spans = [window.span for window in windows]
        message = f"unsure: less than a second of speech is too little to tell an emotion by: at {places(spans)}"
        yield Caution(code="short_speech", message=message)


def unscored(levels: Levels, windows: Sequence[Window], channels: Iterable[int]) -> Iterator[Caution]:
    """A caution for sounds like a loud voice outside all windows: people laugh, cry and scream without words."""
    found = sorted(span for channel in channels for span in _unscored(levels, windows, channel))
    if found:
        seconds = sum(span.length for span in found)
        message = (
            f"{seconds:.1f} s may be a voice without words (a laugh, a cry, a scream) or music, and have no emotion:"
            f" at {places(found)}"
        )
        yield Caution(code="sound_without_speech", message=message)


def _unscored(levels: Levels, windows: Sequence[Window], channel: int) -> Iterator[Span]:
    decibels, voiced = levels.decibels(channel), levels.voiced(channel)
    scored = np.zeros(len(decibels), np.bool_)
    for window in windows:
        if window.channel == channel:
            scored[_frames(window.span)] = True
    speech = decibels[scored & voiced]
    threshold = max(SILENCE, float(np.median(speech)) - _BELOW_SPEECH) if len(speech) else _LOUD
    loud = np.flatnonzero((decibels >= threshold) & ~scored)
    for run in np.split(loud, np.flatnonzero(np.diff(loud) > _LONGEST_BREAK * FRAMES_PER_SECOND) + 1):
        if len(run) and voiced[run].mean() >= _LEAST_VOICED:
            span = Span(run[0] / FRAMES_PER_SECOND, (run[-1] + 1) / FRAMES_PER_SECOND)
            if span.length >= _SHORTEST_SOUND:
                yield span


def alike(levels: Levels, windows: Sequence[Window]) -> Iterator[Caution]:
    """A caution for one voice in windows of two channels, all of which count."""
    by_channel: dict[int, list[Span]] = {}
    for window in windows:
        by_channel.setdefault(window.channel, []).append(window.span)
    found: set[Span] = set()
    for one, other in combinations(sorted(by_channel), 2):
        first, second = levels.decibels(one), levels.decibels(other)
        for span in _shared(by_channel[one], by_channel[other]):
            if _correlation(first, second, span) >= _ALIKE:
                found.add(span)
    if found:
        seconds = sum(span.length for span in found)
        message = (
            f"{seconds:.0f} s sound alike on two channels, and their emotions count on both: at {places(sorted(found))}"
        )
        yield Caution(code="channels_alike", message=message)


def _shared(first: Sequence[Span], second: Sequence[Span]) -> Iterator[Span]:
    """The times that windows of two channels share, each long enough to compare; both in order."""
    at = 0
    for one in first:
        while at < len(second) and second[at].end <= one.start:
            at += 1
        for other in second[at:]:
            if other.start >= one.end:
                break
            span = Span(max(one.start, other.start), min(one.end, other.end))
            if span.length >= _SHARED:
                yield span


def _correlation(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32], span: Span) -> float:
    """How alike the levels of two channels are, at the delay at which they are most alike: -1 to 1."""
    frames = _frames(span)
    one, best = np.maximum(first[frames], SILENCE - 30), -1.0
    for delay in range(-round(_DELAY * FRAMES_PER_SECOND), round(_DELAY * FRAMES_PER_SECOND) + 1):
        start = frames.start + delay
        other = np.maximum(second[max(0, start) : max(0, start) + len(one)], SILENCE - 30)
        if start < 0 or len(other) < len(one) or one.std() < 1 or other.std() < 1:  # decibels: a steady sound
            continue
        best = max(best, float(np.corrcoef(one, other)[0, 1]))
    return best


def _frames(span: Span) -> slice:
    return slice(round(span.start * FRAMES_PER_SECOND), round(span.end * FRAMES_PER_SECOND))
