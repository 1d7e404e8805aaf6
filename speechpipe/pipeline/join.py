"""Hop 3: once every half is there, the record is written, announced and marked."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from speechpipe.contract import Partial, Record, Recording, Status
from speechpipe.contract.errors import Rejected, Unreadable
from speechpipe.observe import log_fields
from speechpipe.pipeline import gunzip, outcomes
from speechpipe.pipeline.analyses import with_analysis
from speechpipe.pipeline.erasure import clear
from speechpipe.pipeline.world import World
from speechpipe.record.artifacts import render
from speechpipe.record.combine import combine, newest

log = logging.getLogger(__name__)


def join(recording_id: str, revision: int, world: World) -> Recording | None:
    """Assemble the record once every half is there: record, then announce, then mark. None while one is missing.

    A crash in between repeats the announcement, with the same event id, and never loses it. A value that arrived after
    its stage was given up begins the next revision once this one is announced. Recordings of at most
    `limits.embed_bytes` are embedded in the report, so it can play them.
    """
    while True:
        recording = world.store.recording(recording_id)
        if recording is None or recording.revision + 1 < revision:
            raise Unreadable(f"there is no recording {recording_id} of revision {revision}")
        if recording.status is Status.ERASED:
            clear(recording, world)  # the partial that triggered this came in spite of the erasure
            return recording
        partials = world.store.partials(recording_id)
        if not recording.announced_at:
            record = _record(recording, partials, world)
            if record is None:
                return None
            for artifact in render(record, _sound(record, world)):
                path = f"{recording.id}/r{record.revision}/{artifact.name}"
                world.results.create(path, artifact.body, artifact.content_type)
            finished = _announce(recording, record, world)
            if finished is None:
                return None
            recording = finished
        late = [partial.stage for partial in partials if partial.revision > recording.revision]
        if not late:
            return recording
        world.store.revise(outcomes.revised(recording, late, world.clock(), world.results))


def _record(recording: Recording, partials: Iterable[Partial], world: World) -> Record | None:
    """The record of this revision; None while a half is missing."""
    chosen = newest(partials, recording)
    return combine(recording, {stage: with_analysis(partial, world) for stage, partial in chosen.items()})


def _sound(record: Record, world: World) -> bytes | None:
    """A small recording's bytes, for its report; None if it is too large, gone, or packed: it may be of any size."""
    if not record.artifacts.report or record.audio is None or record.source.size > world.limits.embed_bytes:
        return None
    try:
        with world.uploads.open(record.source) as file:
            sound = file.read()
    except Rejected:
        return None
    return None if sound.startswith(gunzip.MAGIC) else sound


def _announce(recording: Recording, record: Record, world: World) -> Recording | None:
    """Store this revision's record, announce it and mark it; None if another join or an erasure was faster."""
    finished = outcomes.finished(recording, record)
    if not world.store.finish(finished):
        _clear_if_erased(recording, world)
        return None
    world.bus.publish_completion(outcomes.completion_event(record))
    now = world.clock()
    world.store.mark_announced(recording.id, record.revision, now)
    log.info("recording %s", record.status.value, extra=log_fields.announced(recording, record, now))
    return finished.model_copy(update={"announced_at": now})


def _clear_if_erased(recording: Recording, world: World) -> None:
    """If the recording was erased in the meantime, delete what this join has just written."""
    known = world.store.recording(recording.id)
    if known and known.status is Status.ERASED:
        clear(known, world)
