"""The Store port on SQLite: rows hold contract types as JSON, and columns for the fields that queries use."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

from speechpipe.backends.local.bus import PARTIAL_CREATED, enqueue, forget
from speechpipe.backends.local.database import Database
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


class SqliteStore:
    """See ports.Store for what each method guarantees."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create_recording(self, recording: Recording) -> bool:
        """See ports.Store."""
        with self._database.write() as connection:
            return _insert_recording(connection, recording)

    def recording(self, recording_id: str) -> Recording | None:
        """See ports.Store."""
        row = _select(self._database.read(), recording_id)
        return _recording(row) if row else None

    def known(self, recording_ids: Collection[str]) -> set[str]:
        """See ports.Store."""
        query = "SELECT id FROM recordings WHERE id IN (SELECT value FROM json_each(?))"
        return {row["id"] for row in self._database.read().execute(query, (json.dumps(list(recording_ids)),))}

    def recordings(
        self,
        *,
        status: Status | None = None,
        uri: str | None = None,
        after: Recording | None = None,
        limit: int = 100,
    ) -> list[Recording]:
        """See ports.Store."""
        at, last = (after.queued_at.isoformat(), after.id) if after else (None, None)
        rows = self._database.read().execute(
            "SELECT body, NULL AS result FROM recordings WHERE (:status IS NULL OR status = :status)"
            " AND (:uri IS NULL OR uri = :uri) AND (:at IS NULL OR queued_at <= :at)"
            " AND (:at IS NULL OR queued_at < :at OR id < :last) ORDER BY queued_at DESC, id DESC LIMIT :limit",
            {"status": status.value if status else None, "uri": uri, "at": at, "last": last, "limit": limit},
        )
        return [_recording(row) for row in rows]

    def unfinished(self, *, after: Recording | None = None, limit: int = 1000) -> list[Recording]:
        """See ports.Store."""
        rows = self._database.read().execute(
            "SELECT body, NULL AS result FROM recordings WHERE open AND (queued_at, id) > (?, ?)"
            " ORDER BY queued_at, id LIMIT ?",
            (*((after.queued_at.isoformat(), after.id) if after else ("", "")), limit),
        )
        return [_recording(row) for row in rows]

    def count_unfinished(self) -> int:
        """See ports.Store."""
        return int(self._database.read().execute("SELECT count(*) FROM recordings WHERE open").fetchone()[0])

    def changes(self, after: str = "", *, limit: int = 1000) -> Changes:
        """See ports.Store. Triggers number the changes."""
        changed, _, recording_id = after.partition(" ")
        rows = (
            self._database.read()
            .execute(
                "SELECT id, changed, body, NULL AS result FROM recordings WHERE (changed, id) > (?, ?)"
                " ORDER BY changed, id LIMIT ?",
                (int(changed or -1), recording_id, limit),
            )
            .fetchall()
        )
        cursor = f"{rows[-1]['changed']} {rows[-1]['id']}" if rows else after
        return Changes([_recording(row) for row in rows], cursor)

    def accepted_since(self, at: datetime) -> Totals:
        """See ports.Store."""
        row = (
            self._database.read()
            .execute(
                "SELECT total(json_extract(body, '$.quote.audio_seconds')) AS seconds,"
                " total(json_extract(body, '$.quote.cost.amount')) AS cost FROM recordings"
                " WHERE julianday(json_extract(body, '$.accepted_at')) >= julianday(?)",  # as times, not as text
                (at.isoformat(),),
            )
            .fetchone()
        )
        return Totals(audio_seconds=row["seconds"], cost=row["cost"])

    def accept(self, recording: Recording) -> bool:
        """See ports.Store."""
        with self._database.write() as connection:
            row = _select(connection, recording.id)
            if row is None or Status(row["status"]) is not Status.HELD:
                return False
            _update_recording(connection, recording)
        return True

    def revise(self, recording: Recording, *, after: int | None = None) -> bool:
        """See ports.Store."""
        after = recording.revision - 1 if after is None else after
        with self._database.write() as connection:
            row = _select(connection, recording.id)
            if row is None or not (known := _recording(row)).may_be_revised or known.revision != after:
                return False
            _update_recording(connection, recording)
        return True

    def erase(self, tombstone: Recording) -> None:
        """See ports.Store."""
        with self._database.write() as connection:
            row = _select(connection, tombstone.id)
            if row is not None and Status(row["status"]) is not Status.ERASED:
                erased = _recording(row)
                forget(connection, erased, tombstone)
                name, generation = erased.source.name, erased.source.generation
                connection.execute("DELETE FROM objects WHERE name = ? AND generation = ?", (name, generation))
                _update_recording(connection, tombstone)
            for table in ("partials", "parts", "leases"):
                connection.execute(f"DELETE FROM {table} WHERE recording_id = ?", (tombstone.id,))
        self._database.shrink_log()

    def requeued(
        self, recording_id: str, stage: Stage, *, at: datetime, known: Requeued, part: int | None = None
    ) -> None:
        """See ports.Store."""
        noted = known.model_copy(update={"newest_at": None if part is None else at}).model_dump(mode="json")

        def change(body: dict[str, Any]) -> None:
            if part is None:
                _half(body, stage).update(queued_at=at.isoformat())
            body.setdefault("requeued", {})[work_key(stage, part)] = noted

        self._change(recording_id, change)

    def plan(self, recording_id: str, plan: Plan) -> None:
        """See ports.Store."""

        def change(body: dict[str, Any]) -> None:
            body["plan"] = body.get("plan") or plan.model_dump(mode="json")

        self._change(recording_id, change)

    def begin(self, recording_id: str, stage: Stage, *, attempt: int, at: datetime) -> None:
        """See ports.Store."""

        def change(body: dict[str, Any]) -> None:
            body["status"] = Status.PROCESSING.value
            started = {"status": HalfStatus.PROCESSING.value, "attempts": attempt, "started_at": at.isoformat()}
            _half(body, stage).update(started, progress=0.0, expected_at=None)

        self._change(recording_id, change)

    def progress(self, recording_id: str, stage: Stage, share: float, expected_at: datetime | None = None) -> None:
        """See ports.Store."""
        shown = {"progress": share, "expected_at": expected_at.isoformat() if expected_at else None}
        self._change(recording_id, lambda body: _half(body, stage).update(shown))

    def _change(self, recording_id: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change a recording unless it is final; the write lock makes this atomic."""
        with self._database.write() as connection:
            row = _select(connection, recording_id)
            if row is None or Status(row["status"]).is_final:
                return
            body = json.loads(row["body"])
            change(body)
            connection.execute(
                "UPDATE recordings SET status = ?, body = ? WHERE id = ?",
                (body["status"], json.dumps(body), recording_id),
            )

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
        """See ports.Store."""
        with self._database.write() as connection:
            held = _lease(connection, recording_id, stage, revision, part)
            held = held or Lease(recording_id=recording_id, revision=revision, stage=stage, part=part)
            lease = leases.claimed(held, holder=holder, now=now, until=until)
            _put_lease(connection, lease)
        return lease

    def extend(self, lease: Lease, until: datetime) -> Lease:
        """See ports.Store."""
        with self._database.write() as connection:
            held = _lease(connection, lease.recording_id, lease.stage, lease.revision, lease.part)
            if held is None or not leases.holds(held, lease):
                raise Busy(f"the lease on {lease.stage.value} of {lease.recording_id} was lost")
            held = held.model_copy(update={"until": until})
            _put_lease(connection, held)
        return held

    def release(self, lease: Lease, *, now: datetime, outcome: str, error: str | None = None) -> None:
        """See ports.Store."""
        with self._database.write() as connection:
            held = _lease(connection, lease.recording_id, lease.stage, lease.revision, lease.part)
            if held and leases.holds(held, lease):
                _put_lease(connection, leases.released(held, now=now, outcome=outcome, error=error))

    def lease(self, recording_id: str, stage: Stage, revision: int, part: int | None = None) -> Lease | None:
        """See ports.Store."""
        return _lease(self._database.read(), recording_id, stage, revision, part)

    def free_leases(self, holder: str = "") -> None:
        """Expire the leases whose holder's name begins like this, by default all: the holders are known to be dead."""
        with self._database.write() as connection:
            for row in connection.execute("SELECT body FROM leases WHERE json_extract(body, '$.holder') IS NOT NULL"):
                if not (Lease.model_validate_json(row["body"]).holder or "").startswith(holder):
                    continue
                lease = Lease.model_validate_json(row["body"])
                _put_lease(connection, lease.model_copy(update={"holder": None, "until": None}))

    def create_partial(self, partial: Partial) -> bool:
        """See ports.Store. The same transaction publishes the event that triggers the join."""
        with self._database.write() as connection:
            row = _select(connection, partial.recording_id)
            if row is not None and Status(row["status"]) is Status.ERASED:
                return False
            if partial.part is not None:
                return _insert_part(connection, partial, partial.part.number)
            created = connection.execute(
                "INSERT OR IGNORE INTO partials VALUES (?, ?, ?, ?)",
                (partial.recording_id, partial.stage.value, partial.revision, partial.model_dump_json()),
            ).rowcount
            if created:
                body = {"recording_id": partial.recording_id, "revision": partial.revision, "stage": partial.stage}
                enqueue(connection, PARTIAL_CREATED, json.dumps(body))
        return bool(created)

    def partials(self, recording_id: str) -> list[Partial]:
        """See ports.Store."""
        rows = self._database.read().execute(
            "SELECT body FROM partials WHERE recording_id = ? ORDER BY stage, revision", (recording_id,)
        )
        return [Partial.model_validate_json(row["body"]) for row in rows]

    def parts(self, recording_id: str, stage: Stage, revision: int) -> list[Partial]:
        """See ports.Store."""
        rows = self._database.read().execute(
            "SELECT body FROM parts WHERE recording_id = ? AND stage = ? AND revision = ? ORDER BY part",
            (recording_id, stage.value, revision),
        )
        return [Partial.model_validate_json(row["body"]) for row in rows]

    def part_numbers(self, recording_id: str, stage: Stage, revision: int) -> set[int]:
        """See ports.Store."""
        query = "SELECT part FROM parts WHERE recording_id = ? AND stage = ? AND revision = ?"
        return {row["part"] for row in self._database.read().execute(query, (recording_id, stage.value, revision))}

    def finish(self, recording: Recording) -> bool:
        """See ports.Store."""
        with self._database.write() as connection:
            row = _select(connection, recording.id)
            if row is None or (known := _recording(row)).revision != recording.revision:
                return False
            _update_recording(connection, recording.model_copy(update={"announced_at": known.announced_at}))
        return True

    def mark_announced(self, recording_id: str, revision: int, at: datetime) -> None:
        """See ports.Store."""
        with self._database.write() as connection:
            row = _select(connection, recording_id)
            recording = _recording(row) if row else None
            if recording and recording.revision == revision:
                _update_recording(connection, recording.model_copy(update={"announced_at": at}))


def _select(connection: sqlite3.Connection, recording_id: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = connection.execute(
        "SELECT status, body, result FROM recordings WHERE id = ?", (recording_id,)
    ).fetchone()
    return row


def _recording(row: sqlite3.Row) -> Recording:
    body = json.loads(row["body"])
    body["result"] = json.loads(row["result"]) if row["result"] else None
    return Recording.model_validate(body)


def _columns(recording: Recording) -> dict[str, Any]:
    """The row of a recording. `result` has its own column, so that lists need not read it."""
    return {
        "id": recording.id,
        "uri": recording.source.uri,
        "status": recording.status.value,
        "queued_at": recording.queued_at.isoformat(),
        "open": int(recording.announced_at is None and recording.status is not Status.HELD),
        "body": recording.model_dump_json(exclude={"result"}),
        "result": recording.result.model_dump_json() if recording.result else None,
    }


def _insert_recording(connection: sqlite3.Connection, recording: Recording) -> bool:
    inserted = connection.execute(
        "INSERT OR IGNORE INTO recordings (id, uri, status, queued_at, open, body, result)"
        " VALUES (:id, :uri, :status, :queued_at, :open, :body, :result)",
        _columns(recording),
    ).rowcount
    return bool(inserted)


def _update_recording(connection: sqlite3.Connection, recording: Recording) -> None:
    connection.execute(
        "UPDATE recordings SET uri = :uri, status = :status, open = :open, body = :body, result = :result"
        " WHERE id = :id",
        _columns(recording),
    )


def _half(body: dict[str, Any], stage: Stage) -> dict[str, Any]:
    half: dict[str, Any] = body["halves"][stage.value]
    return half


def _insert_part(connection: sqlite3.Connection, partial: Partial, number: int) -> bool:
    row = (partial.recording_id, partial.stage.value, partial.revision, number, partial.model_dump_json())
    return bool(connection.execute("INSERT OR IGNORE INTO parts VALUES (?, ?, ?, ?, ?)", row).rowcount)


def _lease(
    connection: sqlite3.Connection, recording_id: str, stage: Stage, revision: int, part: int | None
) -> Lease | None:
    row = connection.execute(
        "SELECT body FROM leases WHERE recording_id = ? AND stage = ? AND revision = ?",
        (recording_id, work_key(stage, part), revision),
    ).fetchone()
    return Lease.model_validate_json(row["body"]) if row else None


def _put_lease(connection: sqlite3.Connection, lease: Lease) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?)",
        (lease.recording_id, work_key(lease.stage, lease.part), lease.revision, lease.model_dump_json()),
    )
