"""A recording as a row of the list, in plain JSON values. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from speechpipe.contract import Half, Recording, Stage
from speechpipe.pipeline import progress


def row_of(recording: Recording, now: datetime) -> dict[str, Any]:
    """The row of one recording."""
    overall = progress.of_recording(recording, now)
    return {
        "id": recording.id,
        "revision": recording.revision,
        "name": recording.source.name,
        "status": recording.status.value,
        "queued_at": recording.queued_at.isoformat(),
        "finished_at": recording.finished_at.isoformat() if recording.finished_at else None,
        "announced": recording.announced_at is not None,
        "seconds": audio_seconds(recording),
        "estimated": _is_estimated(recording),
        "language": recording.language.code if recording.language else None,
        "emotion": recording.summary.shown_emotion if recording.summary else None,
        "preview": recording.preview or "",
        "ref": recording.options.ref or "",
        "problem": recording.error.message if recording.error else recording.hold.message if recording.hold else "",
        "share": overall.share,
        "halves": {
            stage.value: _half(recording.halves[stage], now)
            for stage in Stage
            if stage in recording.options.stages and stage in recording.halves
        },
    }


def audio_seconds(recording: Recording) -> float | None:
    """Seconds of audio as measured, else as quoted; None while neither is known."""
    return _measured_seconds(recording) or (recording.quote.audio_seconds if recording.quote else None)


def _is_estimated(recording: Recording) -> bool:
    """Whether `audio_seconds` is an estimate: nothing is measured yet, and the file does not state its length."""
    return not _measured_seconds(recording) and recording.quote is not None and not recording.quote.exact


def _measured_seconds(recording: Recording) -> float | None:
    return max((half.audio_seconds for half in recording.halves.values() if half.audio_seconds), default=None)


def _half(half: Half, now: datetime) -> dict[str, Any]:
    """One half. It has `expected_at` rather than the seconds left, so that the page can count down between updates."""
    return {
        "status": half.status.value,
        "share": progress.of_half(half, now).share,
        "expected_at": half.expected_at.isoformat() if half.expected_at else None,
        "attempts": half.attempts,
        "problem": half.error.message if half.error else "",
    }
