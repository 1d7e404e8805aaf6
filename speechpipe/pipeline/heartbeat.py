"""A sign of life: while an attempt runs, its lease is extended from a thread of its own.

Not by the engine's progress: a download, a long silence or one slow batch shows none, and a lease that runs out there
would have the work done twice. A worker that dies takes the thread with it, and its lease ends soon.
"""

from __future__ import annotations

import logging
import threading
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from speechpipe.backends.ports import Clock, Store
from speechpipe.contract import Lease
from speechpipe.contract.errors import Busy

log = logging.getLogger(__name__)

#: Extended so often during its length: two extensions may fail before it is lost.
BEATS = 3
_LAST_SECONDS = 5.0


class Heartbeat:
    """Holds a lease while the block runs; a context manager.

    `seconds` is the length of the lease. It is not extended past `until`, when whoever asked for the work has gone: an
    engine that hangs must not hold it for ever.
    """

    def __init__(self, store: Store, lease: Lease, clock: Clock, *, seconds: float, until: datetime | None) -> None:
        self.lease = lease
        self._store, self._clock, self._seconds, self._until = store, clock, seconds, until
        self._lost: Busy | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(_LAST_SECONDS)  # one that still waits for the store finds the lease released, and ends

    def check(self) -> None:
        """Raises Busy once the lease is lost: another attempt has it, and what this one makes would be in vain."""
        if self._lost:
            raise self._lost

    def _beat(self) -> None:
        while not self._ended.wait(self._seconds / BEATS):
            now = self._clock()
            until = now + timedelta(seconds=self._seconds)
            if self._until:
                until = min(until, self._until)
            if self.lease.until and until <= self.lease.until:  # as long as it may be; or the clock was set back
                continue
            try:
                self.lease = self._store.extend(self.lease, until)
            except Busy as lost:
                self._lost = lost
                return
            except Exception as error:  # the store is away: perhaps the next beat finds it
                extra = {"action": "not_extended", "recording_id": self.lease.recording_id}
                log.warning("a lease could not be extended: %s", type(error).__name__, extra=extra)
