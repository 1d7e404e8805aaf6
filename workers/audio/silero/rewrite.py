"""Write `vad.onnx`: Silero's model with its convolutions as products of matrices.

    python -m workers.audio.silero.rewrite

A chunk of 32 ms is four frames of its short-time Fourier transform, then two, then one: for convolutions that are so
short ONNX Runtime multiplies matrices with four columns, a chunk at a time. Here the frames of all chunks of a call are
the rows of one product. The recurrent part behind them is left as it is. `make bench-preparation` has the figures.
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

_HOP = 128  #: samples between two frames, which are twice as long
_FRAMES = 4  #: of a chunk, with its context before it and 64 samples mirrored behind it
_BANDS = 129


class _Graph:
    """Nodes and constants as they are added, each named by its place."""

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
        """These frames of values of shape (chunks, frames, bands)."""
        return self.add("Slice", values, *(self.constant(np.array([each])) for each in (first, last, 1)))

    def shape(self, values: str, *shape: int) -> str:
        return self.add("Reshape", values, self.constant(np.array(shape)))

    def pad(self, values: str, *widths: int, mode: str = "constant") -> str:
        return self.add("Pad", values, self.constant(np.array(widths)), mode=mode)

    def layer(self, values: str, weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]) -> str:
        """Convolution weights of shape (out, in, taps) on values of shape (chunks, frames, taps times in)."""
        out = weight.shape[0]
        product = self.add("MatMul", values, self.constant(weight.transpose(2, 1, 0).reshape(-1, out)))
        return self.add("Relu", self.add("Add", product, self.constant(bias)))


def rewritten(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model, its encoder as products of matrices."""
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
    wanted = {name for node in decoder for name in node.input}
    made = helper.make_graph(
        graph.nodes + decoder,
        "silero_vad_v6",
        list(model.graph.input),
        list(model.graph.output),
        graph.constants + [each for each in model.graph.initializer if each.name in wanted],
    )
    result = helper.make_model(made, opset_imports=model.opset_import, ir_version=model.ir_version)
    onnx.checker.check_model(result)
    return result


def _encoder(
    graph: _Graph,
    basis: npt.NDArray[np.float32],
    layers: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]],
) -> str:
    """From chunks with their context, shape (chunks, 576), to shape (chunks, 1, 128)."""
    hops = graph.shape(graph.pad("input", 0, 0, 0, 64, mode="reflect"), -1, _FRAMES + 1, _HOP)
    both = [graph.frames(hops, first, first + _FRAMES) for first in (0, 1)]
    heard = graph.add("Concat", *both, axis=2)  # a frame is two hops
    parts = [graph.add("MatMul", heard, graph.constant(part.T)) for part in (basis[:_BANDS], basis[_BANDS:])]
    power = graph.add("Add", *(graph.add("Mul", part, part) for part in parts))

    padded = graph.pad(graph.add("Sqrt", power), 0, 1, 0, 0, 1, 0)
    taps = [graph.frames(padded, first, first + _FRAMES) for first in range(3)]
    hidden = graph.layer(graph.add("Concat", *taps, axis=2), *layers[0])

    # With a stride of two: frames before 0 to 1, and 1 to 3.
    padded, width = graph.pad(hidden, 0, 1, 0, 0, 0, 0), 3 * layers[1][0].shape[1]
    halves = [graph.shape(graph.frames(padded, first, first + 3), -1, 1, width) for first in (0, 2)]
    hidden = graph.layer(graph.add("Concat", *halves, axis=1), *layers[1])

    # Of two frames, and then of one, there is nothing under some of the taps.
    weight, bias = layers[2]
    hidden = graph.layer(graph.shape(hidden, -1, 1, 2 * weight.shape[1]), weight[:, :, 1:], bias)
    weight, bias = layers[3]
    return graph.layer(hidden, weight[:, :, 1:2], bias)


def original() -> onnx.ModelProto:
    """The file that faster-whisper brings."""
    return onnx.load_from_string(files("faster_whisper").joinpath("assets/silero_vad_v6.onnx").read_bytes())


if __name__ == "__main__":
    onnx.save(rewritten(original()), TARGET)
