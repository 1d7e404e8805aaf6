"""The batcher with a function as its engine. Gates instead of sleeps, so that each test chooses its schedule."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechpipe.contract.errors import Busy
from workers.batcher import Batcher
from workers.in_flight import InFlight

PATIENCE = 10.0  # seconds until a test that hangs fails


@dataclass(frozen=True)
class Row:
    name: str
    key: str = "a"
    seconds: float = 1.0


class Engine:
    """Echoes rows as `name!`, records its batches, waits at a gate in each, and fails on request."""

    def __init__(self, fail: Callable[[Sequence[Row]], BaseException | None] = lambda rows: None) -> None:
        self.batches: list[list[Row]] = []
        self.fail = fail
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def __call__(self, rows: Sequence[Row]) -> list[str]:
        self.batches.append(list(rows))
        self.entered.release()
        assert self.gate.wait(PATIENCE)
        error = self.fail(rows)
        if error is not None:
            raise error
        return [row.name + "!" for row in rows]

    @property
    def names(self) -> list[list[str]]:
        return [[row.name for row in batch] for batch in self.batches]


Make = Callable[..., Batcher[Row, str]]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[tuple[Engine, Batcher[Row, str]]] = []

    def batcher(
        engine: Engine, *, rows_per_batch: int = 4, in_flight: InFlight | None = None, parallel_batches: int = 1
    ) -> Batcher[Row, str]:
        made.append((engine, start(engine, rows_per_batch, in_flight, parallel_batches)))
        return made[-1][1]

    yield batcher
    for engine, one in made:
        engine.gate.set()
        one.close(PATIENCE)


def start(
    engine: Engine, rows_per_batch: int, in_flight: InFlight | None = None, parallel_batches: int = 1
) -> Batcher[Row, str]:
    return Batcher(
        engine,
        key=lambda row: row.key,
        seconds=lambda row: row.seconds,
        rows_per_batch=rows_per_batch,
        in_flight=in_flight,
        parallel_batches=parallel_batches,
    )


def wait_for_batch(engine: Engine) -> None:
    """Wait until the engine is inside its next batch."""
    assert engine.entered.acquire(timeout=PATIENCE)


def results(futures: Sequence[Future[str]]) -> list[str]:
    return [future.result(PATIENCE) for future in futures]


# ---------------------------------------------------------------------------------------------------------- batches


def test_a_row_runs_immediately_when_the_engine_is_idle(make: Make) -> None:
    engine = Engine()
    with make(engine).admit(1) as recording:
        assert recording.submit(Row("only")).result(PATIENCE) == "only!"  # no other row ever arrives
    assert engine.names == [["only"]]


def test_two_batches_may_run_in_parallel_and_share_the_queued_rows(make: Make) -> None:
    engine = Engine()
    engine.gate.clear()
    batcher = make(engine, parallel_batches=2)
    with batcher.admit(1) as one, batcher.admit(1) as two:
        first = one.submit(Row("1"))
        wait_for_batch(engine)
        second = two.submit(Row("2"))
        wait_for_batch(engine)
        rest = [recording.submit(Row(name)) for recording in (one, two) for name in ("3", "4", "5")]
        assert engine.names == [["1"], ["2"]]
        engine.gate.set()
        assert results([first, second, *rest]) == ["1!", "2!", *2 * ("3!", "4!", "5!")]
    assert len(engine.names[2]) == 3  # of six, although there is room for four


def test_a_shutdown_waits_for_both_batches_and_then_fails_both(make: Make) -> None:
    engine = Engine()
    engine.gate.clear()
    batcher = make(engine, parallel_batches=2)
    with batcher.admit(1) as recording:
        futures = [recording.submit(Row("1"))]
        wait_for_batch(engine)
        futures.append(recording.submit(Row("2")))
        wait_for_batch(engine)
        batcher.close(0.0)
        for future in futures:
            with pytest.raises(Busy):
                recording.result(future)


def test_rows_of_different_recordings_queue_while_the_engine_is_busy_and_share_a_batch(make: Make) -> None:
    engine = Engine()
    engine.gate.clear()
    batcher = make(engine)
    with batcher.admit(1) as one, batcher.admit(1) as two, batcher.admit(1) as three:
        first = one.submit(Row("1"))
        wait_for_batch(engine)
        rest = [two.submit(Row("2")), three.submit(Row("3")), one.submit(Row("1b"))]
        engine.gate.set()
        assert results([first, *rest]) == ["1!", "2!", "3!", "1b!"]
    assert engine.names[0] == ["1"]
    assert sorted(engine.names[1]) == ["1b", "2", "3"]


def test_rows_of_different_keys_never_share_a_batch(make: Make) -> None:
    engine = Engine()
    engine.gate.clear()
    batcher = make(engine)
    with batcher.admit(1) as one, batcher.admit(1) as two:
        futures = [one.submit(Row("0"))]
        wait_for_batch(engine)
        futures += [s.submit(Row(f"{n}", key)) for s, n, key in [(one, 1, "a"), (one, 2, "b"), (two, 3, "b")]]
        futures += [two.submit(Row("4", "a"))]
        engine.gate.set()
        results(futures)
    assert all(len({row.key for row in batch}) == 1 for batch in engine.batches)
    assert len(engine.batches) == 3


def test_a_long_recording_leaves_room_for_short_ones(make: Make) -> None:
    engine = Engine()
    engine.gate.clear()
    batcher = make(engine, rows_per_batch=4)
    with batcher.admit(50) as long, batcher.admit(2) as short:
        futures = [long.submit(Row("first"))]
        wait_for_batch(engine)
        futures += [long.submit(Row(f"long {n}")) for n in range(8)]
        late = [short.submit(Row(f"short {n}")) for n in range(2)]
        engine.gate.set()
        results([*futures, *late])
    assert sorted(engine.names[1]) == ["long 0", "long 1", "short 0", "short 1"]  # not after the eight


def test_a_rare_key_is_not_starved_by_a_common_one(make: Make) -> None:
    engine = Engine()
    engine.gate.clear()
    batcher = make(engine, rows_per_batch=1)
    with batcher.admit(9) as common, batcher.admit(1) as rare:
        futures = [common.submit(Row("first"))]
        wait_for_batch(engine)
        futures += [common.submit(Row(f"common {n}")) for n in range(2)] + [rare.submit(Row("rare", "b"))]
        engine.gate.set()
        results(futures)
    assert engine.names.index(["rare"]) <= 2


def test_a_recording_knows_its_usage_of_the_batches(make: Make) -> None:
    engine = Engine()
    engine.gate.clear()
    batcher = make(engine, rows_per_batch=4)
    with batcher.admit(1) as one, batcher.admit(1) as two:
        first = one.submit(Row("first", seconds=2))
        wait_for_batch(engine)
        rest = [one.submit(Row("1", seconds=1)), two.submit(Row("2", seconds=3))]
        engine.gate.set()
        results([first, *rest])
        assert (one.usage.rows, one.usage.slots) == (2, 4 + 2)
        assert (one.usage.seconds, one.usage.padded_seconds) == (2 + 1, 2 + 3)
        assert (two.usage.rows, two.usage.slots) == (1, 2)
        assert (two.usage.seconds, two.usage.padded_seconds) == (3, 3)
        assert 0 < two.usage.engine_seconds < one.usage.engine_seconds + two.usage.engine_seconds


def test_parallel_batches_share_the_engine_time(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    gates = {name: threading.Event() for name in ("1", "2")}
    engine = Engine()

    def wait_at_its_gate(rows: Sequence[Row]) -> None:
        assert gates[rows[0].name].wait(PATIENCE)

    engine.fail = wait_at_its_gate
    with (batcher := make(engine, parallel_batches=2)).admit(1) as one, batcher.admit(1) as two:
        first = one.submit(Row("1"))
        wait_for_batch(engine)
        now[0] += 1  # alone
        second = two.submit(Row("2"))
        wait_for_batch(engine)
        now[0] += 4  # both
        gates["1"].set()
        first.result(PATIENCE)
        now[0] += 10  # alone again
        gates["2"].set()
        second.result(PATIENCE)
        now[0] += 100  # idle
        assert (one.usage.engine_seconds, two.usage.engine_seconds) == (1 + 4 / 2, 4 / 2 + 10)


# --------------------------------------------------------------------------------------------------------- failures


def test_a_poisonous_row_fails_alone(make: Make) -> None:
    engine = Engine(lambda rows: ValueError("poison") if any("bad" in row.name for row in rows) else None)
    engine.gate.clear()
    batcher = make(engine, rows_per_batch=8)
    with batcher.admit(1) as one, batcher.admit(1) as two:
        first = one.submit(Row("first"))
        wait_for_batch(engine)
        good = [one.submit(Row(f"{n}")) for n in range(4)] + [two.submit(Row(f"{n}")) for n in range(4, 7)]
        bad = two.submit(Row("bad"))
        engine.gate.set()
        assert results([first, *good]) == ["first!", *(f"{n}!" for n in range(7))]
        with pytest.raises(ValueError, match="poison"):
            two.result(bad)
        assert one.submit(Row("later")).result(PATIENCE) == "later!"  # the thread survives
    assert batcher.rows_per_batch == 8


def test_out_of_memory_halves_the_batches_and_carries_on(make: Make) -> None:
    engine = Engine(lambda rows: RuntimeError("CUDA out of memory. Tried to allocate") if len(rows) > 2 else None)
    engine.gate.clear()
    batcher = make(engine, rows_per_batch=8)
    with batcher.admit(1) as recording:
        futures = [recording.submit(Row("first"))]
        wait_for_batch(engine)
        futures += [recording.submit(Row(f"{n}")) for n in range(8)]
        engine.gate.set()
        assert results(futures) == ["first!", *(f"{n}!" for n in range(8))]
        assert batcher.rows_per_batch == 2
        tried = len(engine.batches)
        results([recording.submit(Row(f"later {n}")) for n in range(6)])
    assert max(len(batch) for batch in engine.batches[tried:]) <= 2


def test_a_row_that_is_too_large_on_its_own_gets_the_error(make: Make) -> None:
    engine = Engine(lambda rows: MemoryError() if rows[0].name == "huge" else None)
    with make(engine).admit(1) as recording:
        with pytest.raises(MemoryError):
            recording.result(recording.submit(Row("huge")))
        assert recording.result(recording.submit(Row("small"))) == "small!"


def test_an_engine_that_loses_rows_is_an_error_and_no_row_gets_anothers_result(make: Make) -> None:
    batcher: Batcher[Row, str] = Batcher(lambda rows: [], key=lambda row: 0, seconds=lambda row: 1, rows_per_batch=4)
    with batcher.admit(1) as recording, pytest.raises(RuntimeError, match="0 results for 1 rows"):
        recording.result(recording.submit(Row("x")))
    batcher.close(PATIENCE)


# ----------------------------------------------------------------------------------------------------------- bounds


class Waiter(threading.Thread):
    """A recording that asks to be admitted, and stays until told to leave."""

    def __init__(self, batcher: Batcher[Row, str], seconds: float) -> None:
        super().__init__(daemon=True)
        self.admitted, self.leaving = threading.Event(), threading.Event()
        self.error: BaseException | None = None
        self._batcher, self._seconds = batcher, seconds
        before = batcher.in_flight.waiting
        self.start()
        until = time.monotonic() + PATIENCE
        while batcher.in_flight.waiting == before and not self.admitted.is_set() and time.monotonic() < until:
            time.sleep(0.001)

    def run(self) -> None:
        try:
            with self._batcher.admit(self._seconds):
                self.admitted.set()
                self.leaving.wait(PATIENCE)
        except BaseException as error:
            self.error = error

    def leave(self) -> None:
        self.leaving.set()
        self.join(PATIENCE)


def audio(limit: float) -> InFlight:
    """At most this much audio in flight, until a recording was measured."""
    return InFlight(engine_seconds=PATIENCE, speed=limit / PATIENCE)


def test_a_recording_that_does_not_fit_waits_until_another_leaves(make: Make) -> None:
    batcher = make(Engine(), in_flight=audio(10))
    first, second = Waiter(batcher, 5), Waiter(batcher, 5)
    assert first.admitted.wait(PATIENCE)
    assert second.admitted.wait(PATIENCE)
    third = Waiter(batcher, 0.1)
    assert batcher.in_flight.waiting == 1
    assert not third.admitted.is_set()
    first.leave()
    assert third.admitted.wait(PATIENCE)
    second.leave()
    third.leave()


def test_recordings_are_admitted_in_their_order_so_that_a_long_one_is_not_passed_for_ever(make: Make) -> None:
    batcher = make(Engine(), in_flight=audio(10))
    running = Waiter(batcher, 4)
    assert running.admitted.wait(PATIENCE)
    long = Waiter(batcher, 36_000)  # longer than the limit, so it has to be alone
    short = Waiter(batcher, 1)
    assert batcher.in_flight.waiting == 2
    running.leave()
    assert long.admitted.wait(PATIENCE)
    assert batcher.in_flight.waiting == 1
    long.leave()
    assert short.admitted.wait(PATIENCE)
    short.leave()


def test_a_recording_that_waits_in_vain_is_busy_and_shows_that_it_is_alive(make: Make) -> None:
    batcher = make(Engine(), in_flight=InFlight(engine_seconds=0.6, speed=1))
    ticks: list[int] = []
    with batcher.admit(1), pytest.raises(Busy), batcher.admit(1, lambda: ticks.append(1)):
        pass
    assert ticks
    with batcher.admit(1):  # it left no trace
        pass


def test_a_waiting_recording_is_sent_away_at_shutdown(make: Make) -> None:
    batcher = make(Engine(), in_flight=audio(10))
    with batcher.admit(10):
        waiting = Waiter(batcher, 1)
        batcher.close(PATIENCE)
        waiting.join(PATIENCE)
    assert isinstance(waiting.error, Busy)


@pytest.mark.parametrize(("took", "limit"), [(100.0, 300.0 * 600 / 110), (2.0, 300.0 * 600 / 12)])
def test_the_audio_in_flight_follows_the_measured_speed(took: float, limit: float) -> None:
    in_flight = InFlight()
    assert in_flight.limit == 9000  # an assumption that is soon outweighed
    in_flight.measured(300.0, took)
    assert in_flight.limit == pytest.approx(limit)
    for _ in range(100):
        in_flight.measured(300.0, took)
    assert in_flight.limit == pytest.approx(300.0 * 300 / took, rel=0.05)
    in_flight.measured(300.0, 0.0)  # minutes of silence say nothing about the engine
    assert in_flight.limit == pytest.approx(300.0 * 300 / took, rel=0.05)


def test_a_finished_recording_is_measured_and_a_failed_one_is_not(make: Make) -> None:
    batcher = make(Engine())
    before = batcher.in_flight.limit
    with pytest.raises(RuntimeError), batcher.admit(1000) as recording:
        raise RuntimeError(recording.result(recording.submit(Row("x"))))
    assert batcher.in_flight.limit == before
    with batcher.admit(1000) as recording:
        recording.result(recording.submit(Row("x")))
    assert batcher.in_flight.limit > before


def test_submitting_waits_for_room_and_no_row_is_lost(make: Make) -> None:
    engine = Engine()
    engine.gate.clear()
    futures: list[Future[str]] = []
    with make(engine, rows_per_batch=2).admit(100) as recording:

        def work() -> None:
            futures.extend(recording.submit(Row(str(n))) for n in range(50))

        thread = threading.Thread(target=work)
        thread.start()
        wait_for_batch(engine)
        assert len(recording.queue) <= 4  # two batches' worth, however many are to follow
        engine.gate.set()
        thread.join(PATIENCE)
        assert results(futures) == [f"{n}!" for n in range(50)]


def test_a_waiting_thread_ticks_and_an_error_from_the_tick_ends_the_wait(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.batcher.TICK_SECONDS", 0.01)
    engine = Engine()
    engine.gate.clear()
    batcher = make(engine, rows_per_batch=1)
    stopping = threading.Event()

    def tick() -> None:
        if stopping.is_set():
            raise InterruptedError

    stopping.set()
    with batcher.admit(1, tick) as recording:
        running = recording.submit(Row("running"))
        wait_for_batch(engine)
        dropped = recording.submit(Row("waiting"))
        with pytest.raises(InterruptedError):
            recording.result(running)
    assert dropped.cancelled()
    with batcher.admit(1, tick) as recording:
        recording.submit(Row("1"))
        recording.submit(Row("2"))
        with pytest.raises(InterruptedError):
            recording.submit(Row("3"))
    engine.gate.set()
    with batcher.admit(1) as recording:
        assert recording.submit(Row("next")).result(PATIENCE) == "next!"
    assert engine.names == [["running"], ["next"]]  # the dropped rows never ran


# --------------------------------------------------------------------------------------------------------- shutdown


def test_closing_lets_the_running_batch_finish_and_cancels_the_rest(make: Make) -> None:
    engine = Engine()
    engine.gate.clear()
    batcher = make(engine, rows_per_batch=1)
    with batcher.admit(1) as recording:
        running, waiting = recording.submit(Row("running")), recording.submit(Row("waiting"))
        wait_for_batch(engine)
        closing = threading.Thread(target=batcher.close, args=(PATIENCE,))
        closing.start()
        with pytest.raises(Busy):  # immediately, while the engine is still at the gate
            recording.result(waiting)
        engine.gate.set()
        closing.join(PATIENCE)
        assert not closing.is_alive()
        assert recording.result(running) == "running!"
        with pytest.raises(Busy):
            recording.submit(Row("late"))
    with pytest.raises(Busy), batcher.admit(1):
        pass
    assert engine.names == [["running"]]


def test_closing_does_not_wait_for_an_engine_that_hangs(make: Make) -> None:
    engine = Engine()
    engine.gate.clear()
    batcher = make(engine)
    with batcher.admit(1) as recording:
        stuck = recording.submit(Row("stuck"))
        wait_for_batch(engine)
        batcher.close(0.0)
        with pytest.raises(Busy):
            recording.result(stuck)


def test_closing_releases_threads_that_wait_for_room(make: Make) -> None:
    engine = Engine()
    engine.gate.clear()
    batcher = make(engine, rows_per_batch=1)
    ended = threading.Event()

    def work() -> None:
        with batcher.admit(100) as recording:
            try:
                for n in range(10):
                    recording.submit(Row(str(n)))
            except Busy:
                ended.set()

    thread = threading.Thread(target=work)
    thread.start()
    wait_for_batch(engine)
    batcher.close(0.0)
    assert ended.wait(PATIENCE)
    thread.join()


# -------------------------------------------------------------------------------------------------------- schedules


@given(
    recordings=st.lists(
        st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["good", "good", "good", "bad"])), max_size=12),
        min_size=1,
        max_size=5,
    ),
    rows_per_batch=st.integers(1, 5),
    memory=st.integers(1, 5),
)
def test_in_every_schedule_each_row_gets_its_own_result_or_its_own_error(
    recordings: list[list[tuple[str, str]]], rows_per_batch: int, memory: int
) -> None:
    def fail(rows: Sequence[Row]) -> BaseException | None:
        if len(rows) > memory:
            return RuntimeError("out of memory")
        return ValueError("bad") if any(row.name.startswith("bad") for row in rows) else None

    engine = Engine(fail)
    batcher = start(engine, rows_per_batch)
    barrier = threading.Barrier(len(recordings))
    wrong: list[object] = []

    def work(number: int, kinds: list[tuple[str, str]]) -> None:
        barrier.wait(PATIENCE)
        with batcher.admit(1) as recording:
            rows = [Row(f"{kind} {number}.{n}", key) for n, (key, kind) in enumerate(kinds)]
            futures = [recording.submit(row) for row in rows]
            for row, future in zip(rows, futures, strict=True):
                try:
                    got: object = future.result(PATIENCE)
                except ValueError as error:
                    got = str(error)
                if got != ("bad" if row.name.startswith("bad") else row.name + "!"):
                    wrong.append((row, got))

    threads = [threading.Thread(target=work, args=given) for given in enumerate(recordings)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    batcher.close(PATIENCE)
    assert wrong == []
    assert not any(thread.is_alive() for thread in threads)
    assert all(len({row.key for row in batch}) == 1 and len(batch) <= rows_per_batch for batch in engine.batches)
    done = [row.name for batch in engine.batches if fail(batch) is None for row in batch]
    assert sorted(done) == sorted(set(done))  # no row succeeds twice
