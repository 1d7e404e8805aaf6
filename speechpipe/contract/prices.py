"""What compute costs: a price per instance-hour and a speed per stage, so every amount is an estimate.

Only busy time counts: not the start of an instance, not its idle minutes before it stops, not storage or messages.
Recordings that share a batch each count their part of it; recordings prepared in parallel each count in full.
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
        """The cost of `compute_seconds` on a stage's instance."""
        return Cost(amount=self.per_hour[stage] * compute_seconds / 3600, currency=self.currency)

    def per_audio_hour(self, stage: Stage) -> float:
        """What a stage costs per hour of audio, in the currency."""
        return self.per_hour[stage] / self.speed[stage]

    def quote(self, audio_seconds: float, *, exact: bool, channels: Mapping[Stage, int]) -> Quote:
        """Estimate a recording; `channels` says how many channels each requested stage analyses."""
        compute = {stage: audio_seconds * number / self.speed[stage] for stage, number in channels.items()}
        amount = sum(self.per_hour[stage] * seconds for stage, seconds in compute.items()) / 3600
        return Quote(
            audio_seconds=audio_seconds,
            exact=exact,
            compute_seconds=compute,
            cost=Cost(amount=amount, currency=self.currency),
        )


# List prices of Cloud Run, USD per second, Tier 1 regions, read 2026-10-08 at https://cloud.google.com/run/pricing.
# A GPU requires instance-based billing.
VCPU_SECOND = 0.000018
GIB_SECOND = 0.000002
L4_SECOND = 0.0001867  #: without zonal redundancy
RTX_PRO_6000_SECOND = 0.00036522


def instance_hour(gpu_second: float, *, vcpus: float, gib: float) -> float:
    """Price per hour of an instance with one GPU, USD, from the list prices of its parts."""
    return 3600 * (gpu_second + vcpus * VCPU_SECOND + gib * GIB_SECOND)


# Speeds are ASSUMPTIONS, measured on neither GPU so far: replace them with the `rtfx` of your own log lines.
# - L4, stt: large-v3-turbo on plain CTranslate2 should reach 90 to 180, judging by the same engine on an A30
#   (https://github.com/shashikg/WhisperS2T#benchmarks) and the card's memory bandwidth. We take the lower end.
# - L4, ser: wav2vec2-large in float32 takes 40 GFLOP per audio second; a quarter of the card's 30 TFLOP/s gives 190.
# - RTX PRO 6000: four to five times an L4 by bandwidth and arithmetic; we take three times.
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
    """Return a preset by name. Raises SettingsMissing, which lists the presets."""
    if name not in PRESETS:
        raise _unusable(name, "neither a preset nor JSON")
    return PRESETS[name]


def read(text: str) -> PriceTable | None:
    """Read the value of SPEECHPIPE_PRICES: the name of a preset or a table as JSON; None if it is blank.

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
    """Format an amount: `12.34 USD`, `0.0123 USD` below one, `<0.0001 USD` below that."""
    return f"{figure(amount)} {currency}"


def about(cost: Cost) -> str:
    """Format an estimate: `about 0.0123 USD` or `under 0.0001 USD`."""
    text = money(cost.amount, cost.currency)
    return f"under {text[1:]}" if text.startswith("<") else f"about {text}"


def figure(amount: float) -> str:
    """Format an amount without its currency."""
    if 0 < amount < 0.0001:
        return "<0.0001"
    return f"{amount:.{2 if amount >= 1 else 4}f}"


def _unusable(given: str, problem: str) -> SettingsMissing:
    shown = given if len(given) <= 80 else given[:77] + "..."
    return SettingsMissing(
        f"SPEECHPIPE_PRICES: given {shown!r}: {problem}; allowed: {' or '.join(PRESETS)},"
        f" or a table as JSON such as {_EXAMPLE}"
    )
