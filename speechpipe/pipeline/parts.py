"""The parts of a long recording: which tasks are in the queue, and what happens when the last part ends (decision 36).

A few parts of a stage are in the queue at a time, so that a long recording does not keep short ones waiting. Parts form
as many chains as may be in the queue: with four chains part 0 is followed by part 4, part 1 by part 5. Whoever ends a
part publishes the next one of its chain, and whoever ends the last part of all gathers them into the stage's partial,
from where on a long recording is like any other.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from datetime import datetime

from speechpipe.contract import Part, Plan, Recording, Stage, plan_for
from speechpipe.contract.errors import Rejected
from speechpipe.observe import log_fields
from speechpipe.pipeline import outcomes
from speechpipe.pipeline.analyses import copied, stored, with_analysis
from speechpipe.pipeline.copies import publish_second
from speechpipe.pipeline.probe import probe
from speechpipe.pipeline.world import World
from speechpipe.record.gather import gather

log = logging.getLogger(__name__)

#: Bits a second of the thriftiest speech codec in use (AMR's lowest mode): a smaller file cannot be longer than a part.
LEAST_BITRATE = 4_000


def planned(recording: Recording, world: World) -> Recording:
    """The recording with its plan, if its header tells exactly how long it is, and that is longer than a part."""
    seconds = world.limits.part_seconds
    if not may_be_longer(recording.source.size, seconds):
        return recording
    length, exact = (recording.quote.audio_seconds, recording.quote.exact) if recording.quote else (0.0, False)
    if recording.quote is None:
        try:
            with world.uploads.open(recording.source) as stream:
                found = probe(stream, recording.source.size)
        except Rejected:  # the object is gone already: the worker will say so
            return recording
        length, exact = found.seconds, found.exact
    plan = plan_for(length, seconds, world.limits.parts_in_flight) if exact else None
    return recording.model_copy(update={"plan": plan}) if plan else recording


def may_be_longer(size: int, part_seconds: float) -> bool:
    """Whether a file of this size may be longer than a part; without parts it never is."""
    return part_seconds > 0 and size * 8 >= LEAST_BITRATE * part_seconds


def begin(recording: Recording, stage: Stage, at: datetime, world: World) -> None:
    """Publish a stage's task, or those of the first parts that have no outcome yet."""
    if recording.plan is None:
        world.bus.publish_task(outcomes.task_of(recording, stage, at))
        return
    done = world.store.part_numbers(recording.id, stage, recording.revision)
    for part in _heads(recording.plan, done):
        world.bus.publish_task(outcomes.task_of(recording, stage, at, part))
    if len(done) == recording.plan.count:
        _gather(recording, stage, world)


def begin_again(recording: Recording, stage: Stage, world: World) -> int:
    """As `begin`, where the tasks may be in the queue already: never a third copy. How many were published."""
    if recording.plan is None:
        return int(publish_second(recording, stage, world))
    done = world.store.part_numbers(recording.id, stage, recording.revision)
    if len(done) == recording.plan.count:
        _gather(recording, stage, world)
        return 0
    heads = [p for p in _heads(recording.plan, done) if not _was_tried(recording, stage, p, world)]
    return sum(publish_second(recording, stage, world, part) for part in heads)


def ended(recording: Recording, stage: Stage, part: Part, world: World, *, again: bool = False) -> None:
    """Go on after a part: publish the next one of its chain, or gather if it was the last of all.

    `again`: it ended before, and whoever ended it may have been cut off here.
    """
    if recording.plan is None:
        return
    done = world.store.part_numbers(recording.id, stage, recording.revision)
    if len(done) == recording.plan.count:
        _gather(recording, stage, world)
        return
    following = _next(recording.plan, part.number + recording.plan.in_flight, done)
    if following is None:
        return
    if not again:
        world.bus.publish_task(outcomes.task_of(recording, stage, world.clock(), following))
    elif not _was_tried(recording, stage, following, world):
        publish_second(recording, stage, world, following)


def in_queue(recording: Recording, stage: Stage, world: World) -> list[Part]:
    """The parts whose tasks should be in the queue or at work."""
    assert recording.plan
    done = world.store.part_numbers(recording.id, stage, recording.revision)
    return list(_heads(recording.plan, done))


def missing(recording: Recording, stage: Stage, world: World) -> list[Part | None]:
    """The parts without an outcome; None for the whole, of a recording without parts."""
    if recording.plan is None:
        return [None]
    done = world.store.part_numbers(recording.id, stage, recording.revision)
    return [part for part in recording.plan.parts if part.number not in done]


def keep(recording: Recording, stage: Stage, world: World) -> None:
    """Keep the parts of the last run that have a value: only the others run again."""
    earlier = (p.revision for p in world.store.partials(recording.id) if p.stage is stage)
    before = max((revision for revision in earlier if revision < recording.revision), default=0)
    for partial in world.store.parts(recording.id, stage, before):
        if partial.failure is None:
            kept = partial.model_copy(update={"revision": recording.revision})
            world.store.create_partial(copied(kept, world))


def _gather(recording: Recording, stage: Stage, world: World) -> None:
    """Create the stage's partial from its parts. Any number of workers may do so at once: all create the same."""
    parts = [with_analysis(p, world) for p in world.store.parts(recording.id, stage, recording.revision)]
    whole = gather(parts, attempt=max(partial.attempt for partial in parts))
    created = world.store.create_partial(stored(whole, world))
    if created:
        log.info("%s gathered", stage.value, extra=log_fields.gathered(whole, len(parts)))


def _heads(plan: Plan, done: Collection[int]) -> Iterator[Part]:
    """The first part of each chain that has no outcome."""
    for first in range(min(plan.in_flight, plan.count)):
        part = _next(plan, first, done)
        if part:
            yield part


def _next(plan: Plan, first: int, done: Collection[int]) -> Part | None:
    """The first part without an outcome from there on in its chain."""
    numbers = range(first, plan.count, plan.in_flight)
    return next((plan.parts[number] for number in numbers if number not in done), None)


def _was_tried(recording: Recording, stage: Stage, part: Part, world: World) -> bool:
    """Whether a worker has taken the part's task, so that it was published."""
    return world.store.lease(recording.id, stage, recording.revision, part.number) is not None
