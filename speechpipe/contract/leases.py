"""What claiming and releasing do to a lease. Pure: a store only has to swap the old lease for the new one."""

from __future__ import annotations

from datetime import datetime, timedelta

from speechpipe.contract import Attempt, Lease
from speechpipe.contract.errors import Busy

#: Longer than any lease, which is extended piece by piece.
LONGEST = timedelta(minutes=15)
#: After this many workers have died during an attempt at the same task, the task is to blame.
MOST_DEATHS = 20


def claimed(lease: Lease, *, holder: str, now: datetime, until: datetime) -> Lease:
    """Return the lease with its next attempt started. Raises Busy while another attempt holds it.

    If a worker died without ending its attempt, that attempt ends as `expired`. So does an attempt whose lease would
    run for more than twice the length of a lease: its worker's clock was ahead, and nobody should wait for that.
    """
    if lease.holder and lease.until and now < lease.until <= until + (until - now):
        raise Busy(f"{lease.stage.value} of {lease.recording_id} is already held by another attempt")
    attempts = lease.attempts
    if attempts and attempts[-1].ended_at is None:
        attempts = (*attempts[:-1], attempts[-1].model_copy(update={"ended_at": now, "outcome": "expired"}))
    attempt = Attempt(number=len(attempts) + 1, holder=holder, started_at=now)
    # Validated, not copied: validation rounds times, and stores compare what they read back with this.
    return Lease(
        recording_id=lease.recording_id,
        revision=lease.revision,
        stage=lease.stage,
        part=lease.part,
        holder=holder,
        until=until,
        attempts=(*attempts, attempt),
    )


def released(lease: Lease, *, now: datetime, outcome: str, error: str | None) -> Lease:
    """Return the lease free, with its last attempt ended."""
    last = lease.attempts[-1]
    ended = Attempt(
        number=last.number, holder=last.holder, started_at=last.started_at, ended_at=now, outcome=outcome, error=error
    )
    return lease.model_copy(update={"holder": None, "until": None, "attempts": (*lease.attempts[:-1], ended)})


def runs(lease: Lease, now: datetime) -> bool:
    """Whether an attempt holds the lease now. A lease that ends much later comes from a clock that is ahead."""
    return bool(lease.holder and lease.until and now < lease.until <= now + LONGEST)


def failures(lease: Lease) -> int:
    """How many attempts failed: those that ended in an error of their own.

    A refusal (`busy`), an interruption and a worker that died say nothing about the task, unless workers die of it time
    and again.
    """
    deaths = sum(attempt.outcome == "expired" or attempt.ended_at is None for attempt in lease.attempts)
    failed = sum(attempt.outcome == "failed" for attempt in lease.attempts)
    return failed + (deaths if deaths >= MOST_DEATHS else 0)


def holds(known: Lease, lease: Lease) -> bool:
    """Whether the attempt in `lease` still holds it: same holder, and no attempt since."""
    return known.holder == lease.holder and len(known.attempts) == len(lease.attempts)
