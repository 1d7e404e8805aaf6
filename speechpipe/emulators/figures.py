"""What the live status of the local cloud shows of its database."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from itertools import chain
from typing import Any

from speechpipe.contract import HalfStatus, Status
from speechpipe.emulators.setup import exported


class Figures:
    """Asks the Firestore emulator on a port, which must be running."""

    def __init__(self, project: str, firestore_port: int) -> None:
        self._project, self._port = project, firestore_port

    def by_status(self) -> dict[Status, int]:
        """Recordings by status: one count query for each, so that no document is transferred."""
        from google.cloud.firestore_v1.base_query import FieldFilter

        counts = {}
        for status in Status:
            query = self._firestore.collection("recordings").where(filter=FieldFilter("status", "==", status.value))
            counts[status] = int(query.count().get()[0][0].value)
        return counts

    def queue_age(self) -> float | None:
        """Seconds that the oldest queued half of 100 open recordings has waited; the emulator has no such metric."""
        from google.cloud.firestore_v1.base_query import FieldFilter

        open_ = [Status.QUEUED.value, Status.PROCESSING.value]
        query = self._firestore.collection("recordings").where(filter=FieldFilter("status", "in", open_))
        halves = (found.get("halves").values() for found in query.select(["halves"]).limit(100).stream())
        waiting = [half["queued_at"] for half in chain(*halves) if half["status"] == HalfStatus.QUEUED.value]
        return (datetime.now(UTC) - min(waiting)).total_seconds() if waiting else None

    @cached_property
    def _firestore(self) -> Any:
        """A client of this emulator, regardless of this process's environment."""
        from google.cloud import firestore

        with exported(FIRESTORE_EMULATOR_HOST=f"127.0.0.1:{self._port}"):
            return firestore.Client(project=self._project)
