"""Read the weights out of a CTranslate2 model file.

CTranslate2 has no call that gives a model's weights back, so this reads what its `ModelSpec._serialize` writes
(python/ctranslate2/specs/model_spec.py, binary version 6): all integers are little-endian, and a string is its length
as uint16 (with the closing zero), then its bytes.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from speechpipe.contract.errors import EngineUnavailable

#: CTranslate2's DataType by its number (include/ctranslate2/types.h); bfloat16 (5) is not known to numpy.
_TYPES: dict[int, str] = {0: "<f4", 1: "|i1", 2: "<i2", 3: "<i4", 4: "<f2"}
_VERSION = 6


class UnreadableWeights(EngineUnavailable):
    """A file that is no CTranslate2 model of a kind that can be read here."""


def read_weights(path: Path, prefix: str = "") -> dict[str, npt.NDArray[Any]]:
    """The variables whose names start with `prefix`, by name; each has the shape and type that the file gives it.

    Raises UnreadableWeights for another format or a file that ends too early, OSError if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return _read(file, prefix)
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise UnreadableWeights(f"{path} is not a whole CTranslate2 model ({error})") from error


def _read(file: BinaryIO, prefix: str) -> dict[str, npt.NDArray[Any]]:
    version = _number(file, "<I")
    if version != _VERSION:
        raise UnreadableWeights(f"{file.name} is not a CTranslate2 model of binary version {_VERSION}")
    _string(file)  # the name of the specification
    _number(file, "<I")  # and its revision
    found: dict[str, npt.NDArray[Any]] = {}
    for _ in range(_number(file, "<I")):
        name = _string(file)
        shape = tuple(_number(file, "<I") for _ in range(_number(file, "<B")))
        kind, size = _number(file, "<B"), _number(file, "<I")
        if not name.startswith(prefix):
            file.seek(size, 1)
            continue
        if kind not in _TYPES:
            raise UnreadableWeights(f"{file.name} stores {name} in a type that is not supported here ({kind})")
        # A copy: frombuffer gives a view that cannot be written to, which torch warns about.
        found[name] = np.frombuffer(_bytes(file, size), _TYPES[kind]).reshape(shape).copy()
    for _ in range(_number(file, "<I")):
        alias, target = _string(file), _string(file)
        if alias.startswith(prefix) and target in found:
            found[alias] = found[target]
    return found


def _bytes(file: BinaryIO, size: int) -> bytes:
    content = file.read(size)
    if len(content) < size:
        raise ValueError("the file ends too early")
    return content


def _number(file: BinaryIO, layout: str) -> int:
    return int(struct.unpack(layout, _bytes(file, struct.calcsize(layout)))[0])


def _string(file: BinaryIO) -> str:
    return _bytes(file, _number(file, "<H"))[:-1].decode()
