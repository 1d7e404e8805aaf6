"""What claiming and releasing do to a lease: pure, so that the store only has to swap one for the other."""

from __future__ import annotations

from datetime import datetime

from speechpipe.contract import Attempt, Lease
from speechpipe.contract.errors import Busy


def claimed(lease: Lease, *, holder: str, now: datetime, until: datetime) -> Lease:
    """The lease with its next attempt begun. Raises Busy while it runs.

    An attempt that nobody ended, because its worker died, ends as `expired`. So does one whose lease has more left
    than two whole ones: a clock was wrong there, and nobody shall wait until it is right.
    """
    if lease.holder and lease.until and now < lease.until <= until + (until - now):
        raise Busy(f"{lease.stage.value} of {lease.recording_id} is being worked on")
    attempts = lease.attempts
    if attempts and attempts[-1].ended_at is None:
        attempts = (*attempts[:-1], attempts[-1].model_copy(update={"ended_at": now, "outcome": "expired"}))
    attempt = Attempt(number=len(attempts) + 1, holder=holder, started_at=now)
    # Validated and not copied: the types round times, and what is read back is compared with this.
    return Lease(
        recording_id=lease.recording_id,
        revision=lease.revision,
        stage=lease.stage,
        holder=holder,
        until=until,
        attempts=(*attempts, attempt),
    )


def released(lease: Lease, *, now: datetime, outcome: str, error: str | None) -> Lease:
    """The lease free, its attempt ended."""
    last = lease.attempts[-1]
    ended = Attempt(
        number=last.number, holder=last.holder, started_at=last.started_at, ended_at=now, outcome=outcome, error=error
    )
    return lease.model_copy(update={"holder": None, "until": None, "attempts": (*lease.attempts[:-1], ended)})


def holds(known: Lease, lease: Lease) -> bool:
    """Whether the attempt in `lease` still has it: same holder, and nobody tried since."""
    return known.holder == lease.holder and len(known.attempts) == len(lease.attempts)
