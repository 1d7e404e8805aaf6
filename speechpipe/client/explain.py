"""The history of a recording: what happened to it, when and why. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from speechpipe.contract import Frozen, HalfStatus, Lease, Partial, Quote, Recording, Requeued, Stage, Status, Time
from speechpipe.contract.prices import about

_ORDER = (
    "uploaded",
    "seen",
    "held",
    "released",
    "revised",
    "queued",
    "attempt",
    "attempt ended",
    "leased",
    "partial",
    "joined",
    "erased",
    "announced",
)


class Moment(Frozen):
    """One step of a history."""

    at: Time
    what: str  #: the kind of step, one of _ORDER
    stage: Stage | None = None
    detail: str = ""


def history(recording: Recording, partials: Iterable[Partial], leases: Iterable[Lease], now: datetime) -> list[Moment]:
    """Everything the store knows about a recording, sorted by time; at the same time, causes before effects."""
    partials, leases = list(partials), list(leases)
    performed = {(lease.stage, lease.revision) for lease in leases}
    parted = {(p.stage, p.revision) for p in partials if p.part}
    late = {(p.stage, p.revision) for p in partials if p.analysis or p.analysis_uri} - performed - parted
    moments = [
        Moment(at=recording.source.created_at, what="uploaded", detail=_upload(recording)),
        Moment(at=recording.queued_at, what="seen", detail=_seen(recording)),
        *_hold(recording),
        *_revision(recording, late),
        *(m for stage in Stage for m in _queued(recording, stage)),
        *(m for lease in leases for m in _attempts(lease, now)),
        *(
            _partial(partial, late=partial.revision > 1 and (partial.stage, partial.revision) in late)
            for partial in partials
        ),
    ]
    if recording.finished_at and recording.status is Status.ERASED:
        detail = "everything except this id was erased"
        if recording.retained:
            detail = f"{detail}; the upload could not be: it stays until {recording.retained.stays_until}"
        moments.append(Moment(at=recording.finished_at, what="erased", detail=detail))
    elif recording.finished_at:
        detail = f"record written: {recording.status.value}"
        moments.append(Moment(at=recording.finished_at, what="joined", detail=detail))
    if recording.announced_at:
        detail = f"event {recording.id}.r{recording.revision}.{recording.status.value}"
        moments.append(Moment(at=recording.announced_at, what="announced", detail=detail))
    return sorted(moments, key=lambda moment: (moment.at, _ORDER.index(moment.what)))


def _upload(recording: Recording) -> str:
    source = recording.source
    if recording.status is Status.ERASED:
        return f"an object in {source.uri}, generation {source.generation}"
    return f"{source.uri}, {source.size} bytes, generation {source.generation}"


def _seen(recording: Recording) -> str:
    options = recording.options.model_dump(exclude_defaults=True)
    detail = f"recording {recording.id}"
    if recording.supersedes:
        detail += f", supersedes {recording.supersedes}"
    if recording.same_content_as:
        detail += f", same content as {recording.same_content_as}"
    if options:
        detail += ", options " + ", ".join(f"{name}={value}" for name, value in options.items())
    if recording.quote:
        detail += f", {_estimate(recording.quote)}"
    if recording.plan:
        detail += f", in {recording.plan.count} parts"
    if recording.accepted_at is None:  # it is held, so it has no deadline yet, or it was rejected
        return detail
    return f"{detail}, deadline {recording.deadline_at:%Y-%m-%d %H:%M:%SZ}"


def _estimate(quote: Quote) -> str:
    length = f"{quote.audio_seconds:.1f} s of audio" + ("" if quote.exact else " (estimated)")
    return length + (f", {about(quote.cost)}" if quote.cost else "")


def _hold(recording: Recording) -> Iterable[Moment]:
    if recording.hold:
        yield Moment(at=recording.queued_at, what="held", detail=recording.hold.message)
        if recording.accepted_at:
            yield Moment(at=recording.accepted_at, what="released", detail="released manually")


def _revision(recording: Recording, late: Collection[tuple[Stage, int]]) -> Iterable[Moment]:
    """When the current revision started, unless it is the first. The starts of earlier revisions are not stored."""
    if recording.revised_at is None:
        return
    arrived = [stage for stage in recording.rerun if (stage, recording.revision) in late]
    again = [stage for stage in recording.rerun if stage not in arrived]
    kept = [stage for stage in recording.options.stages if stage not in recording.rerun]
    parts = [
        f"{' and '.join(stages)} {what}"
        for stages, what in ((again, "rerun"), (arrived, "arrived late"), (kept, "kept"))
        if stages
    ]
    detail = f"revision {recording.revision}: {', '.join(parts)}; deadline {recording.deadline_at:%Y-%m-%d %H:%M:%SZ}"
    yield Moment(at=recording.revised_at, what="revised", detail=detail)


def _prefix(revision: int) -> str:
    """Mark the steps of later revisions than the first."""
    return f"r{revision}: " if revision > 1 else ""


def _part(number: int | None) -> str:
    """Mark the steps of one part of a long recording; parts are counted from 0, as in the names of documents."""
    return "" if number is None else f"part {number}: "


def _queued(recording: Recording, stage: Stage) -> list[Moment]:
    half = recording.halves[stage]
    if half.status == HalfStatus.SKIPPED or half.queued_at is None or recording.status is Status.HELD:
        return []
    prefix = _prefix(recording.revision) if stage in recording.rerun else ""
    again = recording.requeued.get(stage.value, Requeued())
    detail = f"{prefix}task published" + (" again: it may have been lost" if again.older_at else "")
    if again.rounds:
        times = "once" if again.rounds == 1 else f"{again.rounds} times"
        detail += f"; it used up its deliveries {times}, and no attempt had failed"
    moments = [Moment(at=half.queued_at, what="queued", stage=stage, detail=detail)]
    if again.older_at:
        moments.append(Moment(at=again.older_at, what="queued", stage=stage, detail=f"{prefix}task published"))
    return moments


def _attempts(lease: Lease, now: datetime) -> Iterable[Moment]:
    for attempt in lease.attempts:
        detail = f"{_prefix(lease.revision)}{_part(lease.part)}attempt {attempt.number} by {attempt.holder}"
        yield Moment(at=attempt.started_at, what="attempt", stage=lease.stage, detail=detail)
        if attempt.ended_at:
            reason = f" ({attempt.error})" if attempt.error else ""
            detail = f"{_prefix(lease.revision)}{_part(lease.part)}attempt {attempt.number} {attempt.outcome}{reason}"
            yield Moment(at=attempt.ended_at, what="attempt ended", stage=lease.stage, detail=detail)
    if lease.holder and lease.until:
        state = "holds the lease until" if lease.until > now else "'s lease expired at"
        space = " " if lease.until > now else ""
        who = f"{_prefix(lease.revision)}{_part(lease.part)}{lease.holder}{space}{state}"
        detail = f"{who} {lease.until:%Y-%m-%d %H:%M:%SZ}"
        yield Moment(at=lease.attempts[-1].started_at, what="leased", stage=lease.stage, detail=detail)


def _partial(partial: Partial, *, late: bool) -> Moment:
    if partial.failure:
        detail = f"{partial.failure.code.value}: {partial.failure.message}"
    elif partial.analysis:
        analysis = partial.analysis
        detail = f"{analysis.model.name}, {analysis.compute_seconds:.1f} s for {analysis.audio.duration:.1f} s of audio"
        if analysis.cost and not partial.same_content_as:
            detail += f", {about(analysis.cost)}"
    else:
        detail = f"result in {partial.analysis_uri}"
    if partial.same_content_as:
        detail = f"taken over from {partial.same_content_as}: {detail}"
    if late:
        detail += "; arrived after the stage was given up"
    detail = _prefix(partial.revision) + _part(partial.part.number if partial.part else None) + detail
    return Moment(at=partial.finished_at, what="partial", stage=partial.stage, detail=detail)
