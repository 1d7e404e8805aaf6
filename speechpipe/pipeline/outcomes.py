"""What becomes of a recording, as documents and events. Pure: each follows from what is given, so repeats are equal."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from speechpipe.backends.ports import Results
from speechpipe.contract import (
    RESULT_INLINE_BYTES,
    Completion,
    CompletionData,
    Half,
    HalfStatus,
    Record,
    Recording,
    Source,
    Stage,
    Status,
    Task,
)

PREVIEW_CHARACTERS = 200


def task_of(recording: Recording, stage: Stage, at: datetime) -> Task:
    """What the stage's worker is told."""
    return Task(
        recording_id=recording.id,
        revision=recording.revision,
        stage=stage,
        source=recording.source,
        options=recording.options,
        queued_at=at,
    )


def finished(recording: Recording, record: Record) -> Recording:
    """The recording's document with everything that follows from the record."""
    inline = len(record.model_dump_json().encode()) <= RESULT_INLINE_BYTES
    return recording.model_copy(
        update={
            "status": record.status,
            "halves": record.halves,
            "finished_at": record.timing.completed_at,
            "result": record if inline else None,
            "preview": record.text[:PREVIEW_CHARACTERS],
            "language": record.language,
            "summary": record.summary,
            "artifacts": record.artifacts,
            "warnings": record.warnings,
            "error": record.error,
        }
    )


def revised(recording: Recording, stages: Iterable[Stage], now: datetime, results: Results) -> Recording:
    """The recording as its next revision begins, in which these stages run again. It has as much time as before."""
    again = tuple(stage for stage in Stage if stage in stages)
    allowed = recording.deadline_at - (recording.revised_at or recording.accepted_at or recording.queued_at)
    revision = recording.revision + 1
    return recording.model_copy(
        update={
            "revision": revision,
            "rerun": again,
            "revised_at": now,
            "status": Status.QUEUED,
            "results_uri": results.uri(f"{recording.id}/r{revision}"),
            "deadline_at": now + allowed,
            "halves": recording.halves | {stage: Half(status=HalfStatus.QUEUED, queued_at=now) for stage in again},
            "finished_at": None,
            "result": None,
            "preview": None,
            "language": None,
            "summary": None,
            "artifacts": None,
            "warnings": (),
            "error": None,
            "announced_at": None,
        }
    )


def tombstone(recording: Recording, now: datetime) -> Recording:
    """What is left of an erased recording: its id, that it is erased and when. Nothing that anybody uploaded."""
    bucket = recording.source.bucket
    source = Source(
        uri=f"{recording.source.uri.partition('://')[0]}://{bucket}",
        bucket=bucket,
        name="",
        generation=recording.source.generation,
        size=0,
        created_at=recording.source.created_at,
    )
    return Recording(
        id=recording.id,
        revision=recording.revision + 1,
        status=Status.ERASED,
        source=source,
        results_uri=recording.results_uri,
        queued_at=recording.queued_at,
        deadline_at=recording.deadline_at,
        expires_at=recording.expires_at,
        halves={stage: Half(status=HalfStatus.SKIPPED) for stage in Stage},
        finished_at=now,
    )


def completion_event(record: Record) -> Completion:
    """The CloudEvent of an outcome. Everything in it follows from the record, so that repeats are equal."""
    data = CompletionData(
        recording_id=record.recording_id,
        revision=record.revision,
        status=record.status,
        uri=record.source.uri,
        generation=record.source.generation,
        ref=record.options.ref,
        # Turning points grow with the recording; an event stays under 20 kB.
        summary=record.summary.model_copy(update={"turning_points": record.summary.turning_points[:50]}),
        artifacts=record.artifacts,
        cost=record.cost,
        error=record.error,
    )
    return _event(data, record.source, record.timing.completed_at or record.timing.queued_at)


def erased_event(tombstone: Recording) -> Completion:
    """The CloudEvent of an erasure: that there was a recording of this id, and is none."""
    data = CompletionData(
        recording_id=tombstone.id,
        revision=tombstone.revision,
        status=tombstone.status,
        uri=tombstone.source.uri,
        generation=tombstone.source.generation,
    )
    return _event(data, tombstone.source, tombstone.finished_at or tombstone.queued_at)


def _event(data: CompletionData, source: Source, at: datetime) -> Completion:
    return Completion(
        id=f"{data.recording_id}.r{data.revision}.{data.status.value}",
        type=f"dev.speechpipe.recording.v1.{data.status.value}",
        source=f"//storage.googleapis.com/projects/_/buckets/{source.bucket}",
        subject=f"recordings/{data.recording_id}",
        time=at,
        data=data,
    )
