"""Run a Whisper classifier on windows of their own length, instead of on windows filled to the longest.

transformers' WhisperEncoder accepts one length alone, that of its position encodings. A model with fewer positions and
otherwise the same weights accepts a shorter one, and costs as much less.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

#: Log-mel frames for each position, and samples for each frame.
_FRAMES, _HOP = 2, 160
_POSITIONS = "encoder.embed_positions.weight"


def takes_own_lengths(extractor: Any) -> bool:
    """Whether the model's preprocessor_config.json says `"short_windows": "own_length"`, which is our own addition.

    A model that learned from filled windows alone gives other scores for windows of their own length.
    """
    return getattr(extractor, "short_windows", None) == "own_length"


class OwnLengths:
    """A WhisperForAudioClassification for windows of each length. Safe to call from several threads."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._weights = model.state_dict()
        self._made: dict[int, Any] = {}

    def __call__(self, frames: int) -> Any:
        """The model for inputs of shape (windows, mels, `frames`); it shares the weights of the whole one."""
        positions = frames // _FRAMES
        if positions not in self._made:
            config = copy.deepcopy(self._model.config)
            config.max_source_positions = positions
            with torch.device("meta"):  # no memory: all its weights are shared
                model = type(self._model)(config)
            weights = {**self._weights, _POSITIONS: self._weights[_POSITIONS][:positions]}
            model.load_state_dict(weights, assign=True)
            self._made[positions] = model.eval()
        return self._made[positions]


def log_mel(extractor: Any, audio: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The features of a window of its own length, shape (mels, frames), from 16 kHz samples.

    A window under a second is repeated until it is that long, and one longer than the extractor's is cut.
    """
    audio = repeated(audio, extractor.sampling_rate)[: extractor.n_samples]
    length = len(audio) - len(audio) % (_FRAMES * _HOP)
    found = extractor(audio[:length], sampling_rate=extractor.sampling_rate, padding="do_not_pad", return_tensors="np")
    features: npt.NDArray[np.float32] = found["input_features"][0]
    return features


def repeated(audio: npt.NDArray[np.float32], length: int) -> npt.NDArray[np.float32]:
    """Audio that is shorter than `length` samples, repeated until it is that long; longer audio as it is."""
    return np.resize(audio, length) if 0 < len(audio) < length else audio
