"""Contract types <-> Firestore documents: times as timestamps, enums as strings, everything else as it is.

Firestore keeps microseconds and the contract milliseconds, so a time comes back as it went. No list of the contract
holds a list directly, which Firestore would refuse (https://cloud.google.com/firestore/docs/concepts/data-types).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeVar

from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)


def to_document(model: BaseModel) -> dict[str, Any]:
    """A model as the fields of a document."""
    document: dict[str, Any] = plain(model.model_dump())
    return document


def from_document(kind: type[M], document: Mapping[str, Any]) -> M:
    """A document as a model."""
    return kind.model_validate(plain(document))


def plain(value: Any) -> Any:
    """The value in Firestore's types, all the way down; what comes from Firestore loses its own subclasses."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):  # DatetimeWithNanoseconds is one; it compares unequal to what it was made of
        return datetime.fromtimestamp(value.timestamp(), UTC).replace(microsecond=value.microsecond)
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
