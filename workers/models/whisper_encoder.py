"""The encoder of a Whisper model in CTranslate2's format, with the names that transformers gives its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.models.ctranslate2_file import UnreadableWeights, read_weights

Weights = dict[str, npt.NDArray[np.float32]]

#: CTranslate2's names inside a layer, and transformers'. CTranslate2 joins query, key and value into `linear_0`.
_IN_LAYER = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "self_attention/linear_1": "self_attn.out_proj",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
}
_OUTSIDE = {"conv1": "conv1", "conv2": "conv2", "layer_norm": "layer_norm"}
_KINDS = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}


def encoder_weights(model_file: Path, *, layers: int, positions: int) -> Weights:
    """The weights of a WhisperEncoder (transformers) with this many layers and positions, in float32.

    Takes the first layers, and of the position encodings, which are sinusoids, the first positions. Raises
    UnreadableWeights if the file lacks a weight or is quantised: its integers would need their scales, and base's file
    from the package index is float16.
    """
    found = read_weights(model_file, "encoder/")
    weights = {"embed_positions.weight": _float(model_file, found, "position_encodings/encodings")[:positions]}
    for theirs, ours in _OUTSIDE.items():
        weights.update(_both(model_file, found, theirs, ours))
    for number in range(layers):
        theirs, ours = f"layer_{number}", f"layers.{number}"
        for inner, name in _IN_LAYER.items():
            weights.update(_both(model_file, found, f"{theirs}/{inner}", f"{ours}.{name}"))
        joined = f"{theirs}/self_attention/linear_0"
        matrices = np.split(_float(model_file, found, f"{joined}/weight"), 3)
        offsets = np.split(_float(model_file, found, f"{joined}/bias"), 3)
        for name, matrix, offset in zip("qkv", matrices, offsets, strict=True):
            weights[f"{ours}.self_attn.{name}_proj.weight"] = matrix
            if name != "k":  # Whisper's keys have no bias; CTranslate2 stores zeros
                weights[f"{ours}.self_attn.{name}_proj.bias"] = offset
    return weights


def _both(model_file: Path, found: dict[str, npt.NDArray[Any]], theirs: str, ours: str) -> Weights:
    kinds = ("gamma", "beta") if theirs.endswith("layer_norm") else ("weight", "bias")
    return {f"{ours}.{_KINDS[kind]}": _float(model_file, found, f"{theirs}/{kind}") for kind in kinds}


def _float(model_file: Path, found: dict[str, npt.NDArray[Any]], name: str) -> npt.NDArray[np.float32]:
    array = found.get(f"encoder/{name}")
    if array is None:
        raise UnreadableWeights(f"{model_file} has no encoder/{name}: it is not a Whisper model")
    if array.dtype.kind != "f":
        raise UnreadableWeights(f"{model_file} is quantised ({array.dtype}): only float weights can be taken from it")
    return array.astype(np.float32)
