"""Rows of many recordings through one model, in batches: what keeps the engine full.

Rows gather while the engine works and go as soon as it is free, so that an idle service adds no waiting and a busy one
fills its batches by itself. A thread or two run the engine; recordings put their rows in from threads of their own:

    with batcher.admit(seconds, tick) as recording:          Busy when too much is in flight
        futures = [recording.submit(row) for row in rows]    waits while this recording has enough rows in the queue
        results = [recording.result(future) for future in futures]

Nothing in here knows of audio: `run` is the engine, `key` says which rows may share a batch.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, wait
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from speechpipe.contract.errors import Busy

log = logging.getLogger(__name__)

Row = TypeVar("Row")
Result = TypeVar("Result")

#: Called every so many seconds in a thread that waits; what it raises ends the waiting.
TICK_SECONDS = 0.5
#: What the batches that run when the process ends are given.
LAST_SECONDS = 5.0
#: Batches' worth of rows that one recording may have in the queue.
_BATCHES_AHEAD = 2


@dataclass
class Share:
    """A recording's part in the batches that its rows were in."""

    rows: int = 0
    seconds: float = 0.0  #: of its rows
    slots: float = 0.0  #: of a batch of 3 rows with room for 4, each row has 4/3
    engine_seconds: float = 0.0  #: of the engine's time, by the seconds of its rows among those of the batch
    padded_seconds: float = 0.0  #: each row counted as the longest of its batch


@dataclass(eq=False)
class _Waiting(Generic[Row, Result]):
    row: Row
    key: Hashable
    seconds: float
    share: Share
    future: Future[Result] = field(default_factory=Future)


class Batcher(Generic[Row, Result]):
    """The engine's queue and the threads that empty it. Every method may be called from any thread but those.

    `run` gets up to `rows_per_batch` rows of one `key` and gives a result for each, in their order; it is called for
    `at_once` batches at a time. A batch that fails is halved until the poisonous row is alone: that one's future gets
    the exception. After an out-of-memory error batches are half as large for good.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Row]], Sequence[Result]],
        *,
        key: Callable[[Row], Hashable],
        seconds: Callable[[Row], float],
        rows_per_batch: int,
        seconds_in_flight: float,
        at_once: int = 1,
    ) -> None:
        self._run, self._key, self._seconds = run, key, seconds
        self._rows_per_batch = rows_per_batch
        self._most_seconds, self._at_once = seconds_in_flight, at_once
        self._rows_ahead = max(_BATCHES_AHEAD, at_once) * rows_per_batch
        self._changed = threading.Condition()
        self._turns: deque[Submitter[Row, Result]] = (
            deque()
        )  # who has rows in the queue; the first leads the next batch
        self._running: list[_Waiting[Row, Result]] = []
        self._in_flight = 0.0
        self._closed = False
        self._running_batches = 0
        self._engine_time, self._counted_until = 0.0, time.perf_counter()
        for number in range(at_once):
            threading.Thread(target=self._work, name=f"batcher-{number}", daemon=True).start()
        atexit.register(self.close, LAST_SECONDS)  # a thread inside torch while Python goes away ends in an abort

    @property
    def rows_per_batch(self) -> int:
        """Room in a batch now: less than at first once memory ran out."""
        return self._rows_per_batch

    @contextlib.contextmanager
    def admit(self, seconds: float, tick: Callable[[], None] = lambda: None) -> Iterator[Submitter[Row, Result]]:
        """Let a recording of so many seconds in. Raises Busy if that makes more than `seconds_in_flight`.

        One that is longer by itself is let in when there is nobody else. On leaving, rows of it that have not run are
        dropped.
        """
        counted = min(seconds, self._most_seconds)
        with self._changed:
            if self._closed or self._in_flight + counted > self._most_seconds:
                raise Busy("the engine is shutting down" if self._closed else "enough audio is in flight here")
            self._in_flight += counted
        submitter = Submitter(self, tick)
        try:
            yield submitter
        finally:
            with self._changed:
                self._in_flight -= counted
                self._drop(submitter)

    def close(self, timeout: float) -> None:
        """Take no more rows, drop those that wait, and give the batches that run so many seconds to end.

        Futures of dropped rows are cancelled; rows still running then get Busy. Whoever waits for either sees Busy.
        """
        with self._changed:
            self._closed = True
            for submitter in list(self._turns):
                self._drop(submitter)
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: not self._running, timeout):
                for waiting in self._running:
                    _fail(waiting, Busy("the engine is shutting down"))

    def put(self, submitter: Submitter[Row, Result], row: Row) -> Future[Result]:
        """Queue a row of an admitted recording: `Submitter.submit`."""
        waiting: _Waiting[Row, Result] = _Waiting(row, self._key(row), self._seconds(row), submitter.share)
        while True:
            with self._changed:
                if self._changed.wait_for(
                    lambda: self._closed or len(submitter.queue) < self._rows_ahead, timeout=TICK_SECONDS
                ):
                    if self._closed:
                        raise Busy("the engine is shutting down")
                    if not submitter.queue:
                        self._turns.append(submitter)
                    submitter.queue.append(waiting)
                    self._changed.notify_all()
                    return waiting.future
            submitter.tick()

    def _drop(self, submitter: Submitter[Row, Result]) -> None:
        for waiting in submitter.queue:
            if waiting.future.cancel():
                waiting.future.set_running_or_notify_cancel()  # wakes who waits for it
        submitter.queue.clear()
        with contextlib.suppress(ValueError):
            self._turns.remove(submitter)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._turns or self._closed)
                if self._closed:
                    return
                batch = self._next_batch()
                self._running += batch
                self._changed.notify_all()  # there is room in the queue
            self._perform(batch)
            with self._changed:
                for waiting in batch:
                    self._running.remove(waiting)
                self._changed.notify_all()

    def _next_batch(self) -> list[_Waiting[Row, Result]]:
        """Take the oldest row of the recording whose turn it is, and fill up with rows of its key.

        One row a recording in turn, so that each gets its part of a full batch. A recording that has led goes to the
        end of the line: none waits for longer than there are others, whatever their rows' keys. With several batches at
        a time each takes its part of what waits: all of it in one would leave the others idle.
        """
        leader = self._turns[0]
        key = leader.queue[0].key
        offers = [iter([waiting for waiting in one.queue if waiting.key == key]) for one in self._turns]
        in_turn = [row for row in itertools.chain.from_iterable(itertools.zip_longest(*offers)) if row is not None]
        batch = in_turn[: min(self._rows_per_batch, math.ceil(len(in_turn) / self._at_once))]
        taken = set(map(id, batch))
        for one in self._turns:
            one.queue = deque(waiting for waiting in one.queue if id(waiting) not in taken)
        self._turns.rotate(-1)
        self._turns = deque(one for one in self._turns if one.queue)
        return [waiting for waiting in batch if waiting.future.set_running_or_notify_cancel()]

    def _perform(self, batch: Sequence[_Waiting[Row, Result]]) -> None:
        """Run a batch; one that fails in halves; a row that fails by itself gets the error."""
        todo = deque([batch])
        while todo:
            part = todo.popleft()
            if not part:
                continue
            # The error is gone with `_attempt`'s frame before anything runs again: its traceback holds tensors.
            if not self._attempt(part):
                half = (len(part) + 1) // 2
                todo.extendleft([part[half:], part[:half]])

    def _attempt(self, part: Sequence[_Waiting[Row, Result]]) -> bool:
        """Run rows together; False if they have to be tried in halves."""
        began = self._engine_clock(+1)
        try:
            results = self._run([waiting.row for waiting in part])
            if len(results) != len(part):
                raise RuntimeError(f"the engine gave {len(results)} results for {len(part)} rows")
        except BaseException as error:  # whatever it is, this thread has to live
            self._engine_clock(-1)
            if len(part) > 1:
                if out_of_memory(error):
                    self._rows_per_batch = min(self._rows_per_batch, (len(part) + 1) // 2)
                    log.warning("out of memory: batches of %d rows from now on", self._rows_per_batch)
                return False
            with self._changed:
                _fail(part[0], error)
            return True
        took, total = self._engine_clock(-1) - began, sum(waiting.seconds for waiting in part) or 1.0
        longest = max(waiting.seconds for waiting in part)
        with self._changed:
            for waiting, result in zip(part, results, strict=True):
                waiting.share.rows += 1
                waiting.share.seconds += waiting.seconds
                waiting.share.slots += max(1.0, self._rows_per_batch / len(part))
                waiting.share.engine_seconds += took * waiting.seconds / total
                waiting.share.padded_seconds += longest
                if not waiting.future.done():  # by `close`
                    waiting.future.set_result(result)
        return True

    def _engine_clock(self, begun: int) -> float:
        """Seconds as a batch counts them: those that run at a time share the engine, so each has its part of them.

        `begun`: 1 as a batch begins, -1 as it ends. All batches' seconds together are those in which the engine ran.
        """
        with self._changed:
            now = time.perf_counter()
            if self._running_batches:
                self._engine_time += (now - self._counted_until) / self._running_batches
            self._counted_until = now
            self._running_batches += begun
            return self._engine_time


class Submitter(Generic[Row, Result]):
    """One recording's way in, from `Batcher.admit`."""

    def __init__(self, batcher: Batcher[Row, Result], tick: Callable[[], None]) -> None:
        self._batcher = batcher
        self.tick = tick
        self.queue: deque[_Waiting[Row, Result]] = deque()  #: guarded by the batcher
        self.share = Share()  #: complete once every result is there

    def submit(self, row: Row) -> Future[Result]:
        """Put a row in, waiting for room. Raises Busy at shutdown, and what `tick` raises."""
        return self._batcher.put(self, row)

    def result(self, future: Future[Result]) -> Result:
        """Wait for a row's result. Raises what the engine raised for it, Busy at shutdown, and what `tick` raises."""
        while not future.done():
            if not wait([future], TICK_SECONDS).done:
                self.tick()
        try:
            return future.result()
        except CancelledError:
            raise Busy("the engine is shutting down") from None


def out_of_memory(error: BaseException) -> bool:
    """Whether an engine's error says so: torch's OutOfMemoryError and CTranslate2's RuntimeError both do in words."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "out of memory" in str(error).lower())


def _fail(waiting: _Waiting[Row, Result], error: BaseException) -> None:
    if not waiting.future.done():
        waiting.future.set_exception(error)
