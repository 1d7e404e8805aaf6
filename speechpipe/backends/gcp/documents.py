"""Convert contract types to Firestore documents and back: times as timestamps, enums as strings, the rest unchanged.

Firestore keeps microseconds and the contract milliseconds, so times survive unchanged. No list in the contract
contains a list directly, which Firestore would refuse (https://cloud.google.com/firestore/docs/concepts/data-types).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeVar

from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)


def to_document(model: BaseModel) -> dict[str, Any]:
    """Convert a model to the fields of a document."""
    document: dict[str, Any] = plain(model.model_dump())
    return document


def from_document(kind: type[M], document: Mapping[str, Any]) -> M:
    """Convert the fields of a document to a model."""
    return kind.model_validate(plain(document))


def plain(value: Any) -> Any:
    """Convert a value to plain Python types recursively; also removes the Firestore library's own subclasses."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):  # or DatetimeWithNanoseconds, which does not equal the datetime it was made of
        return datetime.fromtimestamp(value.timestamp(), UTC).replace(microsecond=value.microsecond)
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
