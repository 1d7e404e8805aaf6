"""A model's calibration: what makes its confidence mean the share of windows in which it is right. Pure.

It is kept in the model's config.json as `calibration`, with the data that it was fitted on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from workers.emotion.head import UnreadableModel


@dataclass(frozen=True)
class Calibration:
    """Logits are divided by the temperature before they become scores, which keeps their order."""

    temperature: float
    fitted_on: str


def calibration_of(config: Any) -> Calibration | None:
    """The calibration in a transformers config, or None if it has none.

    Raises UnreadableModel if its temperature is not a positive number.
    """
    found = getattr(config, "calibration", None)
    if found is None:
        return None
    temperature = found.get("temperature") if isinstance(found, dict) else None
    if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not 0 < temperature < math.inf:
        raise UnreadableModel(f"calibration.temperature in config.json is {temperature!r}, but must be above 0")
    return Calibration(float(temperature), str(found.get("fitted_on", "")))
