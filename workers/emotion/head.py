"""What a classifier's files say about its outputs: their number and names, read without loading the model.

So `speechpipe doctor` and the loading of a model refuse the same files, with the same words. Reads the folder.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechpipe.contract.errors import EngineUnavailable

#: Where transformers keeps the last layer of an audio classifier; its weight has one row per output.
_LAST_LAYERS = ("classifier.weight", "classifier.out_proj.weight", "classifier.dense.weight")
#: Bytes. The header of a safetensors file is never longer (https://github.com/huggingface/safetensors#format).
_MAX_HEADER = 100_000_000


class UnreadableModel(EngineUnavailable):
    """The model's output cannot be interpreted as emotions."""


@dataclass(frozen=True)
class Head:
    """A classifier's outputs, and as much of its shape as tells a family from another."""

    labels: Mapping[int, str] = field(default_factory=dict)  #: output -> label, as far as the table goes
    outputs: int | None = None  #: rows of the last layer; None if the files do not tell
    problem_type: str | None = None  #: transformers' name for the loss that the model was trained with
    shape: tuple[str, int, int] = ("", 0, 0)  #: model_type, hidden_size, num_hidden_layers
    sure_from: float = 0.0  #: with a lower score the model is unsure
    calibrated: bool = False  #: whether its files say how its confidence relates to how often it is right


def head_of(config: Any, outputs: int | None = None) -> Head:
    """A model's head from its transformers config, or from any object or mapping with the same fields.

    `calibration.sure_from` in the config is our own addition. Raises UnreadableModel if the label table is none, or if
    that is no score.
    """
    read = config.get if isinstance(config, Mapping) else lambda key, default=None: getattr(config, key, default)
    return Head(
        labels=_table(read("id2label") or {}),
        outputs=outputs,
        problem_type=read("problem_type"),
        shape=(str(read("model_type", "")), _count(read("hidden_size")), _count(read("num_hidden_layers"))),
        sure_from=_sure_from(read("calibration")),
        calibrated=isinstance(calibration := read("calibration"), Mapping) and "temperature" in calibration,
    )


def read_head(folder: Path) -> Head:
    """The head of the classifier in a folder. Raises UnreadableModel if its config.json cannot be read."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableModel(f"config.json in {folder} cannot be read ({type(error).__name__})") from error
    if not isinstance(config, dict):
        raise UnreadableModel(f"config.json in {folder} is not an object")
    return head_of(config, _outputs(folder))


def _table(given: Any) -> dict[int, str]:
    pairs = enumerate(given) if isinstance(given, list | tuple) else dict(given).items()
    try:
        return {int(key): "" if label is None else str(label) for key, label in pairs}
    except (TypeError, ValueError):
        raise UnreadableModel("the keys of its label table (id2label in config.json) are not numbers") from None


def _sure_from(calibration: Any) -> float:
    given = calibration.get("sure_from", 0.0) if isinstance(calibration, Mapping) else 0.0
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= 1:
        raise UnreadableModel(f"calibration.sure_from in config.json is {given!r}, but must be from 0 to 1")
    return float(given)


def _count(given: Any) -> int:
    return given if isinstance(given, int) else 0


def _outputs(folder: Path) -> int | None:
    """The number of outputs according to the safetensors files; None where these do not tell, as with a .bin."""
    for path in sorted(folder.glob("*.safetensors")):
        header = _header(path)
        for name in _LAST_LAYERS:
            shape = header.get(name, {}).get("shape") if isinstance(header.get(name), dict) else None
            if shape and isinstance(shape, list) and isinstance(shape[0], int):
                return shape[0]
    return None


def _header(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, _MAX_HEADER)))
    except (OSError, ValueError, struct.error, RecursionError):  # loading it will say what is wrong
        return {}
    return header if isinstance(header, dict) else {}
