"""Whisper's log-mel features for a batch of rows, as the encoder takes them: by torch on a GPU, else by numpy.

The image for speech to text has no torch: there numpy computes them even where the encoder runs on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence

import ctranslate2  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt

from workers.audio.decoder import Block, as_float
from workers.models.device import Device, torch_sees_cuda
from workers.whisper.encoder_output import view
from workers.whisper.log_mel import log_mel


class LogMel:
    """Computes features on the encoder's device."""

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


def _padded(features: npt.NDArray[np.float32], frames: int) -> npt.NDArray[np.float32]:
    """Cut a row's features to a length, or pad them with the value of silence, as if the samples had been padded.

    faster-whisper pads with 0.0, which stands for loud noise. The floor of log-mel features is 2 (8 decades over 4)
    below a row's loudest value, and at least -1.5: see faster_whisper.feature_extractor.
    """
    floor = max(float(features.max()) - 2.0, -1.5)
    features = features[:, :frames]
    return np.pad(features, ((0, 0), (0, frames - features.shape[1])), constant_values=floor)
