"""What all contract types share: an immutable base class, and scalars rounded the same way everywhere."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

Seconds = Annotated[float, AfterValidator(lambda seconds: round(seconds, 3)), Field(ge=0)]
Score = Annotated[float, AfterValidator(lambda score: round(score, 6)), Field(ge=0, le=1)]


def _number_or_none(given: object) -> object:
    return None if isinstance(given, float) and not math.isfinite(given) else given


#: Figures that a model gives and that may be no number: then they are None, and read back from every store.
Figure = Annotated[float | None, BeforeValidator(_number_or_none)]
ScoreFigure = Annotated[Score | None, BeforeValidator(_number_or_none)]


def _utc(time: datetime) -> datetime:
    """UTC in milliseconds, which every store keeps exactly (Firestore keeps microseconds, JSON readers often less)."""
    try:
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError:  # the calendar's first or last hours in another time zone; pydantic expects a ValueError
        raise ValueError("the time has no equivalent in UTC") from None
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


Time = Annotated[datetime, AfterValidator(_utc)]


class Frozen(BaseModel):
    """Base of every contract type: immutable, tolerant of unknown fields.

    NaN and infinity are refused, because JSON has neither: a partial that could not be read back could never be joined.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, ser_json_inf_nan="null")


class Cost(Frozen):
    """An amount of money: compute seconds times a configured price, so always an estimate."""

    amount: Annotated[float, AfterValidator(lambda amount: round(amount, 6)), Field(ge=0)]
    currency: str = "USD"  #: ISO 4217
