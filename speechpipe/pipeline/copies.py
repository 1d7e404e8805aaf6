"""The copies of a task in its queue: at most two at any time (decision 26).

The first is published with the recording or its revision, and leaves the queue with an outcome or as a dead letter,
which `give_up` replaces. Whoever suspects that it was lost publishes a second one here.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from speechpipe.contract import Recording, Requeued, Stage
from speechpipe.contract.resources import TASK_RETENTION_SECONDS
from speechpipe.pipeline import outcomes
from speechpipe.pipeline.world import World

#: Until then a copy may still be in the queue.
RETENTION = timedelta(seconds=TASK_RETENTION_SECONDS)


def publish_second(recording: Recording, stage: Stage, world: World) -> bool:
    """Publish a task once more and note it; False if two copies of it may be in the queue already."""
    now, known = world.clock(), recording.requeued.get(stage, Requeued())
    if known.older_at and now - known.older_at < RETENTION:
        return False
    world.bus.publish_task(outcomes.task_of(recording, stage, now))
    older = known.model_copy(update={"older_at": published_at(recording, stage)})
    world.store.requeued(recording.id, stage, at=now, known=older)
    return True


def published_at(recording: Recording, stage: Stage) -> datetime:
    """When the newest copy of a task was published."""
    return recording.halves[stage].queued_at or recording.queued_at
