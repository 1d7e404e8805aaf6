"""The numpy implementation of log-mel features against faster-whisper's."""

from __future__ import annotations

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor  # type: ignore[import-untyped]

from workers.whisper.log_mel import N_FFT, log_mel


@pytest.mark.parametrize("bands", [80, 128])
@pytest.mark.parametrize("length", [1, 159, 160, 401, 40_960, 40_961, 29 * 16_000])
def test_features_are_those_of_faster_whisper(bands: int, length: int) -> None:
    extractor = FeatureExtractor(feature_size=bands)
    rng = np.random.default_rng(length)
    samples = rng.normal(0, 0.1, length).astype(np.float32) * np.linspace(0, 1, length, dtype=np.float32)
    ours, theirs = log_mel(samples, extractor.mel_filters), extractor(samples, padding=N_FFT)
    assert ours.shape == theirs.shape
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_silence_has_finite_features() -> None:
    features = log_mel(np.zeros(16_000, np.float32), FeatureExtractor(feature_size=80).mel_filters)
    np.testing.assert_allclose(features, -1.5, atol=1e-6)
