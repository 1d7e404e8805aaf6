"""Whisper's log-mel features by torch: for a whole batch, and kept on the GPU for the encoder."""

from __future__ import annotations

from collections.abc import Sequence

import ctranslate2  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
import torch

from workers.audio.decoder import Block
from workers.whisper.log_mel import DECADES, FLOOR, HOP, N_FFT


class GpuLogMel:
    """`log_mel` for a batch of rows of any length, on a torch device."""

    def __init__(self, filters: npt.NDArray[np.float32], device: str) -> None:
        """`filters`: see `log_mel`."""
        self._filters = torch.from_numpy(np.ascontiguousarray(filters)).to(device)
        self._window = torch.hann_window(N_FFT, device=device)

    @torch.inference_mode()
    def __call__(self, rows: Sequence[Block], frames: int) -> ctranslate2.StorageView:
        """Features of rows of 16 kHz samples, each of shape (n,), padded: shape (rows, bands, frames)."""
        samples = np.zeros((len(rows), frames * HOP + N_FFT), np.int16)
        for row, given in zip(samples, rows, strict=True):
            row[: len(given)] = given
        audio = torch.from_numpy(samples).to(self._window.device).float() / 32768
        spectrum = torch.stft(audio, N_FFT, HOP, window=self._window, return_complex=True)[..., :-1]
        features = torch.matmul(self._filters, spectrum.abs().square()).clamp(min=FLOOR).log10()
        features = torch.maximum(features, features.amax((1, 2), keepdim=True) - DECADES)
        return view((features[..., :frames] + 4) / 4)


def view(tensor: torch.Tensor) -> ctranslate2.StorageView:
    """Wrap a tensor for CTranslate2 on its device. Waits until it is computed: CTranslate2 uses another CUDA stream."""
    tensor = tensor.contiguous()
    if not tensor.is_cuda:
        return ctranslate2.StorageView.from_array(tensor.numpy())
    torch.cuda.synchronize()
    return ctranslate2.StorageView.from_array(tensor)
