"""What claiming does to a lease; `tests/backends/test_store.py` tests leases in stores."""

from __future__ import annotations

from datetime import timedelta

import pytest

from speechpipe.contract import Lease, Stage
from speechpipe.contract.errors import Busy
from speechpipe.contract.leases import claimed
from tests.doubles import START

LENGTH = timedelta(seconds=30)


def claim(lease: Lease, seconds: float) -> Lease:
    now = START + timedelta(seconds=seconds)
    return claimed(lease, holder="b", now=now, until=now + LENGTH)


def test_a_lease_from_a_clock_that_was_hours_ahead_can_be_claimed() -> None:
    """If its worker was killed before releasing it, the next one would be refused for hours."""
    free = Lease(recording_id="rec_a", stage=Stage.STT)
    ahead = START + timedelta(hours=3)
    held = claimed(free, holder="a", now=ahead, until=ahead + LENGTH)
    lease = claim(held, 1)
    assert lease.holder == "b"
    assert [attempt.outcome for attempt in lease.attempts] == ["expired", None]


@pytest.mark.parametrize("ahead", [0, 10, 29])
def test_a_lease_from_a_clock_that_is_a_little_ahead_is_held(ahead: float) -> None:
    free = Lease(recording_id="rec_a", stage=Stage.STT)
    now = START + timedelta(seconds=ahead)
    held = claimed(free, holder="a", now=now, until=now + LENGTH)
    with pytest.raises(Busy):
        claim(held, 0)
