"""A heartbeat: while an attempt runs, a separate thread extends its lease.

The engine's progress would not do: a download, a long silence or a slow batch makes none, and if the lease expired
then, the work would be done twice. If the worker dies, so does the thread, and the lease soon expires.
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

#: Extensions during the length of a lease: two may fail before it is lost.
BEATS = 3
_LAST_SECONDS = 5.0


class Heartbeat:
    """Holds a lease while the block runs; a context manager.

    `seconds` is the length of the lease. It is extended as long as the attempt's thread lives, also after its request
    has ended, but never past `until`, because an engine that hangs must not hold a lease for ever.
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
        self._thread.join(_LAST_SECONDS)  # if it still waits for the store, it will find the lease released, and end

    def check(self) -> None:
        """Raise Busy once the lease is lost: another attempt holds it, and this one's result would not count."""
        if self._lost:
            raise self._lost

    def _beat(self) -> None:
        while not self._ended.wait(self._seconds / BEATS):
            now = self._clock()
            until = now + timedelta(seconds=self._seconds)
            if self._until:
                until = min(until, self._until)
            if self.lease.until and until <= self.lease.until:  # at its maximum, or the clock was set back
                continue
            try:
                self.lease = self._store.extend(self.lease, until)
            except Busy as lost:
                self._lost = lost
                return
            except Exception as error:  # the store is unreachable: the next beat may get through
                extra = {"action": "not_extended", "recording_id": self.lease.recording_id}
                log.warning("a lease could not be extended: %s", type(error).__name__, extra=extra)
