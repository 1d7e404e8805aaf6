"""What compute costs: a price an instance-hour and a speed a stage, so every amount is an estimate.

Busy time only: a start, the minutes before an idle instance goes, storage and messages are not in it. Of a batch that
several recordings share, each is counted with its part; preparing them beside each other is counted for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from speechpipe.contract import Cost, Frozen, Quote, Stage
from speechpipe.contract.errors import SettingsMissing

_Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Speed = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class PriceTable(Frozen):
    """Prices and speeds of both stages."""

    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] = "USD"  #: ISO 4217
    per_hour: dict[Stage, _Price]  #: of one instance, in the currency
    speed: dict[Stage, _Speed]  #: audio seconds per compute second, decoding included

    @model_validator(mode="after")
    def _complete(self) -> PriceTable:
        for name, values in (("per_hour", self.per_hour), ("speed", self.speed)):
            if missing := [stage.value for stage in Stage if stage not in values]:
                raise ValueError(f"{name} lacks {' and '.join(missing)}")
        return self

    def cost(self, stage: Stage, compute_seconds: float) -> Cost:
        """What that many seconds of a stage's instance cost."""
        return Cost(amount=self.per_hour[stage] * compute_seconds / 3600, currency=self.currency)

    def per_audio_hour(self, stage: Stage) -> float:
        """What a stage takes for an hour of audio, in the currency."""
        return self.per_hour[stage] / self.speed[stage]

    def quote(self, audio_seconds: float, *, exact: bool, channels: Mapping[Stage, int]) -> Quote:
        """What a recording of that length will take: in the stages asked for, each over so many channels."""
        compute = {stage: audio_seconds * number / self.speed[stage] for stage, number in channels.items()}
        amount = sum(self.per_hour[stage] * seconds for stage, seconds in compute.items()) / 3600
        return Quote(
            audio_seconds=audio_seconds,
            exact=exact,
            compute_seconds=compute,
            cost=Cost(amount=amount, currency=self.currency),
        )


# List prices of Cloud Run, USD a second, Tier 1 regions, read 2026-10-08 at https://cloud.google.com/run/pricing.
# A GPU wants instance-based billing.
VCPU_SECOND = 0.000018
GIB_SECOND = 0.000002
L4_SECOND = 0.0001867  #: without zonal redundancy
RTX_PRO_6000_SECOND = 0.00036522


def instance_hour(gpu_second: float, *, vcpus: float, gib: float) -> float:
    """Price of an hour of an instance with one GPU, USD, from the list prices of its parts."""
    return 3600 * (gpu_second + vcpus * VCPU_SECOND + gib * GIB_SECOND)


# Speeds are ASSUMPTIONS, measured on neither GPU so far: replace them by the `rtfx` of your own log lines.
# - L4, stt: large-v3-turbo on plain CTranslate2 should reach 90 to 180 there, by what the same engine does on an A30
#   (https://github.com/shashikg/WhisperS2T#benchmarks) and the card's memory bandwidth. The lower end.
# - L4, ser: wav2vec2-large in float32 takes 40 GFLOP an audio second; a quarter of the card's 30 TFLOP/s is 190.
# - RTX PRO 6000: by bandwidth and arithmetic four to five times an L4; counted three times.
_L4_SPEED = {Stage.STT: 90.0, Stage.SER: 190.0}

#: The smallest instance that Cloud Run allows with each GPU: 4 vCPUs and 16 GiB, 20 and 80
#: (https://cloud.google.com/run/docs/configuring/services/gpu).
PRESETS = {
    "l4": PriceTable(per_hour=dict.fromkeys(Stage, instance_hour(L4_SECOND, vcpus=4, gib=16)), speed=_L4_SPEED),
    "rtx-pro-6000": PriceTable(
        per_hour=dict.fromkeys(Stage, instance_hour(RTX_PRO_6000_SECOND, vcpus=20, gib=80)),
        speed={stage: 3 * speed for stage, speed in _L4_SPEED.items()},
    ),
}
_EXAMPLE = '{"currency": "EUR", "per_hour": {"stt": 1.0, "ser": 1.0}, "speed": {"stt": 90, "ser": 190}}'


def preset(name: str) -> PriceTable:
    """A table by its name. Raises SettingsMissing, which says what names there are."""
    if name not in PRESETS:
        raise _unusable(name, "it is no preset and no JSON")
    return PRESETS[name]


def read(text: str) -> PriceTable | None:
    """The table that SPEECHPIPE_PRICES asks for: a preset's name or a table as JSON; None for nothing.

    Raises SettingsMissing.
    """
    text = text.strip()
    if not text:
        return None
    if not text.startswith("{"):
        return preset(text)
    try:
        return PriceTable.model_validate_json(text)
    except ValidationError as error:
        problems = (": ".join([*(str(part) for part in e["loc"]), e["msg"]]) for e in error.errors())
        raise _unusable(text, "; ".join(problems)) from None


def money(amount: float, currency: str) -> str:
    """`12.34 USD`, `0.0123 USD` below one, `<0.0001 USD`."""
    return f"{figure(amount)} {currency}"


def about(cost: Cost) -> str:
    """`about 0.0123 USD`, and `under 0.0001 USD`."""
    text = money(cost.amount, cost.currency)
    return f"under {text[1:]}" if text.startswith("<") else f"about {text}"


def figure(amount: float) -> str:
    """An amount without its currency."""
    if 0 < amount < 0.0001:
        return "<0.0001"
    return f"{amount:.{2 if amount >= 1 else 4}f}"


def _unusable(given: str, problem: str) -> SettingsMissing:
    shown = given if len(given) <= 80 else given[:77] + "..."
    return SettingsMissing(
        f"SPEECHPIPE_PRICES: given {shown!r}: {problem}; it wants {' or '.join(PRESETS)},"
        f" or a table as JSON such as {_EXAMPLE}"
    )
