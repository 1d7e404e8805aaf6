"""Documents, partials, tasks and events that follow from a recording. Pure: the same input gives the same output."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from speechpipe.backends.ports import Results
from speechpipe.contract import (
    RESULT_INLINE_BYTES,
    Completion,
    CompletionData,
    Failure,
    Half,
    HalfStatus,
    Part,
    Partial,
    Record,
    Recording,
    Retained,
    Source,
    Stage,
    Status,
    Task,
)

PREVIEW_CHARACTERS = 200
#: Turning points in a recording's document, which may have 1 MiB in all; a call of 12 hours can have twenty thousand.
MOST_TURNING_POINTS = 200
#: In a completion event, which stays under 20 kB.
MOST_TURNING_POINTS_ANNOUNCED = 50


def task_of(recording: Recording, stage: Stage, at: datetime, part: Part | None = None) -> Task:
    """The message that tells a stage's worker what to do."""
    return Task(
        recording_id=recording.id,
        revision=recording.revision,
        stage=stage,
        part=part,
        source=recording.source,
        options=recording.options,
        queued_at=at,
    )


def failed(task: Task, failure: Failure, *, attempt: int, at: datetime) -> Partial:
    """The partial of a stage, or of a part of one, that has no value."""
    return Partial(
        recording_id=task.recording_id,
        revision=task.revision,
        stage=task.stage,
        part=task.part,
        attempt=attempt,
        started_at=at,
        finished_at=at,
        failure=failure,
    )


def finished(recording: Recording, record: Record) -> Recording:
    """The recording's document with everything that follows from the record."""
    inline = len(record.model_dump_json().encode()) <= RESULT_INLINE_BYTES
    return recording.model_copy(
        update={
            "status": record.status,
            "halves": record.halves,
            "same_content_as": record.same_content_as,
            "finished_at": record.timing.completed_at,
            "result": record if inline else None,
            "preview": record.text[:PREVIEW_CHARACTERS],
            "language": record.language,
            "summary": record.summary.shortened(MOST_TURNING_POINTS),
            "artifacts": record.artifacts,
            "warnings": record.warnings,
            "error": record.error,
        }
    )


def revised(
    recording: Recording, stages: Iterable[Stage], now: datetime, results: Results, *, revision: int | None = None
) -> Recording:
    """The recording at the start of a later revision, by default the next one, with a deadline as far away.

    These stages run again; those that its options no longer ask for are skipped.
    """
    again = tuple(stage for stage in Stage if stage in stages)
    allowed = recording.deadline_at - (recording.revised_at or recording.accepted_at or recording.queued_at)
    revision = revision or recording.revision + 1
    skipped = {stage: Half(status=HalfStatus.SKIPPED) for stage in Stage if stage not in recording.options.stages}
    return recording.model_copy(
        update={
            "revision": revision,
            "rerun": again,
            "completes": (),
            "revised_at": now,
            "status": Status.QUEUED,
            "results_uri": results.uri(f"{recording.id}/r{revision}"),
            "deadline_at": now + allowed,
            "requeued": {},
            "halves": recording.halves
            | {stage: Half(status=HalfStatus.QUEUED, queued_at=now) for stage in again}
            | skipped,
            "same_content_as": None,
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


def tombstone(recording: Recording, retained: Retained | None, now: datetime) -> Recording:
    """What stays of an erased recording: its id, when it was erased, and what kept its object from being deleted."""
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
        expires_at=None if retained else recording.expires_at,  # it outlives the object, which a backfill would find
        halves={stage: Half(status=HalfStatus.SKIPPED) for stage in Stage},
        finished_at=now,
        retained=retained,
    )


def completion_event(record: Record) -> Completion:
    """The CloudEvent that announces an outcome. Everything in it follows from the record, so repeats are equal."""
    data = CompletionData(
        recording_id=record.recording_id,
        revision=record.revision,
        status=record.status,
        uri=record.source.uri,
        generation=record.source.generation,
        ref=record.options.ref,
        same_content_as=record.same_content_as,
        summary=record.summary.shortened(MOST_TURNING_POINTS_ANNOUNCED),
        artifacts=record.artifacts,
        cost=record.cost,
        error=record.error,
    )
    return _event(data, record.source, record.timing.completed_at or record.timing.queued_at)


def erased_event(tombstone: Recording) -> Completion:
    """The CloudEvent that announces an erasure: the recording with this id is gone."""
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
