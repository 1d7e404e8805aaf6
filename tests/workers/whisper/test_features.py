"""Log-mel features of a batch of rows, by numpy and by torch, against faster-whisper's."""

from __future__ import annotations

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor  # type: ignore[import-untyped]

from workers.audio.decoder import as_float
from workers.whisper.features import LogMel
from workers.whisper.log_mel import HOP, N_FFT
from workers.whisper.log_mel_torch import GpuLogMel


@pytest.mark.parametrize("bands", [80, 128])
@pytest.mark.parametrize("frames", [500, 3000])
@pytest.mark.parametrize("implementation", [LogMel, GpuLogMel])
def test_rows_of_a_batch_are_padded_as_with_silence(implementation: type, frames: int, bands: int) -> None:
    """By torch too, here on a CPU. Rows are quiet, loud, full, silent, and a single sample."""
    extractor = FeatureExtractor(feature_size=bands)
    rng = np.random.default_rng(frames)
    sizes = {1: 9000, 16_000: 30, 40_961: 3000, frames * HOP: 3000, 20_000: 0}
    rows = [rng.normal(0, loud, length).clip(-32768, 32767).astype(np.int16) for length, loud in sizes.items()]
    computed = np.array(implementation(extractor.mel_filters, "cpu")(rows, frames))
    assert computed.shape == (len(rows), bands, frames)
    assert computed.dtype == np.float32
    for row, features in zip(rows, computed, strict=True):
        whole = extractor(np.pad(as_float(row), (0, frames * HOP - len(row))), padding=N_FFT)[:, :frames]
        np.testing.assert_allclose(features, whole, atol=2e-5)
