"""Hop 1: an uploaded object becomes a recording, and its tasks are published."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta

from speechpipe.contract import Failure, Half, HalfStatus, Options, Partial, Recording, Source, Stage, Status
from speechpipe.contract.errors import NotFound, Rejected
from speechpipe.contract.options import parse_options
from speechpipe.pipeline import outcomes, parts
from speechpipe.pipeline.admission import admitted, check_object
from speechpipe.pipeline.analyses import copied
from speechpipe.pipeline.same_content import finished_twin, taken_over
from speechpipe.pipeline.world import World
from speechpipe.record.combine import newest
from speechpipe.settings import Limits

log = logging.getLogger(__name__)


#: Where gcloud and gsutil put the parts of a large file before they compose it, and then delete them
#: (https://cloud.google.com/storage/docs/parallel-composite-uploads). They may be below any folder.
_PART = re.compile("(^|/)(gcloud|gsutil)/tmp/")


def is_ours(source: Source, limits: Limits) -> bool:
    """Whether an object is a recording: under the prefix, no folder placeholder, no part of a composite upload."""
    name = source.name
    return not name.endswith("/") and name.startswith(limits.prefix) and not _PART.search(name)


def ingest(source: Source, world: World) -> Recording | None:
    """Turn an uploaded object into a recording and its tasks; None if the object is not a recording of ours.

    A rejected upload is a recording too: its partials are created as Failures, and the join announces them. A recording
    over a cap is held; this is decided here, once, and stored with the recording. The same bytes as those of a finished
    recording take over its result: its analyses become the new one's partials, and nothing runs.
    """
    if not is_ours(source, world.limits):
        log.info("not a recording", extra={"action": "ignored"})
        return None
    others = [other for other in world.store.recordings(uri=source.uri) if other.id != source.recording_id]
    recording, rejection = _recording(source, others, world)
    taken: dict[Stage, Partial] = {}
    if rejection is None:
        recording, taken = _admitted(recording, others, world)
    done: dict[Stage, Partial] = {}  # a new recording has none
    repeated = not world.store.create_recording(recording)
    if repeated:
        known = world.store.recording(recording.id)
        if known is None or known.status.is_final or known.status is Status.HELD:
            return known
        if known.same_content_as is None:
            taken = {}  # its twin had not finished when it came, so its tasks are published
        recording = known  # a repeated event: the first one may have been cut off before it published
        done = newest(world.store.partials(recording.id), recording)
    if recording.status is Status.HELD and recording.hold:
        cap = recording.hold.code
        log.info("recording held: %s", cap, extra={"action": "held", "recording_id": recording.id, "cap": cap})
        return recording
    for stage in recording.options.stages:
        if stage not in done:
            _begin(recording, stage, rejection, taken.get(stage), world, repeated=repeated)
    action = "rejected" if rejection else "taken_over" if taken else "queued"
    log.info("recording %s", action.replace("_", " "), extra={"action": action, "recording_id": recording.id})
    return recording


def _begin(
    recording: Recording,
    stage: Stage,
    rejection: Failure | None,
    taken: Partial | None,
    world: World,
    *,
    repeated: bool,
) -> None:
    """Publish a stage's task, or create its partial if it is known already."""
    if rejection:
        task = outcomes.task_of(recording, stage, recording.queued_at)
        world.store.create_partial(outcomes.failed(task, rejection, attempt=0, at=recording.queued_at))
        return
    if taken:
        with suppress(NotFound):  # the analysis was deleted from the results bucket: the stage runs
            world.store.create_partial(copied(taken, world))
            return
    if repeated:
        parts.begin_again(recording, stage, world)
    else:
        parts.begin(recording, stage, recording.queued_at, world)


def _admitted(
    recording: Recording, others: Iterable[Recording], world: World
) -> tuple[Recording, dict[Stage, Partial]]:
    """The recording, and the partials that it takes over. Without any it will run, or is held."""
    twin = finished_twin(recording, others)
    taken = taken_over(recording, twin, world) if twin else {}
    if twin is None or not taken:
        accepted = admitted(recording, store=world.store, uploads=world.uploads, limits=world.limits)
        return parts.planned(accepted, world), {}
    untouched = {stage: half.model_copy(update={"queued_at": None}) for stage, half in recording.halves.items()}
    return recording.model_copy(update={"same_content_as": twin.id, "halves": untouched}), taken


def _recording(source: Source, others: Iterable[Recording], world: World) -> tuple[Recording, Failure | None]:
    """The recording that an object becomes, and the reason if it can never be analysed."""
    limits, now = world.limits, world.clock()
    options, rejection = Options(), None
    try:
        options = parse_options(source.metadata)
        check_object(source, limits.max_bytes)
    except Rejected as rejected:
        rejection = Failure(code=rejected.code, message=rejected.message)
    recording_id = source.recording_id
    recording = Recording(
        id=recording_id,
        source=source,
        options=options,
        supersedes=_superseded(source, others),
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


def _superseded(source: Source, others: Iterable[Recording]) -> str | None:
    """The id of the recording made of the newest earlier generation under the same name."""
    generation = int(source.generation)
    earlier = [other for other in others if int(other.source.generation) < generation]
    return max(earlier, key=lambda other: int(other.source.generation)).id if earlier else None
