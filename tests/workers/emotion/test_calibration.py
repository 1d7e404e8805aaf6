"""Calibration changes confidence and never the order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from workers.emotion.calibration import Calibration, calibration_of
from workers.emotion.head import UnreadableModel


def config(calibration: Any) -> SimpleNamespace:
    return SimpleNamespace(calibration=calibration)


def test_a_model_says_at_which_temperature_it_is_calibrated_and_on_what() -> None:
    found = calibration_of(config({"temperature": 2, "fitted_on": "speakers left out"}))
    assert found == Calibration(2.0, "speakers left out")
    assert calibration_of(SimpleNamespace()) is None


@pytest.mark.parametrize("given", [0, -1.0, float("nan"), float("inf"), "2", None, True])
def test_a_temperature_that_is_none_is_refused_in_words(given: object) -> None:
    with pytest.raises(UnreadableModel, match=r"calibration\.temperature in config\.json is .* but must be above 0"):
        calibration_of(config({"temperature": given}))
    with pytest.raises(UnreadableModel):
        calibration_of(config("warm"))
