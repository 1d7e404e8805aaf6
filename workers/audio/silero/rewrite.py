"""Write `vad.onnx`: Silero's model with its convolutions as matrix products.

    python -m workers.audio.silero.rewrite

A 32 ms input gives four frames of a short-time Fourier transform; later layers reduce these to two, then one. For
convolutions this short ONNX Runtime multiplies matrices of four columns, one input at a time. Here the frames of all
inputs of a call become the rows of one product. The recurrent part after the encoder stays as it is.
`make bench-preparation` measures the effect.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

TARGET = Path(__file__).parent / "vad.onnx"

_HOP = 128  #: samples from one frame to the next; a frame is twice as long
_FRAMES = 4  #: per input, which has its context before it and 64 mirrored samples after it
_BANDS = 129


class _Graph:
    """The nodes and constants added so far, each named by its position."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: npt.ArrayLike) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def frames(self, values: str, first: int, last: int) -> str:
        """Frames `first` to `last` (exclusive) of values of shape (inputs, frames, bands)."""
        return self.add("Slice", values, *(self.constant(np.array([each])) for each in (first, last, 1)))

    def shape(self, values: str, *shape: int) -> str:
        return self.add("Reshape", values, self.constant(np.array(shape)))

    def pad(self, values: str, *widths: int, mode: str = "constant") -> str:
        return self.add("Pad", values, self.constant(np.array(widths)), mode=mode)

    def layer(self, values: str, weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]) -> str:
        """Apply convolution weights of shape (out, in, taps) to values of shape (inputs, frames, taps times in)."""
        out = weight.shape[0]
        product = self.add("MatMul", values, self.constant(weight.transpose(2, 1, 0).reshape(-1, out)))
        return self.add("Relu", self.add("Add", product, self.constant(bias)))


def rewritten(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with its encoder as matrix products."""
    weights = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    layers = [
        (weights[f"encoder.conv_layers.{number}.weight"], weights[f"encoder.conv_layers.{number}.bias"])
        for number in range(4)
    ]
    graph = _Graph()
    encoded = _encoder(graph, weights["encoder.feature_extractor.forward_basis_buffer"][:, 0], layers)
    kinds = [node.op_type for node in model.graph.node]
    decoder = list(model.graph.node)[kinds.index("LSTM") :]
    decoder[0].input[0] = encoded
    used = {name for node in decoder for name in node.input}
    rewritten_graph = helper.make_graph(
        graph.nodes + decoder,
        "silero_vad_v6",
        list(model.graph.input),
        list(model.graph.output),
        graph.constants + [each for each in model.graph.initializer if each.name in used],
    )
    result = helper.make_model(rewritten_graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    onnx.checker.check_model(result)
    return result


def _encoder(
    graph: _Graph,
    basis: npt.NDArray[np.float32],
    layers: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]],
) -> str:
    """From inputs with their context, shape (inputs, 576), to shape (inputs, 1, 128)."""
    hops = graph.shape(graph.pad("input", 0, 0, 0, 64, mode="reflect"), -1, _FRAMES + 1, _HOP)
    both = [graph.frames(hops, first, first + _FRAMES) for first in (0, 1)]
    frames = graph.add("Concat", *both, axis=2)  # a frame is two hops
    parts = [graph.add("MatMul", frames, graph.constant(part.T)) for part in (basis[:_BANDS], basis[_BANDS:])]
    power = graph.add("Add", *(graph.add("Mul", part, part) for part in parts))

    padded = graph.pad(graph.add("Sqrt", power), 0, 1, 0, 0, 1, 0)
    taps = [graph.frames(padded, first, first + _FRAMES) for first in range(3)]
    hidden = graph.layer(graph.add("Concat", *taps, axis=2), *layers[0])

    # The stride is two: first the padding and frames 0 and 1, then frames 1 to 3.
    padded, width = graph.pad(hidden, 0, 1, 0, 0, 0, 0), 3 * layers[1][0].shape[1]
    halves = [graph.shape(graph.frames(padded, first, first + 3), -1, 1, width) for first in (0, 2)]
    hidden = graph.layer(graph.add("Concat", *halves, axis=1), *layers[1])

    # With two frames left, and then one, some taps only meet padding: their weights are left out.
    weight, bias = layers[2]
    hidden = graph.layer(graph.shape(hidden, -1, 1, 2 * weight.shape[1]), weight[:, :, 1:], bias)
    weight, bias = layers[3]
    return graph.layer(hidden, weight[:, :, 1:2], bias)


def original() -> onnx.ModelProto:
    """The model file that faster-whisper ships."""
    return onnx.load_from_string(files("faster_whisper").joinpath("assets/silero_vad_v6.onnx").read_bytes())


if __name__ == "__main__":
    onnx.save(rewritten(original()), TARGET)
