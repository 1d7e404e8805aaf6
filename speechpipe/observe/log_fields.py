"""The log fields that metrics are made of. Pure; ids, numbers and codes only, never content."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from speechpipe.contract import Analysis, Partial, Record, Recording, Task, Work


def performed(task: Task, partial: Partial, analysis: Analysis | None) -> dict[str, Any]:
    """Fields of `performed`: a stage has its partial. `analysis` is None for a Failure, whose time is not counted."""
    fields: dict[str, Any] = {
        "action": "performed",
        "recording_id": task.recording_id,
        "stage": task.stage.value,
        "attempt": partial.attempt,
        "queue_seconds": _seconds(task.queued_at, partial.started_at),
    }
    if partial.failure:
        fields["code"] = partial.failure.code.value
    if analysis is None:
        return fields
    seconds = analysis.audio.duration
    if task.part:
        fields["part"] = task.part.number
        seconds = max(0.0, seconds - task.part.start)
    fields |= {"audio_seconds": seconds, "compute_seconds": analysis.compute_seconds}
    if analysis.compute_seconds:
        fields["rtfx"] = round(seconds / analysis.compute_seconds, 3)
    if analysis.cost:
        fields["cost"] = analysis.cost.amount
    return fields | _shares(analysis.work, analysis.compute_seconds)


def gathered(partial: Partial, parts: int) -> dict[str, Any]:
    """Fields of `gathered`: the parts of a stage have become its partial."""
    return {
        "action": "gathered",
        "recording_id": partial.recording_id,
        "stage": partial.stage.value,
        "parts": parts,
    }


def _shares(work: Work | None, compute_seconds: float) -> dict[str, float]:
    """How full the engine's batches were and how long it waited; no fill where no row went through the model."""
    shares = {}
    if work and work.row_slots and work.padded_seconds:
        shares["batch_fill"] = round(work.rows / work.row_slots, 4)
        shares["row_fill"] = round(work.filled_seconds / work.padded_seconds, 4)
    if work and compute_seconds:
        shares["gpu_idle_share"] = round(max(0.0, 1 - work.engine_seconds / compute_seconds), 4)
    return shares


def announced(recording: Recording, record: Record, now: datetime) -> dict[str, Any]:
    """Fields of `announced`: a recording is final and its completion event is published.

    The turnaround of a held recording counts from its release, because nobody was working on it before that.
    """
    began = recording.source.created_at
    if recording.hold and recording.accepted_at:
        began = recording.accepted_at
    fields: dict[str, Any] = {
        "action": "announced",
        "recording_id": record.recording_id,
        "status": record.status.value,
        "turnaround_seconds": _seconds(began, now),
        "audio_seconds": record.timing.audio_seconds,
        "compute_seconds": record.timing.compute_seconds,
    }
    if record.cost and record.timing.audio_seconds:
        fields["cost"] = record.cost.amount
        fields["cost_per_audio_hour"] = round(record.cost.amount / record.timing.audio_seconds * 3600, 6)
    return fields


def _seconds(earlier: datetime, later: datetime) -> float:
    """Seconds between two times, at least 0: they may come from different clocks."""
    return round(max(0.0, (later - earlier).total_seconds()), 3)
