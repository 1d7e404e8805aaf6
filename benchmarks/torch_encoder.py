"""Whisper's encoder in torch, with the weights of a CTranslate2 folder.

CTranslate2's wheels compute attention without a fused kernel, so 1500 by 1500 scores per head go through memory. Torch
has one (`scaled_dot_product_attention`). Its output is passed to CTranslate2's `generate` without leaving the GPU:

    encoder = TorchEncoder(folder, device="cuda", dtype=torch.float16)
    model.generate(view(encoder(features)), prompts)

Any folder with float weights works, including the published ones. bfloat16 does not, because the array interface lacks
the type.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import ctranslate2  # type: ignore[import-untyped]
import numpy as np
import torch
from torch.nn import functional

from workers.whisper.log_mel_torch import view

#: Indexed by the type number in the file, as `ctranslate2.specs.model_spec` writes it.
_TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)
_VERSION = 6  #: of the file format


class TorchEncoder:
    """A model's encoder, for features of shape (rows, bands, frames). Raises ValueError for quantized weights."""

    def __init__(self, folder: Path, *, device: str, dtype: torch.dtype) -> None:
        variables = _variables(folder / "model.bin", "encoder/")
        self._heads = int(variables.pop("num_heads"))
        self._device, self._dtype = device, dtype
        self._weights: dict[str, torch.Tensor] = {}
        for name, value in variables.items():
            if value.dtype in (np.float32, np.float16):
                self._weights[name] = torch.from_numpy(value).to(device=device, dtype=dtype)
            elif value.ndim:
                raise ValueError(f"{folder} has quantized weights; float16 or float32 is required")
        self._layers = sum(name.endswith("ffn/linear_0/weight") for name in self._weights)

    @torch.inference_mode()
    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Encode; the result has shape (rows, frames / 2, width)."""
        rows = features.to(device=self._device, dtype=self._dtype)
        for name, stride in (("conv1", 1), ("conv2", 2)):
            weight, bias = self._weights[f"{name}/weight"], self._weights[f"{name}/bias"]
            rows = functional.gelu(functional.conv1d(rows, weight, bias, stride=stride, padding=1))
        rows = rows.transpose(1, 2)
        rows = rows + self._weights["position_encodings/encodings"][: rows.shape[1]]
        for number in range(self._layers):
            layer = f"layer_{number}"
            rows = rows + self._attention(f"{layer}/self_attention", rows)
            hidden = functional.gelu(self._linear(f"{layer}/ffn/linear_0", self._norm(f"{layer}/ffn/layer_norm", rows)))
            rows = rows + self._linear(f"{layer}/ffn/linear_1", hidden)
        return self._norm("layer_norm", rows)

    def _attention(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        count, length, width = rows.shape
        merged = self._linear(f"{name}/linear_0", self._norm(f"{name}/layer_norm", rows))
        heads = merged.view(count, length, 3, self._heads, width // self._heads).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(*heads)
        return self._linear(f"{name}/linear_1", attended.transpose(1, 2).reshape(count, length, width))

    def _linear(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        return functional.linear(rows, self._weights[f"{name}/weight"], self._weights[f"{name}/bias"])

    def _norm(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        weight, bias = self._weights[f"{name}/gamma"], self._weights[f"{name}/beta"]
        return functional.layer_norm(rows, weight.shape, weight, bias)


class WithTorchEncoder:
    """A `ctranslate2.models.Whisper` whose `encode` runs in torch."""

    def __init__(self, model: Any, encoder: TorchEncoder) -> None:
        self._model, self._encoder = model, encoder

    def encode(self, features: ctranslate2.StorageView, to_cpu: bool = False) -> ctranslate2.StorageView:
        """Like CTranslate2's `encode`."""
        encoded = self._encoder(torch.as_tensor(features if features.device == "cuda" else np.array(features)))
        return view(encoded.cpu() if to_cpu else encoded)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def _variables(path: Path, prefix: str) -> dict[str, np.ndarray[Any, Any]]:
    """The variables of a CTranslate2 model whose names start with `prefix`, by the rest of the name."""
    content = np.memmap(path, np.uint8, mode="r")
    at = 0

    def number(form: str) -> int:
        nonlocal at
        at += struct.calcsize(form)
        return int(struct.unpack(form, content[at - struct.calcsize(form) : at].tobytes())[0])

    def text() -> str:
        nonlocal at
        length = number("<H")  # includes a zero byte at the end
        at += length
        return content[at - length : at - 1].tobytes().decode()

    if (version := number("<I")) != _VERSION:
        raise ValueError(f"{path} has format version {version}, not {_VERSION}")
    text(), number("<I")  # the model's kind and its revision
    places = {}
    for _ in range(number("<I")):
        name = text()
        shape = [number("<I") for _ in range(number("<B"))]
        kind, size = number("<B"), number("<I")
        places[name] = at, size, kind, shape
        at += size
    for _ in range(number("<I")):  # aliases: equal variables, such as zeros, are stored once
        alias, name = text(), text()
        places[alias] = places[name]
    found = {}
    for name, (start, size, kind, shape) in places.items():
        if name.startswith(prefix):
            if kind >= len(_TYPES):
                raise ValueError(f"{path}: {name} has a type that numpy lacks")
            value = content[start : start + size].view(_TYPES[kind]).reshape(shape)
            found[name.removeprefix(prefix)] = np.array(value)
    return found
