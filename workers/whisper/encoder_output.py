"""Encoder output of a batch of rows. It stays on its device unless only some of its rows are needed.

On a GPU the output of a batch is 250 MB (32 rows of large-v3-turbo), too much to copy to the host and back for each of
`generate` and `align`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import ctranslate2  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class EncoderOutput:
    """Shape (rows, frames / 2, width)."""

    def __init__(self, output: ctranslate2.StorageView | Array) -> None:
        """`output`: the encoder's, on its device or on the host."""
        #: All rows, for the decoder.
        self.view = view(output) if isinstance(output, np.ndarray) else output

    def select(self, rows: Sequence[int]) -> ctranslate2.StorageView:
        """The given rows, for the decoder. Selecting all of them in order copies nothing."""
        if list(rows) == list(range(self.view.shape[0])):
            return self.view
        return view(self.host[list(rows)])

    @cached_property
    def host(self) -> Array:
        """A copy in host memory."""
        return np.array(self.view.to_device(ctranslate2.Device.cpu))


def view(array: Array) -> ctranslate2.StorageView:
    """Wrap an array for CTranslate2, without copying if it is contiguous."""
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(array))
