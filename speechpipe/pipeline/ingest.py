"""Hop 1: an uploaded object becomes a recording, and its tasks are published."""

from __future__ import annotations

import logging
from datetime import timedelta

from speechpipe.contract import Failure, Half, HalfStatus, Options, Partial, Recording, Source, Stage, Status
from speechpipe.contract.errors import Rejected
from speechpipe.contract.options import parse_options
from speechpipe.pipeline import outcomes
from speechpipe.pipeline.admission import admitted, check_size
from speechpipe.pipeline.copies import publish_second
from speechpipe.pipeline.world import World
from speechpipe.record.combine import newest
from speechpipe.settings import Limits

log = logging.getLogger(__name__)


def is_ours(source: Source, limits: Limits) -> bool:
    """Whether an object is a recording at all: under the prefix, and not a folder placeholder."""
    return not source.name.endswith("/") and source.name.startswith(limits.prefix)


def ingest(source: Source, world: World) -> Recording | None:
    """Turn an uploaded object into a recording and its tasks; None if the object is not a recording of ours.

    A rejected upload is a recording too: its partials are created as Failures, and the join announces them. A recording
    over a cap is held; this is decided here, once, and stored with the recording.
    """
    if not is_ours(source, world.limits):
        log.info("not a recording", extra={"action": "ignored"})
        return None
    recording, rejection = _recording(source, world)
    if rejection is None:
        recording = admitted(recording, store=world.store, uploads=world.uploads, limits=world.limits)
    done: dict[Stage, Partial] = {}  # a new recording has none
    repeated = not world.store.create_recording(recording)
    if repeated:
        known = world.store.recording(recording.id)
        if known is None or known.status.is_final or known.status is Status.HELD:
            return known
        recording = known  # a repeated event: the first one may have been cut off before it published
        done = newest(world.store.partials(recording.id), recording)
    if recording.status is Status.HELD and recording.hold:
        cap = recording.hold.code
        log.info("recording held: %s", cap, extra={"action": "held", "recording_id": recording.id, "cap": cap})
        return recording
    for stage in recording.options.stages:
        if stage in done:
            continue
        task = outcomes.task_of(recording, stage, recording.queued_at)
        if rejection:
            world.store.create_partial(outcomes.failed(task, rejection, attempt=0, at=recording.queued_at))
        elif repeated:
            publish_second(recording, stage, world)
        else:
            world.bus.publish_task(task)
    action = "rejected" if rejection else "queued"
    log.info("recording %s", action, extra={"action": action, "recording_id": recording.id})
    return recording


def _recording(source: Source, world: World) -> tuple[Recording, Failure | None]:
    """The recording that an object becomes, and the reason if it can never be analysed."""
    limits, now = world.limits, world.clock()
    options, rejection = Options(), None
    try:
        options = parse_options(source.metadata)
        check_size(source.size, limits.max_bytes)
    except Rejected as rejected:
        rejection = Failure(code=rejected.code, message=rejected.message)
    recording_id = source.recording_id
    recording = Recording(
        id=recording_id,
        source=source,
        options=options,
        supersedes=_superseded(source, world),
        results_uri=world.results.uri(f"{recording_id}/r1"),
        queued_at=now,
        deadline_at=now + timedelta(seconds=limits.deadline_seconds),
        expires_at=now + timedelta(days=limits.retention_days) if limits.retention_days else None,
        accepted_at=None if rejection else now,
        halves={
            stage: Half(status=HalfStatus.QUEUED, queued_at=now)
            if stage in options.stages
            else Half(status=HalfStatus.SKIPPED)
            for stage in Stage
        },
    )
    return recording, rejection


def _superseded(source: Source, world: World) -> str | None:
    """The id of the recording made of the newest earlier generation under the same name."""
    generation = int(source.generation)
    earlier = [other for other in world.store.recordings(uri=source.uri) if int(other.source.generation) < generation]
    return max(earlier, key=lambda other: int(other.source.generation)).id if earlier else None
