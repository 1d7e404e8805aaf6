"""A worker's slots, and the waiting room in front of them.

A delivery that finds every slot in use waits here for one. Refusing it would cost more: Pub/Sub counts a 429 as a
failed delivery, pushes less to the whole subscription, and delivers that message again up to two minutes later, while
the engine may be idle (https://cloud.google.com/pubsub/docs/push#push_backoff).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable


class Slots:
    """`count` slots, and room for `room` deliveries that wait for one, in their order, each for at most `seconds`.

    Belongs to one event loop. Only `free` and `close` may be called from other threads.
    """

    def __init__(self, count: int, *, room: int, seconds: float) -> None:
        self._free, self._room, self._seconds = count, room, seconds
        self._waiting: deque[asyncio.Future[bool]] = deque()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def waiting(self) -> int:
        """How many deliveries wait for a slot."""
        return len(self._waiting)

    async def take(self) -> bool:
        """Take a slot, waiting for one if need be; False if the room is full, the wait is in vain, or after `close`."""
        self._loop = asyncio.get_running_loop()
        if self._closed:
            return False
        if self._free and not self._waiting:
            self._free -= 1
            return True
        if len(self._waiting) >= self._room:
            return False
        turn: asyncio.Future[bool] = self._loop.create_future()
        self._waiting.append(turn)
        timer = self._loop.call_later(self._seconds, _settle, turn, False)
        try:
            return await turn
        except asyncio.CancelledError:  # the server gave this request up
            if turn.done() and not turn.cancelled() and turn.result():
                self._free_one()
            raise
        finally:
            timer.cancel()
            with contextlib.suppress(ValueError):
                self._waiting.remove(turn)

    def free(self) -> None:
        """Free a slot: the delivery that has waited longest gets it."""
        self._in_loop(self._free_one)

    def close(self) -> None:
        """Send away those who wait, and everybody after them."""
        self._closed = True
        self._in_loop(lambda: [_settle(turn, False) for turn in self._waiting])

    def _free_one(self) -> None:
        while self._waiting:
            if _settle(self._waiting.popleft(), True):
                return
        self._free += 1

    def _in_loop(self, call: Callable[[], object]) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody waits any more
                self._loop.call_soon_threadsafe(call)


def _settle(turn: asyncio.Future[bool], got_it: bool) -> bool:
    """Tell a delivery whether it got a slot; False if it was told already."""
    if turn.done():
        return False
    turn.set_result(got_it)
    return True
