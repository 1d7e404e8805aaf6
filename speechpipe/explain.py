"""The life-story of one recording: what happened to it, when, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from speechpipe.contract import Frozen, HalfStatus, Lease, Partial, Quote, Recording, Stage, Status, Time
from speechpipe.prices import about

_ORDER = (
    "uploaded",
    "seen",
    "held",
    "released",
    "queued",
    "attempt",
    "attempt ended",
    "leased",
    "partial",
    "joined",
    "announced",
)


class Moment(Frozen):
    """One thing that happened."""

    at: Time
    what: str  #: one of _ORDER
    stage: Stage | None = None
    detail: str = ""


def life_story(
    recording: Recording, partials: Iterable[Partial], leases: Iterable[Lease], now: datetime
) -> list[Moment]:
    """Everything that the store knows of a recording, by time; at one time, causes before effects."""
    moments = [
        Moment(at=recording.source.created_at, what="uploaded", detail=_upload(recording)),
        Moment(at=recording.queued_at, what="seen", detail=_seen(recording)),
        *_hold(recording),
        *(m for stage in Stage for m in _queued(recording, stage)),
        *(m for lease in leases for m in _attempts(lease, now)),
        *(_partial(partial) for partial in partials),
    ]
    if recording.finished_at:
        detail = f"the record is there: {recording.status.value}"
        moments.append(Moment(at=recording.finished_at, what="joined", detail=detail))
    if recording.announced_at:
        detail = f"event {recording.id}.r{recording.revision}.{recording.status.value}"
        moments.append(Moment(at=recording.announced_at, what="announced", detail=detail))
    return sorted(moments, key=lambda moment: (moment.at, _ORDER.index(moment.what)))


def _upload(recording: Recording) -> str:
    source = recording.source
    return f"{source.uri}, {source.size} bytes, generation {source.generation}"


def _seen(recording: Recording) -> str:
    options = recording.options.model_dump(exclude_defaults=True)
    detail = f"recording {recording.id}"
    if recording.supersedes:
        detail += f", supersedes {recording.supersedes}"
    if options:
        detail += ", options " + ", ".join(f"{name}={value}" for name, value in options.items())
    if recording.quote:
        detail += f", {_estimate(recording.quote)}"
    if recording.accepted_at is None:  # held, so its time has not begun; or rejected
        return detail
    return f"{detail}, due by {recording.deadline_at:%Y-%m-%d %H:%M:%SZ}"


def _estimate(quote: Quote) -> str:
    length = f"{quote.audio_seconds:.1f} s of audio" + ("" if quote.exact else ", guessed from its size")
    return length + (f", {about(quote.cost)}" if quote.cost else "")


def _hold(recording: Recording) -> Iterable[Moment]:
    if recording.hold:
        yield Moment(at=recording.queued_at, what="held", detail=recording.hold.message)
        if recording.accepted_at:
            yield Moment(at=recording.accepted_at, what="released", detail="somebody let it run")


def _queued(recording: Recording, stage: Stage) -> list[Moment]:
    half = recording.halves[stage]
    if half.status == HalfStatus.SKIPPED or half.queued_at is None or recording.status is Status.HELD:
        return []
    return [Moment(at=half.queued_at, what="queued", stage=stage, detail="task published")]


def _attempts(lease: Lease, now: datetime) -> Iterable[Moment]:
    for attempt in lease.attempts:
        detail = f"attempt {attempt.number} by {attempt.holder}"
        yield Moment(at=attempt.started_at, what="attempt", stage=lease.stage, detail=detail)
        if attempt.ended_at:
            reason = f" ({attempt.error})" if attempt.error else ""
            detail = f"attempt {attempt.number} {attempt.outcome}{reason}"
            yield Moment(at=attempt.ended_at, what="attempt ended", stage=lease.stage, detail=detail)
    if lease.holder and lease.until:
        state = "holds the lease until" if lease.until > now else "let its lease run out at"
        yield Moment(
            at=lease.attempts[-1].started_at,
            what="leased",
            stage=lease.stage,
            detail=f"{lease.holder} {state} {lease.until:%Y-%m-%d %H:%M:%SZ}",
        )


def _partial(partial: Partial) -> Moment:
    if partial.failure:
        detail = f"{partial.failure.code.value}: {partial.failure.message}"
    elif partial.analysis:
        analysis = partial.analysis
        detail = f"{analysis.model.name}, {analysis.compute_seconds:.1f} s for {analysis.audio.duration:.1f} s of audio"
        if analysis.cost:
            detail += f", {about(analysis.cost)}"
    else:
        detail = f"value in {partial.analysis_uri}"
    return Moment(at=partial.finished_at, what="partial", stage=partial.stage, detail=detail)
