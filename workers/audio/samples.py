"""Samples as the decoder delivers them and as models expect them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 16_000  #: Hz, of all decoded audio: the rate that both engines expect

Block = npt.NDArray[np.int16]  #: shape (channels, samples), 16 kHz
Samples = npt.NDArray[np.float32]  #: the same shape, -1 to 1


def as_float(samples: Block) -> Samples:
    """Convert int16 samples to the float32 that models expect, -1 to 1, in the same shape."""
    return np.multiply(samples, np.float32(1 / 32768), dtype=np.float32)
