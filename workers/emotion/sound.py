"""What a window sounds like, whatever is said in it: how wide its band is, and how steady its tones are. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workers.audio.decoder import SAMPLE_RATE

#: Samples: a frame whose overtones are told apart, and the time from one to the next.
_FRAME, _STEP = 1024, SAMPLE_RATE // 20
_SHAPE = np.hanning(_FRAME).astype(np.float32)
_HERTZ = SAMPLE_RATE / _FRAME  #: between two bins of a frame's spectrum
#: Bins: the band that a telephone carries (300 to 4000 Hz), from where it carries nothing, and those of overtones.
_TELEPHONE, _HIGH, _OVERTONES = slice(19, 256), round(4200 / _HERTZ), slice(6, 256)
#: Bins to each side over which a spectrum is evened out.
_WIDTH = 12
#: Frames, 0.2 s: by then a voice has another pitch or sound, and most notes are still held.
_LAG = 4

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sound:
    """The power of a window in two bands, and its steadiness."""

    telephone: float  #: power in a telephone's band
    high: float  #: power above 4 kHz
    steadiness: float | None  #: mean correlation of its overtones with those 0.2 s later; None if it is too short


def sound_of(audio: Array) -> Sound:
    """Measure a window of 16 kHz audio, shape (n,)."""
    if len(audio) < _FRAME:
        return Sound(0.0, 0.0, None)
    frames = np.lib.stride_tricks.sliding_window_view(audio, _FRAME)[::_STEP]
    power = np.abs(np.fft.rfft(frames * _SHAPE)) ** 2
    telephone, high = power[:, _TELEPHONE].sum(), power[:, _HIGH:].sum()
    return Sound(float(telephone), float(high), _steadiness(np.log(power[:, _OVERTONES] + 1e-9)))


def _steadiness(levels: npt.NDArray[np.float32]) -> float | None:
    if len(levels) <= _LAG:
        return None
    sums = np.cumsum(np.pad(levels, ((0, 0), (_WIDTH + 1, _WIDTH)), "edge"), axis=1)
    width = 2 * _WIDTH + 1
    overtones = levels - (sums[:, width:] - sums[:, :-width]) / width
    overtones -= overtones.mean(axis=1, keepdims=True)
    overtones /= overtones.std(axis=1, keepdims=True) + 1e-6
    return float((overtones[_LAG:] * overtones[:-_LAG]).mean())
