"""Prices: presets from the prices of their parts, tables from the environment, amounts from both."""

from __future__ import annotations

import json
from typing import Any

import pytest

from speechpipe.contract import Stage, prices
from speechpipe.contract.errors import SettingsMissing

TABLE: dict[str, Any] = {
    "currency": "EUR",
    "per_hour": {"stt": 3.6, "ser": 1.8},
    "speed": {"stt": 100, "ser": 200},
}


def table(**changes: Any) -> prices.PriceTable:
    made = prices.read(json.dumps(TABLE | changes))
    assert made
    return made


def test_the_presets_are_the_published_sums_of_their_parts() -> None:
    assert prices.preset("l4").per_hour[Stage.STT] == pytest.approx(1.0465, abs=0.0005)
    assert prices.preset("rtx-pro-6000").per_hour[Stage.SER] == pytest.approx(3.1868, abs=0.0005)


def test_an_amount_is_compute_time_times_the_price_of_an_hour() -> None:
    cost = table().cost(Stage.STT, 10)
    assert (cost.amount, cost.currency) == (0.01, "EUR")
    assert table().per_audio_hour(Stage.SER) == pytest.approx(0.009)


def test_a_quote_counts_the_stages_asked_for() -> None:
    both = table().quote(7200, exact=True, channels={Stage.STT: 1, Stage.SER: 1})
    assert both.compute_seconds == {Stage.STT: 72, Stage.SER: 36}
    assert both.cost is not None
    assert both.cost.amount == pytest.approx(0.072 + 0.018)
    one = table().quote(7200, exact=False, channels={Stage.STT: 1})
    assert one.compute_seconds == {Stage.STT: 72}
    assert one.cost is not None
    assert one.cost.amount == pytest.approx(0.072)
    assert not one.exact


def test_each_separate_channel_is_counted() -> None:
    split = table().quote(7200, exact=True, channels={Stage.STT: 2, Stage.SER: 1})
    assert split.audio_seconds == 7200
    assert split.compute_seconds == {Stage.STT: 144, Stage.SER: 36}


@pytest.mark.parametrize("text", ["", "  "])
def test_a_blank_setting_is_no_table(text: str) -> None:
    assert prices.read(text) is None


@pytest.mark.parametrize("name", list(prices.PRESETS))
def test_a_preset_is_read_by_its_name(name: str) -> None:
    assert prices.read(f" {name}\n") == prices.preset(name)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a100", "neither a preset nor JSON"),
        ("{", "JSON"),
        ("{}", "per_hour: Field required; speed: Field required"),
        (json.dumps(TABLE | {"speed": {"stt": 100}}), "speed lacks ser"),
        (json.dumps(TABLE | {"speed": {"stt": 0, "ser": 1}}), "speed: stt: Input should be greater than 0"),
        (json.dumps(TABLE | {"per_hour": {"stt": -1, "ser": 1}}), "per_hour: stt"),
        (json.dumps(TABLE | {"currency": "euros"}), "currency"),
        (json.dumps(TABLE | {"per_hour": {"gpu": 1}}), "per_hour: gpu"),
    ],
)
def test_an_unusable_table_is_an_error_that_says_what_is_allowed(text: str, problem: str) -> None:
    with pytest.raises(SettingsMissing) as raised:
        prices.read(text)
    message = str(raised.value)
    assert message.startswith("SPEECHPIPE_PRICES")
    assert problem in message
    assert "l4 or rtx-pro-6000" in message
    assert '"per_hour"' in message
