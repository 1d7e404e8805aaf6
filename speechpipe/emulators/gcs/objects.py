"""What an object is: its fields, its generation, and what a request may demand of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from speechpipe.emulators.gcs.answers import Refused, bad_request, condition_not_met

Resource = dict[str, Any]  #: of a bucket or an object, as in the JSON API

MAX_NAME_BYTES = 1024

WRITABLE = (
    "cacheControl",
    "contentDisposition",
    "contentEncoding",
    "contentLanguage",
    "contentType",
    "customTime",
    "customerEncryption",
    "eventBasedHold",
    "metadata",
    "storageClass",
    "temporaryHold",
)


@dataclass(frozen=True)
class Conditions:
    """The generation and metageneration that a request expects of an object; a generation of 0 means that none exists.

    https://cloud.google.com/storage/docs/request-preconditions
    """

    generation: int | None = None
    not_generation: int | None = None
    metageneration: int | None = None
    not_metageneration: int | None = None

    def check(self, live: Resource | None, *, reading: bool = False) -> None:
        """Raise Refused: 412, or 304 if the client has what it would read."""
        generation = int(live["generation"]) if live else 0
        metageneration = int(live["metageneration"]) if live else None
        if self.generation not in (None, generation) or self.metageneration not in (None, metageneration):
            raise condition_not_met()
        same = self.not_generation == generation
        if same or (metageneration is not None and self.not_metageneration == metageneration):
            raise Refused(HTTPStatus.NOT_MODIFIED, "Not Modified") if reading and live else condition_not_met()


ANY = Conditions()


@dataclass(frozen=True)
class Stored:
    """An object's live generation."""

    resource: Resource
    content: bytes


@dataclass(frozen=True)
class Part:
    """One source of a composition."""

    name: str
    generation: int | None = None
    conditions: Conditions = ANY


def new_object(base: str, bucket: str, name: str, generation: int, fields: Mapping[str, Any]) -> Resource:
    """A new object's resource, still without size and hashes. `base` starts its links. Raises Refused."""
    if not 0 < len(name.encode()) <= MAX_NAME_BYTES or name in (".", ".."):
        raise bad_request(f"Invalid object name: {name[:100]}")
    at, when = f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}", now()
    resource = {
        "kind": "storage#object",
        "id": f"{bucket}/{name}/{generation}",
        "selfLink": base + at,
        "mediaLink": f"{base}/download{at}?generation={generation}&alt=media",
        "bucket": bucket,
        "name": name,
        "generation": str(generation),
        "metageneration": "1",
        "storageClass": "STANDARD",
        "timeCreated": when,
        "updated": when,
        "timeStorageClassUpdated": when,
        "timeFinalized": when,
        "etag": f"C{generation}",
    }
    return present(resource | writable(fields))


def patched(resource: Resource, fields: Mapping[str, Any]) -> Resource:
    """A resource with other fields; None removes one, also within `metadata`. Raises Refused."""
    changed = resource | writable(fields)
    if isinstance(fields.get("metadata"), dict):
        changed["metadata"] = _strings(resource.get("metadata", {}) | fields["metadata"])
    metageneration = int(resource["metageneration"]) + 1
    etag = f"C{resource['generation']}.{metageneration}"
    return present(changed | {"metageneration": str(metageneration), "updated": now(), "etag": etag})


def present(resource: Resource) -> Resource:
    """A resource without the fields that are empty."""
    return {key: value for key, value in resource.items() if value not in (None, {})}


def writable(fields: Mapping[str, Any]) -> Resource:
    """The fields that a client may set. Raises Refused."""
    chosen = {key: fields[key] for key in WRITABLE if key in fields}
    if chosen.get("metadata") is not None:
        if not isinstance(chosen["metadata"], dict):
            raise bad_request("Invalid value for metadata")
        chosen["metadata"] = _strings(chosen["metadata"])
    return chosen


def _strings(metadata: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in metadata.items() if value is not None}


def check_holds(resource: Resource) -> None:
    """Raise Refused if an object may not be deleted or replaced: https://cloud.google.com/storage/docs/object-holds."""
    for hold, label in (("temporaryHold", "Temporary hold"), ("eventBasedHold", "Event-Based hold")):
        if resource.get(hold):
            message = (
                f"Object '{resource['bucket']}/{resource['name']}' is under active {label} and cannot be deleted, "
            )
            message += "overwritten or archived until hold is removed."
            raise Refused(HTTPStatus.FORBIDDEN, message, "forbidden")


def now() -> str:
    """The time, as in resources."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
