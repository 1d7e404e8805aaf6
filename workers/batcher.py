"""Batch the rows of many recordings through one model.

Rows collect while the engine is busy and run as soon as it is free, so an idle service adds no delay and a busy one
fills its batches without waiting for them. One or two threads run the engine. Each recording submits its rows from its
own thread:

    with batcher.admit(seconds, tick) as recording:          waits while too much audio is in flight (`in_flight`)
        futures = [recording.submit(row) for row in rows]    waits while this recording has enough rows in the queue
        results = [recording.result(future) for future in futures]

The batcher knows nothing about audio: `run` is the engine, and `key` says which rows may share a batch.
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
from workers.in_flight import InFlight

log = logging.getLogger(__name__)

Row = TypeVar("Row")
Result = TypeVar("Result")

#: A waiting thread calls its `tick` at this interval. An exception from it ends the wait.
TICK_SECONDS = 0.5
#: How long running batches get to finish when the process exits.
SHUTDOWN_SECONDS = 5.0
#: How many batches' worth of rows one recording may have in the queue.
_BATCHES_AHEAD = 2


@dataclass
class Usage:
    """What a recording's rows used of the batches they ran in."""

    rows: int = 0
    seconds: float = 0.0  #: the sum over its rows
    slots: float = 0.0  #: with 3 rows in a batch that has room for 4, each row counts 4/3
    engine_seconds: float = 0.0  #: of the engine's time, divided among a batch's rows in proportion to their seconds
    padded_seconds: float = 0.0  #: each row counts as long as the longest in its batch


@dataclass(eq=False)
class _QueuedRow(Generic[Row, Result]):
    row: Row
    key: Hashable
    seconds: float
    usage: Usage
    future: Future[Result] = field(default_factory=Future)


class Batcher(Generic[Row, Result]):
    """The engine's queue and the threads that empty it. Any other thread may call any method.

    `run` gets up to `rows_per_batch` rows with the same `key` and returns a result for each, in their order. Up to
    `parallel_batches` calls of it run at the same time. A failing batch is halved until the row to blame is alone, and
    only its future gets the exception. After an out-of-memory error batches stay half as large.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Row]], Sequence[Result]],
        *,
        key: Callable[[Row], Hashable],
        seconds: Callable[[Row], float],
        rows_per_batch: int,
        in_flight: InFlight | None = None,
        parallel_batches: int = 1,
    ) -> None:
        self._run, self._key, self._seconds = run, key, seconds
        self._rows_per_batch = rows_per_batch
        self.in_flight = in_flight or InFlight()
        self._parallel_batches = parallel_batches
        self._rows_ahead = max(_BATCHES_AHEAD, parallel_batches) * rows_per_batch
        self._changed = threading.Condition()
        #: The recordings with rows in the queue. The first one's oldest row decides on the next batch's key.
        self._turns: deque[Submitter[Row, Result]] = deque()
        self._running: list[_QueuedRow[Row, Result]] = []
        self._closed = False
        self._running_batches = 0
        self._engine_time, self._counted_until = 0.0, time.perf_counter()
        for number in range(parallel_batches):
            threading.Thread(target=self._run_batches, name=f"batcher-{number}", daemon=True).start()
        atexit.register(self.close, SHUTDOWN_SECONDS)  # Python aborts if it exits while a thread is inside torch

    @property
    def rows_per_batch(self) -> int:
        """The current maximum, which falls after an out-of-memory error."""
        return self._rows_per_batch

    @contextlib.contextmanager
    def admit(self, seconds: float, tick: Callable[[], None] = lambda: None) -> Iterator[Submitter[Row, Result]]:
        """Admit a recording of the given length once it fits beside the others, and measure what it takes.

        Raises Busy if it waits in vain, and at shutdown. On exit, its rows that have not run are dropped.
        """
        counted = self.in_flight.enter(seconds, tick)
        submitter = Submitter(self, tick)
        try:
            yield submitter
            self.in_flight.measured(seconds, submitter.usage.engine_seconds)
        finally:
            with self._changed:
                self._drop(submitter)
            self.in_flight.leave(counted)

    def close(self, timeout: float) -> None:
        """Accept no more rows, drop the queued ones, and wait up to `timeout` seconds for running batches.

        Futures of dropped rows are cancelled, and rows still running after the timeout get Busy. Waiting for either
        raises Busy.
        """
        self.in_flight.close()
        with self._changed:
            self._closed = True
            for submitter in list(self._turns):
                self._drop(submitter)
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: not self._running, timeout):
                for queued in self._running:
                    _fail(queued, Busy("the engine is shutting down"))

    def put(self, submitter: Submitter[Row, Result], row: Row) -> Future[Result]:
        """Queue a row of an admitted recording. Called by `Submitter.submit`."""
        queued: _QueuedRow[Row, Result] = _QueuedRow(row, self._key(row), self._seconds(row), submitter.usage)
        while True:
            with self._changed:
                if self._changed.wait_for(
                    lambda: self._closed or len(submitter.queue) < self._rows_ahead, timeout=TICK_SECONDS
                ):
                    if self._closed:
                        raise Busy("the engine is shutting down")
                    if not submitter.queue:
                        self._turns.append(submitter)
                    submitter.queue.append(queued)
                    self._changed.notify_all()
                    return queued.future
            submitter.tick()

    def _drop(self, submitter: Submitter[Row, Result]) -> None:
        for queued in submitter.queue:
            if queued.future.cancel():
                queued.future.set_running_or_notify_cancel()  # wakes the threads that wait for it
        submitter.queue.clear()
        with contextlib.suppress(ValueError):
            self._turns.remove(submitter)

    def _run_batches(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._turns or self._closed)
                if self._closed:
                    return
                batch = self._next_batch()
                self._running += batch
                self._changed.notify_all()  # there is room in the queue
            self._run_batch(batch)
            with self._changed:
                for queued in batch:
                    self._running.remove(queued)
                self._changed.notify_all()

    def _next_batch(self) -> list[_QueuedRow[Row, Result]]:
        """Take the oldest row of the recording whose turn it is, and fill the batch with rows of the same key.

        Recordings contribute one row each, round after round, so that each gets its part of a full batch. The recording
        whose turn it was then goes to the end of the line, so none waits for more turns than there are other
        recordings, whatever the keys. With parallel batches each takes only its part of the queued rows: taking all
        would leave the others idle.
        """
        key = self._turns[0].queue[0].key
        candidates = [iter([queued for queued in one.queue if queued.key == key]) for one in self._turns]
        in_turn = [row for row in itertools.chain.from_iterable(itertools.zip_longest(*candidates)) if row is not None]
        batch = in_turn[: min(self._rows_per_batch, math.ceil(len(in_turn) / self._parallel_batches))]
        taken = set(map(id, batch))
        for one in self._turns:
            one.queue = deque(queued for queued in one.queue if id(queued) not in taken)
        self._turns.rotate(-1)
        self._turns = deque(one for one in self._turns if one.queue)
        return [queued for queued in batch if queued.future.set_running_or_notify_cancel()]

    def _run_batch(self, batch: Sequence[_QueuedRow[Row, Result]]) -> None:
        """Run a batch, and if it fails its halves. A row that fails alone gets the error."""
        todo = deque([batch])
        while todo:
            part = todo.popleft()
            if not part:
                continue
            # The error holds tensors in its traceback. It goes with `_try_rows`'s frame, before anything else runs.
            if not self._try_rows(part):
                half = (len(part) + 1) // 2
                todo.extendleft([part[half:], part[:half]])

    def _try_rows(self, part: Sequence[_QueuedRow[Row, Result]]) -> bool:
        """Run rows together. False if they have to be run in halves."""
        began = self._engine_clock(+1)
        try:
            results = self._run([queued.row for queued in part])
            if len(results) != len(part):
                raise RuntimeError(f"the engine returned {len(results)} results for {len(part)} rows")
        except BaseException as error:  # whatever it is, this thread has to survive
            self._engine_clock(-1)
            if len(part) > 1:
                if out_of_memory(error):
                    self._rows_per_batch = min(self._rows_per_batch, (len(part) + 1) // 2)
                    log.warning("out of memory: at most %d rows per batch from now on", self._rows_per_batch)
                return False
            with self._changed:
                _fail(part[0], error)
            return True
        took, total = self._engine_clock(-1) - began, sum(queued.seconds for queued in part) or 1.0
        longest = max(queued.seconds for queued in part)
        with self._changed:
            for queued, result in zip(part, results, strict=True):
                queued.usage.rows += 1
                queued.usage.seconds += queued.seconds
                queued.usage.slots += max(1.0, self._rows_per_batch / len(part))
                queued.usage.engine_seconds += took * queued.seconds / total
                queued.usage.padded_seconds += longest
                if not queued.future.done():  # `close` may have failed it
                    queued.future.set_result(result)
        return True

    def _engine_clock(self, change: int) -> float:
        """Engine time in seconds, in which parallel batches share each second equally.

        `change`: 1 when a batch starts, -1 when it ends. Over all batches the differences between the two calls add up
        to the time in which the engine ran.
        """
        with self._changed:
            now = time.perf_counter()
            if self._running_batches:
                self._engine_time += (now - self._counted_until) / self._running_batches
            self._counted_until = now
            self._running_batches += change
            return self._engine_time


class Submitter(Generic[Row, Result]):
    """One recording's access to the batcher. Made by `Batcher.admit`."""

    def __init__(self, batcher: Batcher[Row, Result], tick: Callable[[], None]) -> None:
        self._batcher = batcher
        self.tick = tick
        self.queue: deque[_QueuedRow[Row, Result]] = deque()  #: guarded by the batcher
        self.usage = Usage()  #: complete when every result has arrived

    def submit(self, row: Row) -> Future[Result]:
        """Queue a row, waiting for room. Raises Busy at shutdown, and what `tick` raises."""
        return self._batcher.put(self, row)

    def result(self, future: Future[Result]) -> Result:
        """Wait for a row's result. Raises the engine's error for that row, Busy at shutdown, and what `tick` raises."""
        while not future.done():
            if not wait([future], TICK_SECONDS).done:
                self.tick()
        try:
            return future.result()
        except CancelledError:
            raise Busy("the engine is shutting down") from None


def out_of_memory(error: BaseException) -> bool:
    """Whether an engine ran out of memory. torch's OutOfMemoryError and CTranslate2's RuntimeError both say so."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "out of memory" in str(error).lower())


def _fail(queued: _QueuedRow[Row, Result], error: BaseException) -> None:
    if not queued.future.done():
        queued.future.set_exception(error)
