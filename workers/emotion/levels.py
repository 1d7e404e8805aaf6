"""How loud each channel is over time, and where it sounds like a voice, gathered while the audio is read.

A voice is periodic and has overtones, in a laugh or a scream too; breath, noise and beeps are not or have not. Music is
and has. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from workers.audio.chunks import Audio
from workers.audio.decoder import SAMPLE_RATE, as_float

#: Samples.
_FRAME = SAMPLE_RATE // 25
FRAMES_PER_SECOND = SAMPLE_RATE / _FRAME
#: Decibels below full scale. Quieter frames count as silent.
SILENCE = -45.0
_NOTHING = -100.0
#: Samples: the periods of voices, from a scream of 1 kHz to a deep voice of 75 Hz.
_SHORTEST_PERIOD, _LONGEST_PERIOD = SAMPLE_RATE // 1000, SAMPLE_RATE // 75
#: A frame is periodic from this autocorrelation, and no voice with this share of its power at two frequencies.
_PERIODIC, _TONE = 0.6, 0.85
_BINS_OF_A_TONE = 2  #: on each side of its frequency


class Levels:
    """Passes an audio stream on, and remembers 25 levels a second of the chosen channels: 5 bytes each."""

    def __init__(self, stream: Audio, channels: Sequence[int]) -> None:
        self._stream = stream
        self._rest = {channel: np.zeros(0, np.int16) for channel in channels}
        before = round(stream.start * FRAMES_PER_SECOND)  # of a part: silence, so that frames count from the beginning
        self._decibels = {channel: [np.full(before, _NOTHING, np.float32)] for channel in channels}
        self._voiced = {channel: [np.zeros(before, np.bool_)] for channel in channels}

    @property
    def channels(self) -> int:
        """How many channels a block has."""
        return self._stream.channels

    @property
    def start(self) -> float:
        """Where the first sample is, in seconds of the recording."""
        return self._stream.start

    def __iter__(self) -> Iterator[npt.NDArray[np.int16]]:
        for block in self._stream:
            for channel, rest in self._rest.items():
                samples = np.concatenate([rest, block[channel]])
                count = len(samples) // _FRAME
                self._rest[channel] = samples[count * _FRAME :].copy()
                frames = as_float(samples[: count * _FRAME]).reshape(count, _FRAME)
                decibels = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-10)
                self._decibels[channel].append(decibels.astype(np.float32))
                self._voiced[channel].append(_voiced(frames, decibels >= SILENCE))
            yield block

    def decibels(self, channel: int) -> npt.NDArray[np.float32]:
        """A channel's levels so far, shape (frames,), in decibels of full scale."""
        return np.concatenate(self._decibels[channel])

    def voiced(self, channel: int) -> npt.NDArray[np.bool_]:
        """Where a channel sounds like a voice so far, shape (frames,)."""
        return np.concatenate(self._voiced[channel])


def _voiced(frames: npt.NDArray[np.float32], loud: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which of the loud frames are periodic, with overtones. Shape (n, _FRAME) to (n,)."""
    found = np.zeros(len(frames), np.bool_)
    if not loud.any():
        return found
    chosen = frames[loud] - frames[loud].mean(axis=1, keepdims=True)
    power = np.abs(np.fft.rfft(chosen, 2 * _FRAME)) ** 2
    correlation = np.fft.irfft(power)[:, : _LONGEST_PERIOD + 1]
    correlation /= correlation[:, :1] + 1e-12
    correlation *= _FRAME / (_FRAME - np.arange(_LONGEST_PERIOD + 1))  # fewer samples overlap at a longer period
    periods = correlation[:, _SHORTEST_PERIOD:]
    best = periods.argmax(axis=1)
    periodic = (periods[np.arange(len(best)), best] >= _PERIODIC) & (best > 0)  # at 0 it only falls: a rumble
    found[loud] = periodic & (_tones(power) < _TONE)
    return found


def _tones(power: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The share of the two strongest frequencies, shape (n, bins) to (n,): nearly all of a beep or a dialled digit."""
    rest, bins = power.copy(), np.arange(power.shape[1])
    for _ in range(2):
        rest[abs(bins - rest.argmax(axis=1)[:, None]) <= _BINS_OF_A_TONE] = 0
    return np.asarray(1 - rest.sum(axis=1) / (power.sum(axis=1) + 1e-12))
