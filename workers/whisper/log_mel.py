"""Whisper's log-mel features of a batch of rows: those of faster-whisper's `FeatureExtractor`.

On a GPU torch makes them, where it is installed (`log_mel_gpu`); else this module does, at half of faster-whisper's
price: a block of frames at a time stays in the processor's cache; over a whole row at once, most of the time goes into
fresh memory for the spectrum (`make bench-preparation`: 0.7 core seconds an audio hour instead of 1.3).
"""

from __future__ import annotations

from collections.abc import Sequence

import ctranslate2  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt

from workers.audio.decoder import Block, Samples, as_float
from workers.models.device import Device, torch_sees_cuda
from workers.whisper.encoder_output import view

HOP, N_FFT = 160, 400  #: samples a frame at 16 kHz: 100 frames a second; and in a frame's transform
_BLOCK = 256  #: frames
FLOOR, DECADES = 1e-10, 8.0  #: power that counts as none; what lies further below a row's loudest value is cut off
_WINDOW = np.hanning(N_FFT + 1)[:-1].astype(np.float32)


class LogMel:
    """Makes features as the encoder takes them, on its device."""

    def __init__(self, filters: npt.NDArray[np.float32], device: Device) -> None:
        """`filters`: see `log_mel`."""
        self._filters = filters
        self._gpu = None
        if device == "cuda" and torch_sees_cuda():
            from workers.whisper.log_mel_torch import GpuLogMel

            self._gpu = GpuLogMel(filters, device)

    def __call__(self, rows: Sequence[Block], frames: int) -> ctranslate2.StorageView:
        """Features of rows of 16 kHz samples, each of shape (n,), padded: shape (rows, bands, frames)."""
        if self._gpu is not None:
            return self._gpu(rows, frames)
        return view(np.stack([_padded(log_mel(as_float(row), self._filters), frames) for row in rows]))


def log_mel(samples: Samples, filters: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Features of 16 kHz samples of shape (n,), as if silence followed: shape (bands, ceil(n / 160) + 2 or 3).

    `filters`: power spectrum to bands, shape (bands, 201). Radford et al. 2022, section 2.2; openai/whisper `audio.py`.
    """
    padded = np.pad(np.pad(samples, (0, N_FFT)), N_FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP][:-1]
    power = np.empty((len(frames), len(filters)), np.float32)
    bands = np.ascontiguousarray(filters.T)
    for first in range(0, len(frames), _BLOCK):
        spectrum = np.fft.rfft(frames[first : first + _BLOCK] * _WINDOW)
        energy = spectrum.real**2
        energy += spectrum.imag**2
        np.matmul(energy, bands, out=power[first : first + _BLOCK])
    features = np.log10(np.maximum(power, FLOOR, out=power), out=power)
    np.maximum(features, features.max() - DECADES, out=features)
    features += 4.0
    features /= 4.0
    return features.T


def _padded(features: npt.NDArray[np.float32], frames: int) -> npt.NDArray[np.float32]:
    """A row's features, cut to a length or padded with what silence gives: as if its samples had been padded.

    faster-whisper pads with 0.0, which is a loud noise. The floor of log-mel features is 2 (8 decades over 4) under a
    row's loudest value, and -1.5 at least: see faster_whisper.feature_extractor.
    """
    floor = max(float(features.max()) - 2.0, -1.5)
    features = features[:, :frames]
    return np.pad(features, ((0, 0), (0, frames - features.shape[1])), constant_values=floor)
