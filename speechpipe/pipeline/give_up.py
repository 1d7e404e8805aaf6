"""Failure: a stage that will not be retried ends with a Failure, so that its recording can end too."""

from __future__ import annotations

import logging

from speechpipe.contract import Failure, Task
from speechpipe.contract.errors import ErrorCode, Unreadable
from speechpipe.pipeline import outcomes
from speechpipe.pipeline.world import World

log = logging.getLogger(__name__)


def give_up(task: Task, world: World, *, code: ErrorCode, reason: str) -> bool:
    """End a stage that will not be retried; False if it has an outcome already. The join follows by itself.

    Raises Unreadable for a task without a recording.
    """
    if world.store.recording(task.recording_id) is None:
        raise Unreadable(f"there is no recording {task.recording_id}")
    lease = world.store.lease(task.recording_id, task.stage, task.revision)
    attempts = lease.attempts if lease else ()
    last_error = next((a.error for a in reversed(attempts) if a.error), None)
    if last_error and "memory" in last_error.lower():
        code = ErrorCode.OUT_OF_MEMORY
    message = f"{reason} after {len(attempts)} attempts" + (f"; the last error was {last_error}" if last_error else "")
    failure = Failure(code=code, message=message)
    partial = outcomes.failed(task, failure, attempt=len(attempts), at=world.clock())
    created = world.store.create_partial(partial)
    log.warning(
        "gave up %s",
        task.stage.value,
        extra={"action": "gave_up", "recording_id": task.recording_id, "stage": task.stage.value},
    )
    return created
