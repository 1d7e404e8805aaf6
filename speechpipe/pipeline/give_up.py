"""Failure: a stage that will not be retried ends with a Failure, so that its recording can end too.

An attempt is one that ran: a task that only waited has not failed, and goes back into the queue (decision 26).
"""

from __future__ import annotations

import logging
from datetime import datetime

from speechpipe.contract import Failure, Lease, Recording, Requeued, Status, Task, leases, work_key
from speechpipe.contract.errors import ErrorCode, Unreadable
from speechpipe.pipeline import outcomes, parts
from speechpipe.pipeline.world import World

log = logging.getLogger(__name__)


def give_up(task: Task, world: World) -> bool:
    """Decide about a task that used up its deliveries; False if nothing was left to decide.

    If an attempt failed and none runs, its stage ends as a Failure. Otherwise nobody has failed, and the task is
    published again: its recording's deadline ends it. Raises Unreadable for a task without a recording.
    """
    recording = _recording(task, world)
    if recording.status is Status.ERASED or _has_outcome(task, recording, world):
        return False
    now = world.clock()
    if now >= recording.deadline_at:
        return end(task, world, code=ErrorCode.TIMEOUT, reason="the deadline passed")
    lease = _lease(task, world)
    if lease and leases.failures(lease) and not leases.runs(lease, now):
        reason = f"the {task.stage.value} worker could not finish it"
        return end(task, world, code=ErrorCode.MODEL_ERROR, reason=reason)
    if _was_replaced(task, recording):
        return False
    _publish_again(task, recording, world, now)
    return True


def end(task: Task, world: World, *, code: ErrorCode, reason: str) -> bool:
    """End a stage as a Failure; False if it has an outcome already. The join follows by itself.

    Raises Unreadable for a task without a recording.
    """
    recording = _recording(task, world)
    lease = _lease(task, world)
    attempts = lease.attempts if lease else ()
    last_error = next((a.error for a in reversed(attempts) if a.outcome == "failed" and a.error), None)
    if last_error and "memory" in last_error.lower():
        code = ErrorCode.OUT_OF_MEMORY
    message = f"{reason} {_tried(lease)}" + (f"; the last error was {last_error}" if last_error else "")
    failure = Failure(code=code, message=message)
    partial = outcomes.failed(task, failure, attempt=len(attempts), at=world.clock())
    created = world.store.create_partial(partial)
    if task.part:
        parts.ended(recording, task.stage, task.part, world, again=not created)
    log.warning(
        "gave up %s",
        task.stage.value,
        extra={"action": "gave_up", "recording_id": task.recording_id, "stage": task.stage.value},
    )
    return created


def _lease(task: Task, world: World) -> Lease | None:
    return world.store.lease(task.recording_id, task.stage, task.revision, task.part.number if task.part else None)


def _recording(task: Task, world: World) -> Recording:
    recording = world.store.recording(task.recording_id)
    if recording is None:
        raise Unreadable(f"there is no recording {task.recording_id}")
    return recording


def _has_outcome(task: Task, recording: Recording, world: World) -> bool:
    """Whether the stage, or the part, has ended in the task's revision, or a later revision has started."""
    partials = world.store.partials(task.recording_id)
    if task.part and task.part.number in world.store.part_numbers(task.recording_id, task.stage, task.revision):
        parts.ended(recording, task.stage, task.part, world, again=True)
        return True
    return task.revision < recording.revision or any(
        (partial.stage, partial.revision) == (task.stage, task.revision) for partial in partials
    )


def _was_replaced(task: Task, recording: Recording) -> bool:
    """Whether this dead letter was delivered before and another copy published for it.

    A copy is known by its time. One newer than all that are known was published, but could not be noted.
    """
    known = recording.requeued.get(_key(task), Requeued())
    newest = known.newest_at or (recording.halves[task.stage].queued_at if task.part is None else None)
    older = known.older_at
    return newest is not None and task.queued_at < newest and task.queued_at != older


def _publish_again(task: Task, recording: Recording, world: World, now: datetime) -> None:
    known = recording.requeued.get(_key(task), Requeued())
    world.bus.publish_task(outcomes.task_of(recording, task.stage, now, task.part))
    again = known.model_copy(update={"rounds": known.rounds + 1})
    number = task.part.number if task.part else None
    world.store.requeued(task.recording_id, task.stage, at=now, known=again, part=number)
    extra = {"action": "requeued", "recording_id": task.recording_id, "stage": task.stage.value}
    log.warning("%s used up its deliveries, but no attempt failed: published again", task.stage.value, extra=extra)


def _key(task: Task) -> str:
    return work_key(task.stage, task.part.number if task.part else None)


def _tried(lease: Lease | None) -> str:
    """`after 3 attempts`, or that nobody has tried."""
    ran = [a for a in lease.attempts if a.outcome in (None, "failed", "expired")] if lease else []
    if not ran:
        return "before any worker was free"
    return f"after {len(ran)} attempt{'' if len(ran) == 1 else 's'}"
