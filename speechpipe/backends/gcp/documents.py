"""Convert contract types to Firestore documents and back: times as timestamps, enums as strings, the rest unchanged.

Firestore keeps microseconds and the contract milliseconds, so times survive unchanged. No list in the contract
contains a list directly, which Firestore would refuse (https://cloud.google.com/firestore/docs/concepts/data-types).

Firestore refuses `__x__` and an empty name as the key of a map, and labels are keys in `summary.emotion_share`. Such a
key gets a backslash in front (https://firebase.google.com/docs/firestore/quotas#collections_documents_and_fields).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeVar

from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)

#: Keys that Firestore refuses, and those that already begin as such a key is written.
_REFUSED = re.compile(r"|__.*__|\\.*", re.DOTALL)


def to_document(model: BaseModel) -> dict[str, Any]:
    """Convert a model to the fields of a document."""
    document: dict[str, Any] = _plain(model.model_dump(), _allowed)
    return document


def from_document(kind: type[M], document: Mapping[str, Any]) -> M:
    """Convert the fields of a document to a model."""
    return kind.model_validate(_plain(document, _original))


def plain(value: Any) -> Any:
    """Convert a value to plain Python types recursively; also removes the Firestore library's own subclasses."""
    return _plain(value, lambda key: key)


def _plain(value: Any, rename: Callable[[str], str]) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):  # or DatetimeWithNanoseconds, which does not equal the datetime it was made of
        return datetime.fromtimestamp(value.timestamp(), UTC).replace(microsecond=value.microsecond)
    if isinstance(value, Mapping):
        return {rename(_plain(key, rename)): _plain(item, rename) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, rename) for item in value]
    return value


def _allowed(key: str) -> str:
    return f"\\{key}" if _REFUSED.fullmatch(key) else key


def _original(key: str) -> str:
    return key.removeprefix("\\")
