"""Eventarc repeats an event after ten seconds, while a long join still runs: the copies do no harm.

The deployment raises that deadline, but a join must not depend on it (`docs/decisions/0027-no-upload-is-missed.md`).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from speechpipe.contract import Analysis, Options, Record, Stage, Status, Value
from speechpipe.pipeline.join import join
from tests.doubles import AUDIO, EMOTIONS, TRANSCRIPT, FixedEngine, segment, source, window
from tests.simulation import CrashingPort, Simulation

TEN_HOURS = 36_000.0


class Interrupting:
    """A port that does something else before one of its writes."""

    def __init__(self, port: object, before: dict[int, Any], written: list[str]) -> None:
        self._port, self._before, self._written = port, before, written

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if name in CrashingPort.READS:
            return method

        def write(*args: Any, **kwargs: Any) -> Any:
            number = len(self._written)
            self._written.append(name)
            self._before.pop(number, lambda: None)()
            return method(*args, **kwargs)

        return write


def both_halves(sim: Simulation) -> str:
    """Let both workers finish, and drop the events, so that nothing is joined yet. Returns the recording's id."""
    sim.arrive(source())
    while messages := [message for message in sim.pending() if message[1] != "partial-created"]:
        for message in messages:
            sim.deliver(message)
    return sim.only().id


def joined_with_copies(before: int, copy_before: int) -> tuple[Simulation, list[str]]:
    """Join, and at one write run a whole copy of it, which another whole copy interrupts in the same way."""
    sim = Simulation()
    recording_id = both_halves(sim)
    written: list[str] = []

    def attempt(interruptions: dict[int, Any], writes: list[str]) -> None:
        ports: dict[str, Any] = {
            name: Interrupting(getattr(sim, name), interruptions, writes) for name in ("store", "bus", "results")
        }
        join(recording_id, 1, replace(sim.world, **ports))

    def copy() -> None:
        attempt({copy_before: lambda: attempt({}, [])}, [])

    attempt({before: copy}, written)
    return sim, written


UNDISTURBED, WRITES = joined_with_copies(-1, -1)


@pytest.mark.parametrize("copy_before", [-1, 0, len(WRITES) // 2, len(WRITES) - 1])
@pytest.mark.parametrize("before", range(len(WRITES)))
def test_a_copy_in_the_middle_of_a_join_changes_nothing(before: int, copy_before: int) -> None:
    sim, _ = joined_with_copies(before, copy_before)
    assert sim.results.objects == UNDISTURBED.results.objects
    assert sim.results.conflicts == []
    assert (sim.only().status, sim.only().result) == (Status.COMPLETED, UNDISTURBED.only().result)
    assert sim.only().announced_at is not None
    assert {event.model_dump_json() for event in sim.completions()} == {
        event.model_dump_json() for event in UNDISTURBED.completions()
    }


class LongEngine(FixedEngine):
    """An engine whose analysis is of ten hours."""

    def __init__(self, stage: Stage, value: Value) -> None:
        super().__init__(stage)
        self.value = value

    def __call__(self, path: Path, options: Options, progress: Any, part: Any = None) -> Analysis:
        audio = AUDIO.model_copy(update={"duration": TEN_HOURS})
        return super().__call__(path, options, progress).model_copy(update={"value": self.value, "audio": audio})


@pytest.mark.slow
def test_three_deliveries_of_a_ten_hour_record_at_the_same_time_make_one_record(tmp_path: Path) -> None:
    sim = Simulation(file=tmp_path / "state.sqlite3")
    said = tuple(segment(5.0 * n, 5.0 * n + 4.5, f"one two three four five six {n}", n) for n in range(7200))
    how = tuple(window(2.0 * n, 2.0 * n + 2.0, "anger" if n // 40 % 2 else "neutral") for n in range(18_000))
    sim.engines[Stage.STT] = LongEngine(Stage.STT, TRANSCRIPT.model_copy(update={"segments": said}))
    sim.engines[Stage.SER] = LongEngine(Stage.SER, EMOTIONS.model_copy(update={"windows": how}))
    recording_id = both_halves(sim)
    together = Barrier(3)

    def deliver(_: int) -> None:
        together.wait()
        join(recording_id, 1, sim.world)

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(deliver, range(3)))
    assert sim.results.conflicts == []
    found = sim.only()
    assert found.status is Status.COMPLETED
    assert found.announced_at is not None
    assert found.artifacts is not None
    assert len(Record.model_validate_json(sim.results.read(found.artifacts.record)).segments) == 7200
    assert len({event.model_dump_json() for event in sim.completions()}) == 1
