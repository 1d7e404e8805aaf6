"""The second safety net: once a day, uploads of the last days that have no document become recordings after all.

Sweep reads documents, so it cannot see an upload whose event was lost before there was one.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from speechpipe.contract import Frozen, Source
from speechpipe.pipeline.backfill import FAILURES, Outcome, foreseen, taken_in
from speechpipe.pipeline.ingest import is_ours
from speechpipe.pipeline.world import World

log = logging.getLogger(__name__)

#: How far the daily reconciliation looks back: two of them may fail.
LOOK_BACK = timedelta(days=3)
#: The event of a younger upload may still be on its way.
GRACE = timedelta(hours=1)
_PAGE = 500  #: uploads that are looked up in the store with one request
_LISTED_PAGE = 1000  #: objects that are listed with one request, the most that Cloud Storage allows

#: Gets each upload that had no document, and what has become of it, or the error.
Tell = Callable[[Source, Outcome | Exception], None]


class ReconcileReport(Frozen):
    """What one reconciliation found, in objects."""

    listed: int = 0  #: all that the bucket holds under our prefix
    too_young: int = 0  #: not looked up: their event may still be on its way
    looked_up: int = 0
    missed: int = 0  #: had no document; the next four say what has become of them
    new: int = 0
    held: int = 0
    rejected: int = 0
    failed: int = 0  #: could not be ingested; the next reconciliation tries again
    complete: bool = True  #: False: the time was up before the end of the listing


def reconcile(
    world: World,
    since: datetime,
    *,
    dry_run: bool = False,
    tell: Tell = lambda source, outcome: None,
    out_of_time: Callable[[], bool] = lambda: False,
) -> ReconcileReport:
    """Ingest every upload since `since` that has no document, exactly as its event would have.

    Holds one page of the listing in memory. May be repeated, and run beside ingest: an upload's id is derived from the
    object. With `dry_run`, only finds them. Raises the error once several uploads in a row could not be ingested.

    Uploads older than `limits.retention_days` are left alone, because their documents may have expired.
    """
    run = _Run(world, dry_run, tell)
    limits, now, complete = world.limits, world.clock(), True
    if limits.retention_days:
        since = max(since, now - timedelta(days=limits.retention_days))
    page: list[Source] = []
    for source in world.uploads.objects(limits.prefix):
        run.counts["listed"] += 1
        if is_ours(source, limits) and source.created_at >= since:
            if source.created_at > now - GRACE:
                run.counts["too_young"] += 1
            else:
                page.append(source)
        if len(page) == _PAGE:
            run.examine(page)
            page.clear()
        if run.counts["listed"] % _LISTED_PAGE == 0 and out_of_time():
            complete = False
            break
    run.examine(page)
    report = ReconcileReport(**run.counts, complete=complete)
    if not dry_run:
        level = logging.INFO if complete else logging.ERROR
        log.log(level, "uploads compared with documents", extra={"action": "reconciled", **report.model_dump()})
    return report


class _Run:
    """One reconciliation: what it has counted so far."""

    def __init__(self, world: World, dry_run: bool, tell: Tell) -> None:
        self.counts = Counter[str]()
        self._world, self._dry_run, self._tell = world, dry_run, tell
        self._failures = 0  #: in a row

    def examine(self, page: Collection[Source]) -> None:
        """Look a page of uploads up, and ingest those that have no document."""
        known = self._world.store.known([source.recording_id for source in page]) if page else set()
        for source in page:
            if source.recording_id not in known:
                self._ingest(source)
        self.counts["looked_up"] += len(page)

    def _ingest(self, source: Source) -> None:
        extra = {"action": "missed", "recording_id": source.recording_id}
        outcome: Outcome | Exception
        if self._dry_run:
            outcome = foreseen(source, self._world.limits, self._world.store)
        else:
            log.info("an upload had no document: its event was lost, or has waited for an hour", extra=extra)
            outcome = self._taken_in(source)
        self._tell(source, outcome)
        self.counts.update(("missed", "failed" if isinstance(outcome, Exception) else outcome.value))

    def _taken_in(self, source: Source) -> Outcome | Exception:
        try:
            outcome = taken_in(source, self._world)
        except Exception as error:
            self._failures += 1
            if self._failures == FAILURES:
                raise
            extra = {"action": "not_reconciled", "recording_id": source.recording_id}
            log.exception("an upload without a document could not be ingested", extra=extra)
            return error
        self._failures = 0
        return outcome
