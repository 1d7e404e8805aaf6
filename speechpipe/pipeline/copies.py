"""The copies of a task in its queue: at most two at any time (decision 26).

The first is published with the recording or its revision, and leaves the queue with an outcome or as a dead letter,
which `give_up` replaces. Whoever suspects that it was lost publishes a second one here.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from speechpipe.contract import Part, Recording, Requeued, Stage, work_key
from speechpipe.contract.resources import TASK_RETENTION_SECONDS
from speechpipe.pipeline import outcomes
from speechpipe.pipeline.world import World

#: Until then a copy may still be in the queue.
RETENTION = timedelta(seconds=TASK_RETENTION_SECONDS)


def publish_second(recording: Recording, stage: Stage, world: World, part: Part | None = None) -> bool:
    """Publish a task once more and note it; False if two copies of it may be in the queue already."""
    number = part.number if part else None
    now, known = world.clock(), recording.requeued.get(work_key(stage, number), Requeued())
    if known.older_at and now - known.older_at < RETENTION:
        return False
    world.bus.publish_task(outcomes.task_of(recording, stage, now, part))
    older = known.model_copy(update={"older_at": published_at(recording, stage, part)})
    world.store.requeued(recording.id, stage, at=now, known=older, part=number)
    return True


def published_at(recording: Recording, stage: Stage, part: Part | None = None) -> datetime:
    """When the newest copy of a task was published; of a part that was published once, when its stage was."""
    known = recording.requeued.get(work_key(stage, part.number if part else None), Requeued())
    return known.newest_at or recording.halves[stage].queued_at or recording.queued_at
