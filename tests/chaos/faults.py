"""Ports that fail and dawdle, messages that come more than once, and clocks that jump: all by chance, from a seed.

Each thread has its own source of chance, made of the seed, the process' number and the thread's name: the same seed
gives the same faults as far as the threads' order is the same.
"""

from __future__ import annotations

import errno
import functools
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from speechpipe.backends.ports import Backend, Bus, Results, Store, Uploads
from tests.chaos.counters import Counters

#: Of all calls: half of them raise (before their effect, or after it: a lost answer), the others take their time.
SHARE = 0.05
SLOW_SECONDS, VERY_SLOW_SECONDS, VERY_SLOW = 0.005, 1.0, 0.002
COPIES = (1, 1, 2, 3)  #: how often a message comes
#: Names that no call goes out for.
_FREE = frozenset({"uri", "backlog", "recover"})

Raise = Callable[[], Exception]
LOCAL_ERRORS: Sequence[Raise] = (
    lambda: sqlite3.OperationalError("disk I/O error"),
    lambda: sqlite3.OperationalError("database is locked"),
    lambda: OSError(errno.EIO, os.strerror(errno.EIO)),
    lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    lambda: ConnectionResetError("the connection was reset"),
)


class Faults:
    """Faults of one process; `off()` lets everything pass."""

    def __init__(self, seed: str, counters: Counters, errors: Sequence[Raise] = LOCAL_ERRORS, share: float = SHARE):
        self._seed, self._counters, self._errors, self._share = seed, counters, errors, share
        self._local = threading.local()

    @property
    def chance(self) -> random.Random:
        """The calling thread's."""
        if not hasattr(self._local, "chance"):
            self._local.chance = random.Random(f"{self._seed} {threading.current_thread().name}")
        return cast(random.Random, self._local.chance)

    def copies(self) -> int:
        """How often a message comes."""
        copies = self.chance.choice(COPIES)
        if copies > 1:
            self._counters.add("messages repeated")
        return copies

    def call(self, what: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call it, or not, or late, or for nothing."""
        chance = self.chance
        if chance.random() >= self._share:
            return method(*args, **kwargs)
        how = chance.choice(("before", "after", "slow", "slow"))
        self._counters.add(f"{what} calls {'slow' if how == 'slow' else 'failed ' + how}")
        if how == "slow":
            time.sleep(VERY_SLOW_SECONDS if chance.random() < VERY_SLOW else chance.uniform(0, SLOW_SECONDS))
        if how != "before":
            result = method(*args, **kwargs)
        if how == "slow":
            return result
        raise chance.choice(self._errors)()


class Faulty:
    """A port whose calls have faults."""

    def __init__(self, port: object, what: str, faults: Faults) -> None:
        self._port, self._what, self._faults = port, what, faults

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if name in _FREE or not callable(method):
            return method
        return functools.partial(self._faults.call, self._what, method)


class Repeating:
    """A bus that publishes each message one to three times."""

    def __init__(self, bus: Bus, faults: Faults) -> None:
        self._bus, self._faults = bus, faults

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._bus, name)

        def publish(*args: Any, **kwargs: Any) -> None:
            for _ in range(self._faults.copies()):
                method(*args, **kwargs)

        return publish


def over(backend: Backend, faults: Faults, *, repeat: bool = False) -> Backend:
    """The backend with faults in its calls; with `repeat` messages are published more than once."""
    bus = Repeating(backend.bus, faults) if repeat else backend.bus
    return replace(
        backend,
        store=cast(Store, Faulty(backend.store, "store", faults)),
        bus=cast(Bus, Faulty(bus, "bus", faults)),
        uploads=cast(Uploads, Faulty(backend.uploads, "bucket", faults)),
        results=cast(Results, Faulty(backend.results, "bucket", faults)),
    )


class JumpingClock:
    """The time, wrong by seconds, minutes or hours, for a few seconds; then wrong by something else, or right.

    With `deadline` it passes that as well, now and then.
    """

    def __init__(self, chance: random.Random, counters: Counters, deadline: timedelta | None = None) -> None:
        self._chance, self._counters, self._deadline = chance, counters, deadline
        self._offset, self._until, self._lock = timedelta(), 0.0, threading.Lock()

    def __call__(self) -> datetime:
        with self._lock:
            if time.monotonic() >= self._until:
                self._jump()
        return datetime.now(UTC) + self._offset

    def _jump(self) -> None:
        chance = self._chance
        spread = chance.choice((0.0, 0.0, 30.0, 600.0, 6 * 3600.0))
        self._offset = timedelta(seconds=chance.uniform(-spread, spread))
        self._until = time.monotonic() + chance.uniform(0.5, 4.0)
        if self._deadline and chance.random() < 0.04:
            self._offset = self._deadline * 1.5
            self._until = time.monotonic() + chance.uniform(5.0, 8.0)  # a sweep comes by
            self._counters.add("clocks past the deadline")
        if self._offset:
            self._counters.add("clocks that jumped")
