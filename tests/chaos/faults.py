"""Ports that fail or are slow, messages that arrive more than once, and clocks that jump: all random, from a seed.

Each thread has its own random generator, seeded with the seed, the process's number and the thread's name. The same
seed gives the same faults as long as the threads run in the same order.
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

#: The share of calls with a fault: half raise, before their effect or after it (a lost response); half are slow.
SHARE = 0.05
SLOW_SECONDS, VERY_SLOW_SECONDS, VERY_SLOW = 0.005, 1.0, 0.002
COPIES = (1, 1, 2, 3)  #: how often a message is delivered, one of these
#: Methods that make no call.
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
    """The faults of one process."""

    def __init__(self, seed: str, counters: Counters, errors: Sequence[Raise] = LOCAL_ERRORS, share: float = SHARE):
        self._seed, self._counters, self._errors, self._share = seed, counters, errors, share
        self._local = threading.local()

    @property
    def rng(self) -> random.Random:
        """The calling thread's random generator."""
        if not hasattr(self._local, "rng"):
            self._local.rng = random.Random(f"{self._seed} {threading.current_thread().name}")
        return cast(random.Random, self._local.rng)

    def copies(self) -> int:
        """How often to deliver a message."""
        copies = self.rng.choice(COPIES)
        if copies > 1:
            self._counters.add("messages repeated")
        return copies

    def call(self, what: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call the method, perhaps slowly; or raise an error before or after calling it."""
        rng = self.rng
        if rng.random() >= self._share:
            return method(*args, **kwargs)
        how = rng.choice(("before", "after", "slow", "slow"))
        self._counters.add(f"{what} calls {'slow' if how == 'slow' else 'failed ' + how}")
        if how == "slow":
            time.sleep(VERY_SLOW_SECONDS if rng.random() < VERY_SLOW else rng.uniform(0, SLOW_SECONDS))
        if how != "before":
            result = method(*args, **kwargs)
        if how == "slow":
            return result
        raise rng.choice(self._errors)()


class FaultyPort:
    """A port whose calls may have faults."""

    def __init__(self, port: object, what: str, faults: Faults) -> None:
        self._port, self._what, self._faults = port, what, faults

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if name in _FREE or not callable(method):
            return method
        return functools.partial(self._faults.call, self._what, method)


class RepeatingBus:
    """A bus that publishes each message one to three times."""

    def __init__(self, bus: Bus, faults: Faults) -> None:
        self._bus, self._faults = bus, faults

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._bus, name)

        def publish(*args: Any, **kwargs: Any) -> None:
            for _ in range(self._faults.copies()):
                method(*args, **kwargs)

        return publish


def inject(backend: Backend, faults: Faults, *, repeat: bool = False) -> Backend:
    """The backend with faults in its calls; with `repeat`, messages are published one to three times."""
    bus = RepeatingBus(backend.bus, faults) if repeat else backend.bus
    return replace(
        backend,
        store=cast(Store, FaultyPort(backend.store, "store", faults)),
        bus=cast(Bus, FaultyPort(bus, "bus", faults)),
        uploads=cast(Uploads, FaultyPort(backend.uploads, "bucket", faults)),
        results=cast(Results, FaultyPort(backend.results, "bucket", faults)),
    )


class JumpingClock:
    """A clock that is wrong by seconds, minutes or hours for a few seconds, then by another offset or by none.

    With `deadline` it sometimes jumps past that as well.
    """

    def __init__(self, rng: random.Random, counters: Counters, deadline: timedelta | None = None) -> None:
        self._rng, self._counters, self._deadline = rng, counters, deadline
        self._offset, self._until, self._lock = timedelta(), 0.0, threading.Lock()

    def __call__(self) -> datetime:
        with self._lock:
            if time.monotonic() >= self._until:
                self._jump()
        return datetime.now(UTC) + self._offset

    def _jump(self) -> None:
        rng = self._rng
        spread = rng.choice((0.0, 0.0, 30.0, 600.0, 6 * 3600.0))
        self._offset = timedelta(seconds=rng.uniform(-spread, spread))
        self._until = time.monotonic() + rng.uniform(0.5, 4.0)
        if self._deadline and rng.random() < 0.04:
            self._offset = self._deadline * 1.5
            self._until = time.monotonic() + rng.uniform(5.0, 8.0)  # long enough for a sweep
            self._counters.add("clocks past the deadline")
        if self._offset:
            self._counters.add("clocks that jumped")
