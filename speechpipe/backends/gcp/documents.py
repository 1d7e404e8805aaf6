r"""Convert contract types to Firestore documents and back: times as timestamps, enums as strings, the rest unchanged.

Firestore keeps microseconds and the contract milliseconds, so times survive unchanged. No list in the contract
contains a list directly, which Firestore would refuse (https://cloud.google.com/firestore/docs/concepts/data-types).

Labels are keys in `summary.emotion_share`, and the uploader's names are keys in `source.metadata`, but Firestore
refuses some keys (https://firebase.google.com/docs/firestore/quotas#collections_documents_and_fields). `__x__` and an
empty key get a backslash in front. A long key is stored as `\long DIGEST: {key, value}`. A key that begins with a
backslash gets another, so that all can be told apart.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeVar

from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)

#: Keys that Firestore refuses, and those that already begin as such a key is written.
_REFUSED = re.compile(r"|__.*__|\\.*", re.DOTALL)
#: Firestore allows 1,500 bytes for the whole path of a field, such as `result.source.metadata.KEY`.
_LONG_BYTES = 1000
_LONG = "\\long "

Entry = Callable[[str, Any], tuple[str, Any]]  #: a key and its value, as they are written elsewhere


def to_document(model: BaseModel) -> dict[str, Any]:
    """Convert a model to the fields of a document."""
    document: dict[str, Any] = _plain(model.model_dump(), _allowed)
    return document


def from_document(kind: type[M], document: Mapping[str, Any]) -> M:
    """Convert the fields of a document to a model."""
    return kind.model_validate(_plain(document, _original))


def plain(value: Any) -> Any:
    """Convert a value to plain Python types recursively; also removes the Firestore library's own subclasses."""
    return _plain(value, lambda key, item: (key, item))


def _plain(value: Any, entry: Entry) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):  # or DatetimeWithNanoseconds, which does not equal the datetime it was made of
        return datetime.fromtimestamp(value.timestamp(), UTC).replace(microsecond=value.microsecond)
    if isinstance(value, Mapping):
        return dict(entry(_plain(key, entry), _plain(item, entry)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return [_plain(item, entry) for item in value]
    return value


def _allowed(key: str, item: Any) -> tuple[str, Any]:
    if len(encoded := key.encode()) > _LONG_BYTES:
        return _LONG + hashlib.sha256(encoded).hexdigest(), {"key": key, "value": item}
    return (f"\\{key}" if _REFUSED.fullmatch(key) else key), item


def _original(key: str, item: Any) -> tuple[str, Any]:
    if key.startswith(_LONG):
        return item["key"], item["value"]
    return key.removeprefix("\\"), item
