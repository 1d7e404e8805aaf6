"""The same bytes once more under the same name: the new recording takes over the finished result of the earlier one.

A change of storage class, a restore and a rewrite make a new generation, with an event, of an object whose bytes have
not changed (https://cloud.google.com/storage/docs/changing-storage-classes); so does a tool that uploads a file twice.
"""

from __future__ import annotations

from collections.abc import Iterable

from speechpipe.contract import Cost, Partial, Recording, Stage, Status
from speechpipe.contract.errors import NotFound
from speechpipe.pipeline.analyses import with_analysis
from speechpipe.pipeline.world import World
from speechpipe.record.combine import newest


def finished_twin(recording: Recording, others: Iterable[Recording]) -> Recording | None:
    """The newest completed recording of the same bytes with the same options; None if there is none.

    `others` are the recordings under the same name. Bytes are the same if size and CRC32C are. Only the uploader's own
    reference may differ, which changes nothing in a result.
    """
    if recording.source.crc32c is None:
        return None
    wanted = _content(recording)
    twins = [o for o in others if o.status is Status.COMPLETED and o.id != recording.id and _content(o) == wanted]
    return max(twins, key=lambda twin: int(twin.source.generation), default=None)


def _content(recording: Recording) -> tuple[object, ...]:
    source, options = recording.source, recording.options
    return source.uri, source.size, source.crc32c, options.model_copy(update={"ref": None})


def taken_over(recording: Recording, twin: Recording, world: World) -> dict[Stage, Partial]:
    """Partials for the recording, each with the twin's analysis in it. They took no work and cost nothing.

    Empty if the twin's result is no longer whole, because it was erased or has expired.
    """
    found = newest(world.store.partials(twin.id), twin)
    partials = {}
    for stage in recording.options.stages:
        try:
            analysis = with_analysis(found[stage], world).analysis if stage in found else None
        except NotFound:
            return {}
        if analysis is None:
            return {}
        cost = Cost(amount=0, currency=analysis.cost.currency) if analysis.cost else None
        partials[stage] = Partial(
            recording_id=recording.id,
            revision=recording.revision,
            stage=stage,
            attempt=0,
            started_at=recording.queued_at,
            finished_at=recording.queued_at,
            analysis=analysis.model_copy(update={"compute_seconds": 0.0, "work": None, "cost": cost}),
            same_content_as=twin.id,
        )
    return partials
