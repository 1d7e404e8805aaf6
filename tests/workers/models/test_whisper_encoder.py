"""The encoder read out of a CTranslate2 file computes what CTranslate2 computes."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from workers.models.choice import TOY_MODELS
from workers.models.ctranslate2_file import UnreadableWeights, read_weights
from workers.models.whisper_encoder import encoder_weights

TOY = TOY_MODELS / "whisper" / "model.bin"


def speech() -> npt.NDArray[np.float32]:
    """Thirty seconds that swell and fade, with a log-mel spectrum that is nowhere flat."""
    time = np.arange(30 * 16_000) / 16_000
    noise = np.random.default_rng(0).normal(0, 0.1, len(time))
    return np.asarray(noise * np.abs(np.sin(2 * time)) + 0.1 * np.sin(900 * time), np.float32)


def ours(model_file: Path, features: npt.NDArray[np.float32], *, layers: int, heads: int) -> npt.NDArray[np.float32]:
    """What transformers makes of log-mel features, shape (1, 80, 3000), with the encoder of a CTranslate2 file."""
    import torch
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    weights = encoder_weights(model_file, layers=layers, positions=1500)
    width = weights["conv1.bias"].shape[0]
    encoder = WhisperEncoder(
        WhisperConfig(
            d_model=width,
            encoder_layers=layers,
            encoder_attention_heads=heads,
            encoder_ffn_dim=4 * width,
            num_mel_bins=80,
        )
    ).eval()
    encoder.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    with torch.inference_mode():
        return np.asarray(encoder(torch.from_numpy(features)).last_hidden_state.numpy())


def difference(folder: Path, *, layers: int, heads: int) -> tuple[float, float]:
    """The largest difference between transformers and CTranslate2, and the largest value."""
    import ctranslate2  # type: ignore[import-untyped]
    from transformers import WhisperFeatureExtractor

    kind: Any = WhisperFeatureExtractor
    features = kind()(speech(), sampling_rate=16_000, return_tensors="np")["input_features"]
    engine = ctranslate2.models.Whisper(str(folder), device="cpu", compute_type="float32")
    theirs = np.array(engine.encode(ctranslate2.StorageView.from_array(features)))
    found = ours(folder / "model.bin", features, layers=layers, heads=heads)
    assert found.shape == theirs.shape
    return float(np.abs(found - theirs).max()), float(np.abs(theirs).max())


@pytest.mark.engines
def test_the_encoder_of_the_toy_computes_what_ctranslate2_computes() -> None:
    off, largest = difference(TOY.parent, layers=4, heads=int(read_weights(TOY, "encoder/")["encoder/num_heads"]))
    assert off < 1e-4 * largest


@pytest.mark.weights
@pytest.mark.engines
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_encoder_of_whisper_base_computes_what_ctranslate2_computes(whisper_base: Path) -> None:
    """All 1,500 positions of 30 s. Both compute in float32; they differ by 0.0005 where values reach 24."""
    off, largest = difference(whisper_base, layers=6, heads=8)
    assert largest > 10
    assert off < 0.002


def test_only_the_layers_and_positions_that_are_asked_for_are_taken() -> None:
    weights = encoder_weights(TOY, layers=2, positions=250)
    assert weights["embed_positions.weight"].shape == (250, 144)
    assert {name.split(".")[1] for name in weights if name.startswith("layers.")} == {"0", "1"}
    assert all(array.dtype == np.float32 for array in weights.values())
    assert "layers.0.self_attn.k_proj.bias" not in weights  # Whisper's keys have none


def written(path: Path, variables: dict[str, npt.NDArray[Any]]) -> Path:
    """A CTranslate2 file with these variables."""
    kinds = {np.dtype("float32"): 0, np.dtype("int8"): 1, np.dtype("float16"): 4}

    def string(text: str) -> bytes:
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"

    content = struct.pack("<I", 6) + string("WhisperSpec") + struct.pack("<II", 3, len(variables))
    for name, array in variables.items():
        content += string(name) + struct.pack("<B", array.ndim) + struct.pack(f"<{array.ndim}I", *array.shape)
        content += struct.pack("<BI", kinds[array.dtype], array.nbytes) + array.tobytes()
    path.write_bytes(content + struct.pack("<I", 1) + string("encoder/alias") + string(next(iter(variables))))
    return path


def test_a_quantised_file_is_refused_in_words(tmp_path: Path) -> None:
    variables = {name: array for name, array in read_weights(TOY, "encoder/").items() if array.dtype.kind == "f"}
    variables["encoder/layer_0/ffn/linear_0/weight"] = np.zeros((576, 144), np.int8)
    with pytest.raises(UnreadableWeights, match=r"is quantised \(int8\): only float weights"):
        encoder_weights(written(tmp_path / "model.bin", variables), layers=1, positions=250)


def test_an_alias_gives_the_variable_that_it_names(tmp_path: Path) -> None:
    path = written(tmp_path / "model.bin", {"encoder/a": np.arange(6, dtype=np.float32).reshape(2, 3)})
    assert read_weights(path)["encoder/alias"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert read_weights(path, "decoder/") == {}


@pytest.mark.parametrize("content", [b"", b"\6\0\0\0\14\0Whi", b"{}", TOY.read_bytes()[:50_000]])
def test_what_is_no_whole_model_is_said_in_words(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(UnreadableWeights, match=r"model\.bin is not a (whole )?CTranslate2 model"):
        encoder_weights(path, layers=1, positions=250)


def test_a_model_without_an_encoder_is_not_whisper(tmp_path: Path) -> None:
    path = written(tmp_path / "model.bin", {"decoder/a": np.zeros(3, np.float32)})
    with pytest.raises(UnreadableWeights, match="it is not a Whisper model"):
        encoder_weights(path, layers=1, positions=250)
