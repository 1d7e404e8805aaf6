"""The same bytes once more under the same name: the new recording takes over the finished result of the earlier one.

A change of storage class, a restore and a rewrite make a new generation, with an event, of an object whose bytes have
not changed (https://cloud.google.com/storage/docs/changing-storage-classes); so does a tool that uploads a file twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from speechpipe.contract import Partial, Recording, Source, Stage, Status
from speechpipe.contract.errors import NotFound, Rejected
from speechpipe.pipeline.analyses import with_analysis
from speechpipe.pipeline.world import World
from speechpipe.record.combine import newest

_BLOCK_BYTES = 1024 * 1024


def finished_twin(recording: Recording, others: Iterable[Recording]) -> Recording | None:
    """The newest completed recording of the same bytes with the same options; None if there is none.

    `others` are the recordings under the same name. Bytes are the same if size and CRC32C are; a folder has no CRC32C,
    so `taken_over` compares there. Only the uploader's own reference may differ, which changes nothing in a result.
    """
    wanted = _content(recording)
    twins = [o for o in others if o.status is Status.COMPLETED and o.id != recording.id and _content(o) == wanted]
    return max(twins, key=lambda twin: int(twin.source.generation), default=None)


def _content(recording: Recording) -> tuple[object, ...]:
    source, options = recording.source, recording.options
    return source.uri, source.size, source.crc32c, options.model_copy(update={"ref": None})


def taken_over(recording: Recording, twin: Recording, world: World) -> dict[Stage, Partial]:
    """Partials for the recording with the twin's analyses, not yet `copied`.

    Empty if the twin's result is no longer whole, because it was erased or has expired, and if the bytes differ.
    """
    found = newest(world.store.partials(twin.id), twin)
    stages = recording.options.stages
    if not all(stage in found and found[stage].failure is None for stage in stages):
        return {}
    if recording.source.crc32c is None and not _same_bytes(recording.source, found[stages[0]], world):
        return {}
    return {stage: _taken(found[stage], recording) for stage in stages}


def _taken(partial: Partial, recording: Recording) -> Partial:
    return partial.model_copy(
        update={
            "recording_id": recording.id,
            "revision": recording.revision,
            "attempt": 0,
            "started_at": recording.queued_at,
            "finished_at": recording.queued_at,
            "same_content_as": partial.recording_id,
            "traceparent": None,
        }
    )


def _same_bytes(source: Source, partial: Partial, world: World) -> bool:
    """Whether a file has the bytes that a partial is about."""
    try:
        analysis = with_analysis(partial, world).analysis
        digest = hashlib.sha256()
        with world.uploads.open(source) as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
        return analysis is not None and digest.hexdigest() == analysis.audio.sha256
    except (NotFound, Rejected):  # one of the two is gone
        return False
