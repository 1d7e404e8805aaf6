"""Buckets and objects in memory: the live generation of each object only."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from speechpipe.emulators.gcs import listing
from speechpipe.emulators.gcs.answers import Refused, bad_request, no_bucket, no_object
from speechpipe.emulators.gcs.formats import crc32c, md5
from speechpipe.emulators.gcs.objects import (
    ANY,
    WRITABLE,
    Conditions,
    Part,
    Resource,
    Stored,
    check_holds,
    new_object,
    now,
    patched,
    present,
)

MAX_SOURCES = 32  #: of a composition


class Store:
    """All buckets. `finalized` is called with each new object, after it can be read; `base` starts its links."""

    def __init__(self, finalized: Callable[[Resource], None], base: str = "http://127.0.0.1") -> None:
        self._finalized, self._base = finalized, base
        self._lock = threading.RLock()
        self._buckets: dict[str, Resource] = {}
        self._objects: dict[str, dict[str, Stored]] = {}
        self._generation = 0

    # ----------------------------------------------------------------------------------------------- buckets

    def create_bucket(self, name: str, fields: Mapping[str, Any] = {}) -> Resource:
        """Create a bucket. Raises Refused if it exists."""
        when = now()
        own = {"kind": "storage#bucket", "id": name, "name": name, "selfLink": f"{self._base}/storage/v1/b/{name}"}
        own |= {"projectNumber": "1", "metageneration": "1", "timeCreated": when, "updated": when, "etag": "CAE="}
        defaults = {"location": "US", "locationType": "multi-region", "storageClass": "STANDARD"}
        with self._lock:
            if name in self._buckets:
                raise Refused(
                    HTTPStatus.CONFLICT, "Your previous request to create the named bucket succeeded.", "conflict"
                )
            self._buckets[name] = defaults | dict(fields) | own
            self._objects[name] = {}
            return dict(self._buckets[name])

    def bucket(self, name: str) -> Resource:
        """A bucket. Raises Refused."""
        try:
            return self._buckets[name]
        except KeyError:
            raise no_bucket() from None

    def buckets(self) -> list[Resource]:
        """All buckets, by name."""
        with self._lock:
            return [self._buckets[name] for name in sorted(self._buckets)]

    def patch_bucket(self, name: str, fields: Mapping[str, Any]) -> Resource:
        """Change fields of a bucket; None removes one."""
        with self._lock:
            bucket = self.bucket(name)
            kept = ("kind", "id", "name", "selfLink", "projectNumber", "timeCreated")
            bucket |= {key: value for key, value in fields.items() if key not in kept}
            bucket |= {"metageneration": str(int(bucket["metageneration"]) + 1), "updated": now()}
            return present(bucket)

    def delete_bucket(self, name: str) -> None:
        """Delete an empty bucket. Raises Refused."""
        with self._lock:
            if self._contents(name):
                raise Refused(HTTPStatus.CONFLICT, "The bucket you tried to delete is not empty.", "conflict")
            del self._buckets[name], self._objects[name]

    # ----------------------------------------------------------------------------------------------- objects

    def get(self, bucket: str, name: str, generation: int | None = None, conditions: Conditions = ANY) -> Stored:
        """An object. Raises Refused, also for a generation that is not the live one."""
        with self._lock:
            live = self._contents(bucket).get(name)
            if live is None or generation not in (None, int(live.resource["generation"])):
                raise no_object(bucket, name)
            conditions.check(live.resource, reading=True)
            return live

    def insert(
        self,
        bucket: str,
        name: str,
        content: bytes,
        fields: Mapping[str, Any],
        conditions: Conditions = ANY,
        *,
        expected: Mapping[str, str] = {},
        components: int | None = None,
    ) -> Resource:
        """Create an object, or a new generation of it.

        `expected` has hashes that the content must have; an object that was composed of `components` others has no MD5
        (https://cloud.google.com/storage/docs/composite-objects). Raises Refused.
        """
        hashes = {"crc32c": crc32c(content)} | ({} if components else {"md5Hash": md5(content)})
        for kind, value in hashes.items():
            if expected.get(kind) not in (None, value):
                label = {"crc32c": "CRC32C", "md5Hash": "MD5 hash"}[kind]
                raise bad_request(f'Provided {label} "{expected[kind]}" doesn\'t match calculated {label} "{value}".')
        with self._lock:
            self.check(bucket, name, conditions)
            resource = new_object(self._base, bucket, name, self._next_generation(), fields)
            resource |= {"size": str(len(content)), **hashes}
            if components:
                resource["componentCount"] = components
            self._objects[bucket][name] = Stored(resource, content)
        self._finalized(resource)
        return resource

    def check(self, bucket: str, name: str, conditions: Conditions) -> None:
        """Raise Refused if an object of that name may not be created or replaced."""
        with self._lock:
            live = self._contents(bucket).get(name)
            conditions.check(live.resource if live else None)
            if live:
                check_holds(live.resource)

    def patch(
        self, bucket: str, name: str, fields: Mapping[str, Any], generation: int | None, conditions: Conditions
    ) -> Resource:
        """Change fields of an object; None removes one, also within `metadata`. Raises Refused."""
        with self._lock:
            live = self.get(bucket, name, generation)
            conditions.check(live.resource)
            resource = patched(live.resource, fields)
            self._objects[bucket][name] = Stored(resource, live.content)
            return resource

    def delete(self, bucket: str, name: str, generation: int | None = None, conditions: Conditions = ANY) -> None:
        """Delete an object. Raises Refused."""
        with self._lock:
            live = self.get(bucket, name, generation)
            conditions.check(live.resource)
            check_holds(live.resource)
            del self._objects[bucket][name]

    def compose(
        self, bucket: str, name: str, sources: Iterable[Part], fields: Mapping[str, Any], conditions: Conditions = ANY
    ) -> Resource:
        """Create an object from others of the same bucket, one after the other. Raises Refused."""
        sources = list(sources)
        if not 0 < len(sources) <= MAX_SOURCES:
            raise bad_request(f"The number of source components provided ({len(sources)}) is not 1 to {MAX_SOURCES}.")
        with self._lock:
            found = [self.get(bucket, source.name, source.generation) for source in sources]
            for source, part in zip(sources, found, strict=True):
                source.conditions.check(part.resource)
            content = b"".join(part.content for part in found)
            components = sum(part.resource.get("componentCount", 1) for part in found)
            return self.insert(bucket, name, content, fields, conditions, components=components)

    def copy(
        self, source: Stored, bucket: str, name: str, fields: Mapping[str, Any], conditions: Conditions = ANY
    ) -> Resource:
        """Create an object with another's content, and its fields unless there are others. Raises Refused."""
        kept = fields or {key: source.resource[key] for key in WRITABLE if key in source.resource}
        components = source.resource.get("componentCount")
        return self.insert(bucket, name, source.content, kept, conditions, components=components)

    def list(self, bucket: str, wanted: listing.Wanted) -> listing.Page:
        """A page of the objects of a bucket. Raises Refused."""
        with self._lock:
            return listing.page({name: stored.resource for name, stored in self._contents(bucket).items()}, wanted)

    def _contents(self, bucket: str) -> dict[str, Stored]:
        self.bucket(bucket)
        return self._objects[bucket]

    def _next_generation(self) -> int:
        """Generations grow, and are the time in microseconds, as there."""
        self._generation = max(self._generation + 1, time.time_ns() // 1000)
        return self._generation
