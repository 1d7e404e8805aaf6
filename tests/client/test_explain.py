"""The history of a recording that was run again, finished late or was erased."""

from __future__ import annotations

from speechpipe.client.explain import history
from speechpipe.contract import Stage, Status, Task
from speechpipe.contract.errors import ErrorCode
from speechpipe.pipeline import operations
from speechpipe.pipeline.give_up import end
from tests.doubles import FixedEngine, source
from tests.simulation import Simulation


def story(sim: Simulation) -> list[tuple[str, str | None, str]]:
    recording = sim.only()
    revisions = range(1, recording.revision + 1)
    leases = [sim.store.lease(recording.id, stage, number) for number in revisions for stage in Stage]
    moments = history(recording, sim.store.partials(recording.id), filter(None, leases), sim.clock())
    return [(moment.what, moment.stage, moment.detail) for moment in moments]


def test_a_rerun_keeps_the_attempts_and_partials_of_the_first_revision() -> None:
    sim = Simulation()
    sim.arrive(source())
    sim.settle()
    sim.clock.pass_time(minutes=5)
    operations.redrive(sim.only().id, [Stage.SER], sim.world)
    sim.clock.pass_time(minutes=1)
    sim.settle()
    told = story(sim)
    ser = [(what, detail) for what, stage, detail in told if stage is Stage.SER]
    assert ser == [
        ("attempt", "attempt 1 by worker"),
        ("attempt ended", "attempt 1 done"),
        ("partial", "fixed, 0.2 s for 4.0 s of audio"),
        ("queued", "r2: task published"),
        ("attempt", "r2: attempt 1 by worker"),
        ("attempt ended", "r2: attempt 1 done"),
        ("partial", "r2: fixed, 0.2 s for 4.0 s of audio"),
    ]
    (revised,) = (detail for what, _, detail in told if what == "revised")
    assert revised.startswith("revision 2: ser rerun, stt kept; deadline ")
    assert told[-1] == ("announced", None, f"event {sim.only().id}.r2.completed")


def test_a_result_that_arrived_late_is_marked() -> None:
    sim = Simulation()
    sim.arrive(source())
    sim.deliver(sim.pending()[0])
    task = next(Task.model_validate_json(body) for _, topic, body in sim.pending() if topic == "stt-tasks")

    class TooSlow(FixedEngine):
        def __call__(self, path, options, progress, part=None):  # type: ignore[no-untyped-def]
            end(task, sim.world, code=ErrorCode.TIMEOUT, reason="too late")
            return super().__call__(path, options, progress)

    sim.engines[Stage.STT] = TooSlow(Stage.STT)
    sim.settle()
    assert sim.only().status is Status.COMPLETED
    told = [(what, detail) for what, stage, detail in story(sim) if stage in (None, Stage.STT)]
    assert any(what == "partial" and detail.startswith("timeout: ") for what, detail in told)
    (late,) = (detail for what, detail in told if what == "partial" and detail.startswith("r2: "))
    assert late.endswith("; arrived after the stage was given up")
    (revised,) = (detail for what, detail in told if what == "revised")
    assert revised.startswith("revision 2: stt arrived late, ser kept")


def test_an_erased_recording_has_only_its_end() -> None:
    sim = Simulation()
    sim.arrive(source("secret.wav"))
    sim.settle()
    operations.erase(sim.only().id, sim.world, upload=False)
    told = story(sim)
    assert {what for what, _, _ in told} == {"uploaded", "seen", "erased", "announced"}
    assert "secret" not in str(told)
