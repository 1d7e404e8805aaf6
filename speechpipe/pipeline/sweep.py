"""The safety net: every minute, stuck recordings are moved forward."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

from speechpipe.backends.ports import Store
from speechpipe.contract import Frozen, Recording, Stage, Status
from speechpipe.contract.errors import ErrorCode
from speechpipe.pipeline import outcomes
from speechpipe.pipeline.erasure import announce_erased
from speechpipe.pipeline.give_up import give_up
from speechpipe.pipeline.join import join
from speechpipe.pipeline.world import World
from speechpipe.record.combine import newest

log = logging.getLogger(__name__)

#: A task that nobody has taken for this long was lost, or its worker was: sweep publishes it again.
REPUBLISH_AFTER = timedelta(minutes=15)
_PAGE = 500  #: unfinished recordings read at a time


class SweepReport(Frozen):
    """What one sweep did, in recordings and halves."""

    examined: int = 0
    republished: int = 0
    given_up: int = 0
    joined: int = 0
    failed: int = 0


def sweep(world: World) -> SweepReport:
    """Move every recording that is not finished and announced one step forward.

    A recording that fails here (its record cannot be made, say) is counted and does not block the ones after it.
    """
    counts = Counter[str]()
    for recording in _unfinished(world.store):
        counts["examined"] += 1
        try:
            counts.update(_move_forward(recording, world))
        except Exception:
            extra = {"action": "not_swept", "recording_id": recording.id}
            log.exception("the sweep could not move a recording forward", extra=extra)
            counts["failed"] += 1
    return SweepReport(**counts)


def _unfinished(store: Store) -> Iterator[Recording]:
    """All of them, page by page, so that thousands of waiting recordings do not hide the one behind them."""
    page = store.unfinished(limit=_PAGE)
    while page:
        yield from page
        page = store.unfinished(after=page[-1], limit=_PAGE) if len(page) == _PAGE else []


def _move_forward(recording: Recording, world: World) -> list[str]:
    """Do what one recording is waiting for; the fields of the report that this adds to."""
    if recording.status is Status.ERASED:
        announce_erased(recording, world)
        return ["joined"]
    done = newest(world.store.partials(recording.id), recording)
    missing = [stage for stage in recording.options.stages if stage not in done]
    if missing:
        return [count for stage in missing for count in _chase(recording, stage, world)]
    join(recording.id, recording.revision, world)  # its event was lost, or a join was cut off
    return ["joined"]


def _chase(recording: Recording, stage: Stage, world: World) -> list[str]:
    """Give up one missing half, publish its task again, or leave it alone; the report's field, if any."""
    now = world.clock()
    task = outcomes.task_of(recording, stage, now)
    if now >= recording.deadline_at:
        give_up(task, world, code=ErrorCode.TIMEOUT, reason="the deadline passed")
        return ["given_up"]
    lease = world.store.lease(recording.id, stage, recording.revision)
    times = (recording.halves[stage].queued_at, lease and lease.until, recording.queued_at)
    # Also while an attempt holds its lease. A time further in the future comes from a wrong clock: do not wait for it.
    if any(time and abs(now - time) < REPUBLISH_AFTER for time in times):
        return []
    world.bus.publish_task(task)
    world.store.requeued(recording.id, stage, at=now)
    return ["republished"]
