"""How far a recording is and how long it will take: one calculation for workers, terminal, console and client. Pure.

At most once a second a worker writes the share of its half that is done, and from that, when the half will be finished.
Readers turn these into percent and time left.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from speechpipe.contract import Frozen, Half, HalfStatus, Recording, Score, Seconds

#: A smaller share than this is too little for an estimate.
LEAST_SHARE = 0.01

_ENDED = (HalfStatus.COMPLETED, HalfStatus.FAILED)


class Progress(Frozen):
    """How far something is."""

    share: Score  #: 0 to 1
    remaining_seconds: Seconds | None = None  #: None while there is nothing to estimate from


def expected_at(share: float, began: datetime, now: datetime) -> datetime | None:
    """When work will be finished at its pace so far; None while there is nothing to estimate from."""
    if share < LEAST_SHARE:
        return None
    return now + timedelta(seconds=(now - began).total_seconds() * (1 - share) / share)


def of_half(half: Half, now: datetime) -> Progress:
    """How far a half is."""
    if half.status in _ENDED:
        return Progress(share=1.0, remaining_seconds=0.0)
    if half.status is not HalfStatus.PROCESSING or half.expected_at is None:
        return Progress(share=half.progress if half.status is HalfStatus.PROCESSING else 0.0)
    return Progress(share=half.progress, remaining_seconds=max(0.0, (half.expected_at - now).total_seconds()))


def of_recording(recording: Recording, now: datetime) -> Progress:
    """How far the whole is: the mean of the halves that were asked for, and the longer of their remaining times."""
    if recording.status.is_final:
        return Progress(share=1.0, remaining_seconds=0.0)
    halves = [of_half(recording.halves[stage], now) for stage in recording.options.stages]
    left = [half.remaining_seconds for half in halves]
    known = [seconds for seconds in left if seconds is not None]
    return Progress(
        share=sum(half.share for half in halves) / len(halves),
        remaining_seconds=max(known) if len(known) == len(left) else None,
    )


def in_words(progress: Progress) -> str:
    """`42%, 12 s left` or `42%, 1:20 min left`."""
    percent = f"{progress.share:.0%}"
    if progress.remaining_seconds is None:
        return percent
    seconds = round(progress.remaining_seconds)
    left = f"{seconds} s" if seconds < 60 else f"{seconds // 60}:{seconds % 60:02} min"
    return f"{percent}, {left} left"
