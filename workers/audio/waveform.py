"""A recording's outline for the eye: the loudest sample of each of some hundred equal parts, found as it streams by."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from speechpipe.contract import WAVEFORM_PEAKS, Waveform

#: Parts while the length is not known: many more than in the end, so that their edges do not show.
_PARTS = 8 * WAVEFORM_PEAKS
_ALL_CHANNELS = 2 * WAVEFORM_PEAKS  #: peaks of all channels together: a partial stays small with 64 of them


class Outline:
    """Takes int16 blocks of shape (channels, n); constant memory."""

    def __init__(self) -> None:
        self._width = 1  # samples in a part
        self._parts: npt.NDArray[np.int32] | None = None  # shape (channels, full parts)
        self._rest: npt.NDArray[np.int16] | None = None  # samples that do not fill a part yet

    def add(self, block: npt.NDArray[np.int16]) -> None:
        """The next samples of every channel."""
        if self._parts is None or self._rest is None:
            self._parts, self._rest = np.zeros((len(block), 0), np.int32), block[:, :0]
        samples = np.concatenate([self._rest, block], axis=1)
        full = samples.shape[1] // self._width * self._width
        self._rest = samples[:, full:].copy()
        self._parts = np.concatenate([self._parts, _loudest(samples[:, :full], self._width)], axis=1)
        while self._parts.shape[1] > _PARTS:
            self._halve()

    def _halve(self) -> None:
        """Make parts twice as wide; an odd one is no full part any more, its loudest sample stands for it."""
        assert self._parts is not None
        assert self._rest is not None
        if self._parts.shape[1] % 2:
            odd = np.minimum(self._parts[:, -1:], np.iinfo(np.int16).max).astype(np.int16)
            self._rest = np.concatenate([np.repeat(odd, self._width, axis=1), self._rest], axis=1)
            self._parts = self._parts[:, :-1]
        self._parts = _loudest(self._parts, 2)
        self._width *= 2

    def waveforms(self) -> tuple[Waveform, ...]:
        """One a channel, of all that was added; each of its peaks stands for an equal part of the recording."""
        if self._parts is None or self._rest is None:
            return ()
        parts = self._parts
        if self._rest.shape[1]:
            parts = np.concatenate([parts, _loudest(self._rest, self._rest.shape[1])], axis=1)
        count = min(parts.shape[1], WAVEFORM_PEAKS, _ALL_CHANNELS // len(parts))
        edges = np.linspace(0, parts.shape[1], count, endpoint=False).astype(int)
        loudest = np.maximum.reduceat(parts, edges, axis=1)
        levels = np.rint(255 * np.sqrt(loudest / 32768)).astype(int)
        return tuple(
            Waveform(channel=channel, peaks=tuple(peaks.tolist())) for channel, peaks in enumerate(levels.clip(0, 255))
        )


def _loudest(samples: npt.NDArray[np.int16] | npt.NDArray[np.int32], width: int) -> npt.NDArray[np.int32]:
    """The largest magnitude of each `width` samples. int16's lowest has no counterpart: hence int32."""
    grouped = samples.reshape(len(samples), -1, width)
    if not grouped.size:
        return np.zeros((len(samples), 0), np.int32)
    loudest: npt.NDArray[np.int32] = np.maximum(
        grouped.max(axis=2).astype(np.int32), -grouped.min(axis=2).astype(np.int32)
    )
    return loudest
