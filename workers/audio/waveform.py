"""A recording's waveform to be drawn: the peak of each of up to 800 equal parts, computed while it is being decoded."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from speechpipe.contract import WAVEFORM_PEAKS, Waveform

#: Bins kept while the length is unknown. There are far more of them than peaks, so that their edges do not show.
_MAX_BINS = 8 * WAVEFORM_PEAKS
_ALL_CHANNELS = 2 * WAVEFORM_PEAKS  #: peaks of all channels together, so that a partial with 64 channels stays small


class WaveformBuilder:
    """Builds waveforms from int16 blocks of shape (channels, n), in constant memory."""

    def __init__(self) -> None:
        self._width = 1  # samples per bin
        self._bins: npt.NDArray[np.int32] | None = None  # the peak of each full bin, shape (channels, bins)
        self._rest: npt.NDArray[np.int16] | None = None  # samples that do not fill a bin yet

    def add(self, block: npt.NDArray[np.int16]) -> None:
        """Add the next samples of every channel."""
        if self._bins is None or self._rest is None:
            self._bins, self._rest = np.zeros((len(block), 0), np.int32), block[:, :0]
        samples = np.concatenate([self._rest, block], axis=1)
        full = samples.shape[1] // self._width * self._width
        self._rest = samples[:, full:].copy()
        self._bins = np.concatenate([self._bins, _peaks(samples[:, :full], self._width)], axis=1)
        while self._bins.shape[1] > _MAX_BINS:
            self._halve()

    def _halve(self) -> None:
        """Make bins twice as wide. An odd one left over is no longer full, so samples of its peak value replace it."""
        assert self._bins is not None
        assert self._rest is not None
        if self._bins.shape[1] % 2:
            odd = np.minimum(self._bins[:, -1:], np.iinfo(np.int16).max).astype(np.int16)
            self._rest = np.concatenate([np.repeat(odd, self._width, axis=1), self._rest], axis=1)
            self._bins = self._bins[:, :-1]
        self._bins = _peaks(self._bins, 2)
        self._width *= 2

    def waveforms(self) -> tuple[Waveform, ...]:
        """One waveform per channel. Each peak covers an equal part of the audio added so far."""
        if self._bins is None or self._rest is None:
            return ()
        bins = self._bins
        if self._rest.shape[1]:
            bins = np.concatenate([bins, _peaks(self._rest, self._rest.shape[1])], axis=1)
        count = min(bins.shape[1], WAVEFORM_PEAKS, _ALL_CHANNELS // len(bins))
        edges = np.linspace(0, bins.shape[1], count, endpoint=False).astype(int)
        peaks = np.maximum.reduceat(bins, edges, axis=1)
        levels = np.rint(255 * np.sqrt(peaks / 32768)).astype(int)
        return tuple(
            Waveform(channel=channel, peaks=tuple(row.tolist())) for channel, row in enumerate(levels.clip(0, 255))
        )


def _peaks(samples: npt.NDArray[np.int16] | npt.NDArray[np.int32], width: int) -> npt.NDArray[np.int32]:
    """The largest magnitude in each `width` samples, as int32: that of int16's lowest value does not fit into int16."""
    grouped = samples.reshape(len(samples), -1, width)
    if not grouped.size:
        return np.zeros((len(samples), 0), np.int32)
    peaks: npt.NDArray[np.int32] = np.maximum(
        grouped.max(axis=2).astype(np.int32), -grouped.min(axis=2).astype(np.int32)
    )
    return peaks
