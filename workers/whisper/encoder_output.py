"""Encoder output of a batch of rows: it stays where the encoder left it, unless only some of it is wanted.

On a GPU a batch's output is 250 MB (32 rows of large-v3-turbo): it must not travel to the host and back for each of
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


class Encoded:
    """Shape (rows, frames / 2, width)."""

    def __init__(self, output: ctranslate2.StorageView | Array) -> None:
        """`output`: what the encoder gave, or the same on the host."""
        #: All rows, for the decoder.
        self.view = view(output) if isinstance(output, np.ndarray) else output

    def some(self, rows: Sequence[int]) -> ctranslate2.StorageView:
        """These rows, for the decoder; all of them, in order, cost nothing."""
        if list(rows) == list(range(self.view.shape[0])):
            return self.view
        return view(self.host[list(rows)])

    @cached_property
    def host(self) -> Array:
        """A copy in the host's memory."""
        return np.array(self.view.to_device(ctranslate2.Device.cpu))


def view(array: Array) -> ctranslate2.StorageView:
    """An array as CTranslate2 takes it; it does not copy what is contiguous."""
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(array))
