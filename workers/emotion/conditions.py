"""Cautions about sound that emotion models did not learn from: a telephone's band, noise, music. Pure.

They learned from clean speech of one person, recorded from near by with a good microphone. Each condition is judged
over stretches of speech, because a single word may lack high sounds or pauses. The thresholds were measured on real
speech (docs/decisions/0031).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from speechpipe.contract import Caution
from workers.audio.places import places
from workers.audio.vad import Span
from workers.emotion.levels import FRAMES_PER_SECOND, Levels
from workers.emotion.tracking import Window

#: Seconds of speech that are judged together, and the least by which the band and the background can be judged.
_STRETCH, _ENOUGH_FOR_BAND, _ENOUGH_FOR_BACKGROUND = 20.0, 2.0, 3.0
#: Decibels. Narrow: power above 4 kHz against that of a telephone's band. No telephone prompt has more than -36, and of
#: 313 clips of wide speech, cut to 2 s, one less than -35.
_NARROW = -35.0
#: Decibels by which voiced speech is louder than the quietest twentieth of its windows: 16 and more in 20 s of real
#: speech, about 10 with noise that is 5 dB weaker than the speech.
_NOISY = 12.0
#: Steadiness from which such a background is music, or another steady sound with overtones. It is at most 0.09 with
#: noise or several voices behind speech, and 0.12 and more with music that is 5 dB weaker.
_STEADY = 0.11
#: The share of a stretch's frames that are its background.
_BACKGROUND = 0.05
#: Decibels below full scale. Digital silence is no background.
_SILENT = -95.0


@dataclass(frozen=True)
class _Stretch:
    channel: int
    number: int  #: among the stretches of its channel
    windows: tuple[Window, ...]

    @property
    def seconds(self) -> float:
        return sum(window.span.length for window in self.windows)


def heard(levels: Levels, windows: Sequence[Window], channels: Sequence[int]) -> Iterator[Caution]:
    """At most one caution for each condition, with its seconds, channels and places. Windows are in order of time."""
    narrow: list[_Stretch] = []
    loud: list[_Stretch] = []
    for channel in channels:
        stretches, decibels, voiced = _stretches(windows, channel), levels.decibels(channel), levels.voiced(channel)
        narrow += filter(_is_narrow, stretches)
        loud += (stretch for stretch in stretches if _has_loud_background(decibels, voiced, stretch))
    music = [stretch for stretch in loud if _steadiness(stretch) >= _STEADY]
    noise = [stretch for stretch in loud if _steadiness(stretch) < _STEADY]
    yield from _caution("narrow_band", "have nothing above 4 kHz, as on a telephone", narrow, channels)
    yield from _caution("noisy", "are hardly louder than the noise or the other voices around them", noise, channels)
    yield from _caution("music", "have music or another steady sound behind them, nearly as loud", music, channels)


def _caution(code: str, what: str, stretches: Sequence[_Stretch], scored: Sequence[int]) -> Iterator[Caution]:
    if not stretches:
        return
    channels = sorted({stretch.channel for stretch in stretches})
    on = " and ".join(map(str, channels))
    where = f" on channel{'s' if len(channels) > 1 else ''} {on}" if list(scored) != [0] else ""
    seconds = sum(stretch.seconds for stretch in stretches)
    found = {(stretch.channel, stretch.number) for stretch in stretches}
    first = [stretch for stretch in stretches if (stretch.channel, stretch.number - 1) not in found]
    begins = sorted({Span(int(stretch.windows[0].span.start), math.inf) for stretch in first})
    message = f"{seconds:.0f} s of speech{where} {what}, unlike what emotion models learn from: at {places(begins)}"
    yield Caution(code=code, message=message)


def _stretches(windows: Sequence[Window], channel: int) -> list[_Stretch]:
    """A channel's windows in stretches of 20 s and more; a shorter rest belongs to the one before."""
    groups: list[list[Window]] = [[]]
    for window in windows:
        if window.channel == channel:
            if sum(one.span.length for one in groups[-1]) >= _STRETCH:
                groups.append([])
            groups[-1].append(window)
    if len(groups) > 1 and sum(one.span.length for one in groups[-1]) < _STRETCH:
        groups[-2].extend(groups.pop())
    return [_Stretch(channel, number, tuple(group)) for number, group in enumerate(groups) if group]


def _is_narrow(stretch: _Stretch) -> bool:
    telephone = sum(window.sound.telephone for window in stretch.windows)
    high = sum(window.sound.high for window in stretch.windows)
    return stretch.seconds >= _ENOUGH_FOR_BAND and telephone > 0 and high < telephone * 10 ** (_NARROW / 10)


def _has_loud_background(decibels: npt.NDArray[np.float32], voiced: npt.NDArray[np.bool_], stretch: _Stretch) -> bool:
    at = np.concatenate([np.arange(*_frames(window.span, len(decibels))) for window in stretch.windows])
    everything, speech = decibels[at], decibels[at][voiced[at]]
    if stretch.seconds < _ENOUGH_FOR_BACKGROUND or not len(speech):
        return False
    level = 10 * np.log10(np.mean(10 ** (speech / 10)))
    return bool(level - np.quantile(everything[everything > _SILENT], _BACKGROUND) < _NOISY)


def _frames(span: Span, count: int) -> tuple[int, int]:
    first, last = round(span.start * FRAMES_PER_SECOND), round(span.end * FRAMES_PER_SECOND)
    return min(first, count), min(last, count)


def _steadiness(stretch: _Stretch) -> float:
    known = [window.sound.steadiness for window in stretch.windows if window.sound.steadiness is not None]
    return float(np.mean(known)) if known else 0.0
