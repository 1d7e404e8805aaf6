"""The safety net: every minute, stuck recordings are moved forward."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

from speechpipe.backends.ports import Store
from speechpipe.contract import Frozen, Lease, Part, Recording, Stage, Status, leases
from speechpipe.contract.errors import ErrorCode
from speechpipe.pipeline import outcomes, parts
from speechpipe.pipeline.copies import publish_second, published_at
from speechpipe.pipeline.erasure import announce_erased
from speechpipe.pipeline.give_up import end
from speechpipe.pipeline.join import join
from speechpipe.pipeline.world import World
from speechpipe.record.combine import newest

log = logging.getLogger(__name__)

#: A task may be lost if nobody takes it again for this long after an attempt at it ended without an outcome.
TRIED_AFTER = timedelta(minutes=15)
#: A task may be lost if nobody has taken it for this long. A shorter wait is only a queue, and copies make it longer.
WAITED_AFTER = timedelta(hours=6)
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
    if now >= recording.deadline_at:
        for part in parts.missing(recording, stage, world):
            task = outcomes.task_of(recording, stage, now, part)
            end(task, world, code=ErrorCode.TIMEOUT, reason="the deadline passed")
        return ["given_up"]
    if recording.plan is None:
        return ["republished"] if _publish_if_lost(recording, stage, None, world) else []
    waiting = parts.in_queue(recording, stage, world)
    if not waiting:
        parts.begin_again(recording, stage, world)  # all ended, and whoever ended the last was cut off
        return ["joined"]
    return ["republished" for part in waiting if _publish_if_lost(recording, stage, part, world)]


def _publish_if_lost(recording: Recording, stage: Stage, part: Part | None, world: World) -> bool:
    lease = world.store.lease(recording.id, stage, recording.revision, part.number if part else None)
    lost = _may_be_lost(published_at(recording, stage, part), lease, world.clock())
    return lost and publish_second(recording, stage, world, part)


def _may_be_lost(published: datetime, lease: Lease | None, now: datetime) -> bool:
    """Whether a task that was published then may have left its queue without an outcome."""
    if lease is None or not (tried := [each for each in lease.attempts if each.outcome != "busy"]):
        return _passed(published, WAITED_AFTER, now)
    if leases.runs(lease, now):
        return False
    ended = tried[-1].ended_at or lease.until or tried[-1].started_at
    if ended > now:  # by a clock that is ahead, so nobody knows when it ended
        ended = published
    return _passed(ended, TRIED_AFTER, now) if published <= ended else _passed(published, WAITED_AFTER, now)


def _passed(at: datetime, wait: timedelta, now: datetime) -> bool:
    """Whether so much time has passed. A time further in the future comes from a wrong clock: do not wait for it."""
    return abs(now - at) >= wait
