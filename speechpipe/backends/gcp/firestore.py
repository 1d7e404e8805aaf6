"""The store on Firestore: `recordings/{id}` with `partials/`, `parts/` and `leases/` under it.

No transactions. Their read locks starve under contention, the Python client retries without a pause, and an `Aborted`
that a read raises is not retried at all (https://cloud.google.com/firestore/docs/transaction-data-contention). Two
primitives replace them: `create()` for documents that are created once, and `update()` with the document's
`last_update_time` as a precondition, which is compare-and-swap.

If a reply is lost, the library sends the commit again, and our own write then looks like a conflict. Where that
matters, we read the document and compare it with what we meant to write.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from google.api_core.exceptions import AlreadyExists, FailedPrecondition, GoogleAPICallError, RetryError
from google.api_core.exceptions import NotFound as DocumentNotFound
from google.cloud.firestore import (
    SERVER_TIMESTAMP,
    Client,
    CollectionReference,
    DocumentReference,
    DocumentSnapshot,
    Query,
)
from google.cloud.firestore_v1.base_query import FieldFilter

from speechpipe.backends.gcp.documents import from_document, plain, to_document
from speechpipe.backends.ports import Changes
from speechpipe.contract import (
    HalfStatus,
    Lease,
    Partial,
    Plan,
    Recording,
    Requeued,
    Stage,
    Status,
    Totals,
    leases,
    work_key,
)
from speechpipe.contract.errors import Busy

log = logging.getLogger(__name__)

_WITHOUT_RESULT = [name for name in Recording.model_fields if name != "result"]
#: Part of every write of a recording except progress: the time of its commit, which no later commit precedes.
_CHANGED: dict[str, Any] = {"changed_at": SERVER_TIMESTAMP}
#: Attempts at a compare-and-swap. It competes only with the progress of two workers, one write per second each.
_MAX_SWAPS = 20


class FirestoreStore:
    """`ports.Store` on Firestore. Passes the platform's errors on unchanged; the caller retries."""

    def __init__(self, client: Client) -> None:
        self._client = client

    # ---------------------------------------------------------------------------------------- recordings

    def create_recording(self, recording: Recording) -> bool:
        """Create a recording; False if the id exists.

        If the reply to our own write is lost, this is False too; callers treat both the same way.
        """
        try:
            self._recording(recording.id).create(to_document(recording) | _CHANGED)
        except AlreadyExists:
            return False
        return True

    def recording(self, recording_id: str) -> Recording | None:
        """Read a recording."""
        fields = self._recording(recording_id).get().to_dict()
        return from_document(Recording, fields) if fields else None

    def known(self, recording_ids: Collection[str]) -> set[str]:
        """Look up many documents with one request; each costs one read, whether it exists or not."""
        references = [self._recording(recording_id) for recording_id in recording_ids]
        return {found.id for found in self._client.get_all(references, field_paths=["status"]) if found.exists}

    def recordings(
        self,
        *,
        status: Status | None = None,
        uri: str | None = None,
        after: Recording | None = None,
        limit: int = 100,
    ) -> list[Recording]:
        """List recordings; `result` is not transferred."""
        query: Any = self._recordings
        if uri is not None:
            query = query.where(filter=FieldFilter("source.uri", "==", uri))
        if status is not None:
            query = query.where(filter=FieldFilter("status", "==", status.value))
        query = query.order_by("queued_at", direction=Query.DESCENDING)
        query = query.order_by("__name__", direction=Query.DESCENDING)  # the implicit last field of every index
        if after:
            query = query.start_after({"queued_at": after.queued_at, "__name__": self._recording(after.id)})
        return _fetch_recordings(query.limit(limit).select(_WITHOUT_RESULT))

    def unfinished(self, *, after: Recording | None = None, limit: int = 1000) -> list[Recording]:
        """List recordings without `announced_at`: `revise` resets it, so those that are not final have none."""
        query = self._unfinished.order_by("queued_at").order_by("__name__")
        if after:
            query = query.start_after({"queued_at": after.queued_at, "__name__": self._recording(after.id)})
        return _fetch_recordings(query.limit(limit).select(_WITHOUT_RESULT))

    def count_unfinished(self) -> int:
        """Count on the server, by a scan of the same index."""
        [[result]] = self._unfinished.count().get()
        return int(result.value)

    @property
    def _unfinished(self) -> Any:
        query: Any = self._recordings.where(filter=FieldFilter("announced_at", "==", None))
        return query.where(filter=FieldFilter("status", "in", [s.value for s in Status if s is not Status.HELD]))

    def changes(self, after: str = "", *, limit: int = 1000) -> Changes:
        """List changes by the time of their commit; Firestore's clock follows the order of commits."""
        query: Any = self._recordings.order_by("changed_at").order_by("__name__")
        if after:
            at, _, recording_id = after.partition(" ")
            position = {"changed_at": datetime.fromisoformat(at), "__name__": self._recording(recording_id)}
            query = query.start_after(position)
        documents = [
            document.to_dict() or {} for document in query.limit(limit).select([*_WITHOUT_RESULT, *_CHANGED]).stream()
        ]
        if not documents:
            return Changes([], after)
        last = documents[-1]
        found = [from_document(Recording, document) for document in documents]
        return Changes(found, f"{plain(last['changed_at']).isoformat()} {last['id']}")

    def accepted_since(self, at: datetime) -> Totals:
        """Sum on the server, each field by a scan of its index.

        One query for both sums would leave out recordings that have only one of the fields.
        """
        accepted: Any = self._recordings.where(filter=FieldFilter("accepted_at", ">=", at))

        def total(field: str) -> float:
            [[result]] = accepted.sum(field).get()
            return float(result.value)

        return Totals(audio_seconds=total("quote.audio_seconds"), cost=total("quote.cost.amount"))

    def accept(self, recording: Recording) -> bool:
        """Compare-and-swap.

        If the reply to our own write is lost, the retry looks like a conflict; callers treat both the same way.
        """
        document = to_document(recording)
        fields = {name: document[name] for name in ("status", "accepted_at", "deadline_at", "expires_at", "halves")}
        held = Status.HELD.value
        return self._swap(recording.id, lambda known: fields if known["status"] == held else None, once=True)

    def revise(self, recording: Recording, *, after: int | None = None) -> bool:
        """Compare-and-swap; a lost reply looks like a conflict, as in `accept`."""
        document = to_document(recording)
        after = recording.revision - 1 if after is None else after

        def change(known: dict[str, Any]) -> dict[str, Any] | None:
            may = _is_final(known) and known["status"] != Status.ERASED.value and known["announced_at"] is not None
            return document if may and known["revision"] == after else None

        return self._swap(recording.id, change, once=True)

    def erase(self, tombstone: Recording) -> None:
        """Write the tombstone first: nothing is created under it any more."""
        document = to_document(tombstone)
        reference = self._recording(tombstone.id)
        self._swap(tombstone.id, lambda known: None if known["status"] == Status.ERASED.value else document)
        for collection in ("partials", "parts", "leases"):
            for found in reference.collection(collection).list_documents():
                found.delete()

    def requeued(
        self, recording_id: str, stage: Stage, *, at: datetime, known: Requeued, part: int | None = None
    ) -> None:
        """Note when a task was last published, and what is known of its copies. A key with a dot is quoted."""
        noted = to_document(known.model_copy(update={"newest_at": None if part is None else at}))
        fields: dict[str, Any] = {f"requeued.`{work_key(stage, part)}`": noted}
        if part is None:
            fields[f"halves.{stage.value}.queued_at"] = at
        with _best_effort("requeued", recording_id):
            self._swap(recording_id, lambda document: None if _is_final(document) else fields)

    def plan(self, recording_id: str, plan: Plan) -> None:
        """Compare-and-swap."""
        fields = {"plan": to_document(plan)}
        self._swap(recording_id, lambda known: None if known.get("plan") or _is_final(known) else fields)

    def begin(self, recording_id: str, stage: Stage, *, attempt: int, at: datetime) -> None:
        """Compare-and-swap, so that a recording that becomes final meanwhile stays unchanged."""
        half = f"halves.{stage.value}"

        def change(known: dict[str, Any]) -> dict[str, Any] | None:
            if _is_final(known):
                return None
            return {
                "status": Status.PROCESSING.value,
                f"{half}.status": HalfStatus.PROCESSING.value,
                f"{half}.attempts": attempt,
                f"{half}.progress": 0.0,
                f"{half}.expected_at": None,
                f"{half}.started_at": at,
            }

        with _best_effort("begin", recording_id):
            self._swap(recording_id, change)

    def progress(self, recording_id: str, stage: Stage, share: float, expected_at: datetime | None = None) -> None:
        """Write two fields without reading the rest: a late write is harmless.

        Does not touch `changed_at`: Firestore takes only 500 writes per second to an index whose values rise
        (https://cloud.google.com/firestore/docs/best-practices).
        """
        half = f"halves.{stage.value}"
        shown = {f"{half}.progress": round(share, 6), f"{half}.expected_at": expected_at}
        with _best_effort("progress", recording_id):
            self._recording(recording_id).update(shown)

    def finish(self, recording: Recording) -> bool:
        """Write everything except `announced_at`, which only `mark_announced` writes.

        False also if the recording has expired. Raises FailedPrecondition if every attempt loses to another write.
        """
        document = to_document(recording)
        del document["announced_at"]
        return self._swap(recording.id, lambda known: document if known["revision"] == recording.revision else None)

    def mark_announced(self, recording_id: str, revision: int, at: datetime) -> None:
        """Note the time, unless a later revision has started."""
        self._swap(recording_id, lambda known: {"announced_at": at} if known["revision"] == revision else None)

    # -------------------------------------------------------------------------------------------- leases

    def claim(
        self,
        recording_id: str,
        stage: Stage,
        revision: int,
        part: int | None = None,
        *,
        holder: str,
        now: datetime,
        until: datetime,
    ) -> Lease:
        """Take the lease: `create()` the first time, then compare-and-swap."""
        reference, recording = self._lease(recording_id, stage, revision, part), self._recording(recording_id)
        both = self._client.get_all([reference, recording], field_paths=[*Lease.model_fields, "expires_at"])
        found = {each.reference.path: each for each in both}  # in any order
        snapshot, parent = found[reference.path], found[recording.path]
        known = _lease_of(snapshot) or Lease(recording_id=recording_id, revision=revision, stage=stage, part=part)
        wanted = leases.claimed(known, holder=holder, now=now, until=until)
        document = to_document(wanted) | {"expires_at": _expiry_of(parent)}
        try:
            if snapshot.exists:
                reference.update(document, option=self._if_unchanged(snapshot))
            else:
                reference.create(document)
        except (AlreadyExists, FailedPrecondition, DocumentNotFound) as lost:
            if _lease_of(reference.get()) != wanted:
                raise Busy(f"another attempt took {stage.value} of {recording_id}") from lost
        return wanted

    def extend(self, lease: Lease, until: datetime) -> Lease:
        """Extend the lease."""
        wanted = Lease.model_validate(lease.model_dump() | {"until": until})
        if not self._swap_lease(lease, wanted):
            raise Busy(f"the lease on {lease.stage.value} of {lease.recording_id} was lost")
        return wanted

    def release(self, lease: Lease, *, now: datetime, outcome: str, error: str | None = None) -> None:
        """Free the lease."""
        self._swap_lease(lease, leases.released(lease, now=now, outcome=outcome, error=error))

    def lease(self, recording_id: str, stage: Stage, revision: int, part: int | None = None) -> Lease | None:
        """Read the lease."""
        return _lease_of(self._lease(recording_id, stage, revision, part).get())

    def _swap_lease(self, lease: Lease, wanted: Lease) -> bool:
        """Write `wanted` if the attempt in `lease` still holds the lease; return whether it did."""
        reference = self._lease(lease.recording_id, lease.stage, lease.revision, lease.part)
        snapshot = reference.get()
        known = _lease_of(snapshot)
        if known is None or not leases.holds(known, lease):
            return False
        try:
            reference.update(to_document(wanted), option=self._if_unchanged(snapshot))
        except (FailedPrecondition, DocumentNotFound):
            return _lease_of(reference.get()) == wanted  # true if the reply to our own write was lost
        return True

    # ------------------------------------------------------------------------------------------ partials

    def create_partial(self, partial: Partial) -> bool:
        """Create a partial. If the same one exists, the reply to our own write was lost: that counts as created.

        If the recording is erased between our read and the creation, the join that this triggers erases again.
        """
        reference = self._partial(partial)
        recording = self._recording(partial.recording_id).get(field_paths=["expires_at", "status"])
        if (recording.to_dict() or {}).get("status") == Status.ERASED.value:
            return False
        document = to_document(partial) | {"expires_at": _expiry_of(recording)}
        try:
            reference.create(document)
        except AlreadyExists:
            known = reference.get().to_dict()
            return known is not None and from_document(Partial, known) == partial
        return True

    def partials(self, recording_id: str) -> list[Partial]:
        """Read all partials, by stage and revision."""
        documents = self._recording(recording_id).collection("partials").stream()
        found = [from_document(Partial, document.to_dict() or {}) for document in documents]
        return sorted(found, key=lambda partial: (partial.stage, partial.revision))

    def parts(self, recording_id: str, stage: Stage, revision: int) -> list[Partial]:
        """Read the partials of a stage's parts by their names, which begin alike: no index is needed for that."""
        documents = self._parts(recording_id, stage, revision).stream()
        found = [from_document(Partial, document.to_dict() or {}) for document in documents]
        return sorted(found, key=lambda partial: partial.part.number if partial.part else 0)

    def part_numbers(self, recording_id: str, stage: Stage, revision: int) -> set[int]:
        """The numbers are in the documents' names; one field is read because a query must name one."""
        documents = self._parts(recording_id, stage, revision).select(["revision"]).stream()
        return {int(document.id.rpartition(".p")[2]) for document in documents}

    def _parts(self, recording_id: str, stage: Stage, revision: int) -> Any:
        parts = self._recording(recording_id).collection("parts")
        first, behind = (parts.document(f"{stage.value}.r{revision}.{end}") for end in ("p", "q"))
        query: Any = parts.where(filter=FieldFilter("__name__", ">=", first))
        return query.where(filter=FieldFilter("__name__", "<", behind))

    # ------------------------------------------------------------------- references and compare-and-swap

    @property
    def _recordings(self) -> CollectionReference:
        return self._client.collection("recordings")

    def _recording(self, recording_id: str) -> DocumentReference:
        reference: DocumentReference = self._recordings.document(recording_id)
        return reference

    def _partial(self, partial: Partial) -> DocumentReference:
        name, part = f"{partial.stage.value}.r{partial.revision}", partial.part
        recording = self._recording(partial.recording_id)
        reference: DocumentReference = recording.collection("parts" if part else "partials").document(
            f"{name}.p{part.number}" if part else name
        )
        return reference

    def _lease(self, recording_id: str, stage: Stage, revision: int, part: int | None) -> DocumentReference:
        name = f"{stage.value}.r{revision}" + ("" if part is None else f".p{part}")
        reference: DocumentReference = self._recording(recording_id).collection("leases").document(name)
        return reference

    def _if_unchanged(self, snapshot: DocumentSnapshot[Any]) -> Any:
        return self._client.write_option(last_update_time=snapshot.update_time)

    def _swap(
        self,
        recording_id: str,
        change: Callable[[dict[str, Any]], dict[str, Any] | None],
        *,
        once: bool = False,
    ) -> bool:
        """Write what `change` makes of status, revision, plan and `announced_at`; False if it makes nothing.

        After a conflict, fields that have the wanted values already count as written, because the reply to our own
        write may have been lost. With `once` they count as another caller's. Raises FailedPrecondition after
        `_MAX_SWAPS` conflicts.
        """
        reference = self._recording(recording_id)
        for attempt in range(_MAX_SWAPS):
            snapshot = reference.get(field_paths=["status", "revision", "announced_at", "plan"])
            known = snapshot.to_dict()
            fields = change(known) if known else None
            if fields is None:
                return False
            try:
                reference.update(fields | _CHANGED, option=self._if_unchanged(snapshot))
            except DocumentNotFound:
                return False
            except FailedPrecondition:
                if not once and _has_fields(reference, fields):
                    return True
                if attempt == _MAX_SWAPS - 1:
                    raise
            else:
                return True
        return False


@contextmanager
def _best_effort(what: str, recording_id: str) -> Iterator[None]:
    """Log and ignore errors: an hour of GPU work must not be lost because a progress bar could not move."""
    try:
        yield
    except (GoogleAPICallError, RetryError) as error:
        extra = {"action": "not_shown", "recording_id": recording_id}
        log.warning("%s could not be written: %s", what, type(error).__name__, extra=extra)


def _has_fields(reference: DocumentReference, fields: dict[str, Any]) -> bool:
    """Whether a document has all these fields with these values."""
    snapshot = reference.get(field_paths=list(fields))
    return snapshot.exists and all(plain(snapshot.get(name)) == plain(value) for name, value in fields.items())


def _is_final(known: dict[str, Any]) -> bool:
    return Status(known["status"]).is_final


def _lease_of(snapshot: DocumentSnapshot[Any]) -> Lease | None:
    fields = snapshot.to_dict()
    return from_document(Lease, fields) if fields else None


def _expiry_of(recording: DocumentSnapshot[Any]) -> datetime | None:
    expires_at: datetime | None = plain((recording.to_dict() or {}).get("expires_at"))
    return expires_at


def _fetch_recordings(query: Any) -> list[Recording]:
    documents: Iterable[DocumentSnapshot[Any]] = query.stream()
    return [from_document(Recording, document.to_dict() or {}) for document in documents]
