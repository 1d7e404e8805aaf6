"""How much audio a worker takes at the same time: as much as its engine analyses in some minutes, as measured.

Recordings beyond that would share the engine and all end late, past their requests. A recording that does not fit waits
for its turn.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from speechpipe.contract.errors import Busy

#: Engine time, in seconds, that the audio in flight may need. With as long a wait it still fits a request of 590 s.
ENGINE_SECONDS = 300.0
#: Seconds of audio per second of engine time before any was measured: less than any GPU does, so that the first
#: recordings do not come too many.
ASSUMED_SPEED = 30.0
#: The assumption counts as much as this much measured engine time.
_ASSUMED_SECONDS = 10.0
#: After this much measured engine time the past counts half.
_MEMORY_SECONDS = 600.0
#: A waiting thread calls its `tick` at this interval.
_TICK_SECONDS = 0.5


class InFlight:
    """The audio in flight in a worker, and the recordings that wait to join it, in their order. Thread-safe."""

    def __init__(self, *, engine_seconds: float = ENGINE_SECONDS, speed: float = ASSUMED_SPEED) -> None:
        self._engine_seconds = engine_seconds
        self._measured_audio, self._measured_engine = speed * _ASSUMED_SECONDS, _ASSUMED_SECONDS
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._seconds = 0.0
        self._closed = False

    @property
    def limit(self) -> float:
        """How many seconds of audio may be in flight now."""
        return self._engine_seconds * self._measured_audio / self._measured_engine

    @property
    def waiting(self) -> int:
        """How many recordings wait."""
        return len(self._waiting)

    def enter(self, seconds: float, tick: Callable[[], None]) -> float:
        """Wait until a recording of this length fits, and return what it counts, for `leave`.

        One that is longer than the limit has to be alone. Raises Busy after a wait of `engine_seconds`, or at shutdown,
        and what `tick` raises.
        """
        turn, patience = object(), time.monotonic() + self._engine_seconds
        with self._changed:
            self._waiting.append(turn)
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._closed or self._fits(turn, seconds), _TICK_SECONDS)
                    if self._closed:
                        raise Busy("the engine is shutting down")
                    if self._fits(turn, seconds):
                        counted = min(seconds, self.limit)
                        self._seconds += counted
                        return counted
                if time.monotonic() > patience:
                    raise Busy("enough audio is in flight in this worker")
                tick()
        finally:
            with self._changed:
                self._waiting.remove(turn)
                self._changed.notify_all()

    def leave(self, counted: float) -> None:
        """A recording has ended."""
        with self._changed:
            self._seconds -= counted
            self._changed.notify_all()

    def measured(self, seconds: float, engine_seconds: float) -> None:
        """Learn how much of the engine's time a finished recording of this length took."""
        if not engine_seconds:  # nothing in it was worth analysing
            return
        with self._changed:
            self._measured_audio += seconds
            self._measured_engine += engine_seconds
            if self._measured_engine > _MEMORY_SECONDS:
                self._measured_audio /= 2
                self._measured_engine /= 2
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _fits(self, turn: object, seconds: float) -> bool:
        if self._waiting[0] is not turn:
            return False
        return self._seconds <= 0 or self._seconds + min(seconds, self.limit) <= self.limit
