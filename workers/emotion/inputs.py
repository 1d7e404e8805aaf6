"""Fill windows to the length that a model always computes. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def repeated(audio: npt.NDArray[np.float32], length: int) -> npt.NDArray[np.float32]:
    """Audio that is shorter than `length` samples, repeated until it is that long; longer audio as it is.

    For models that average over all positions, and so over silence that fills a window up
    (`WhisperForAudioClassification`): repetition leaves the average as it is.
    """
    return np.resize(audio, length) if 0 < len(audio) < length else audio
