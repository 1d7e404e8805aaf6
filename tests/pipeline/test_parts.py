"""Long recordings in parts: the same record as in one piece, whatever happens to the parts."""

from __future__ import annotations

import json
import random
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from speechpipe.backends.ports import Progress
from speechpipe.client.explain import history
from speechpipe.contract import (
    Analysis,
    Audio,
    Caution,
    Emotions,
    Language,
    LanguageSeconds,
    Model,
    Options,
    Part,
    Source,
    Stage,
    Status,
    Task,
    Transcript,
    Waveform,
)
from speechpipe.contract.errors import ErrorCode, Rejected
from speechpipe.pipeline.give_up import give_up
from speechpipe.pipeline.operations import erase, redrive, to_run_again
from speechpipe.settings import Limits
from tests.doubles import VOCABULARY, segment, source, window
from tests.simulation import Simulation

SECONDS, PART_SECONDS = 6000, 600
LIMITS = Limits(SPEECHPIPE_PART_SECONDS=PART_SECONDS, SPEECHPIPE_PARTS_IN_FLIGHT=3)


class LongEngine:
    """Hears a segment and a window every ten seconds; counts the runs of each part."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.runs: Counter[int | None] = Counter()
        self.broken: set[int | None] = set()
        self.rejected: set[int | None] = set()

    def __call__(self, path: Path, options: Options, progress: Progress, part: Part | None = None) -> Analysis:
        number = part.number if part else None
        self.runs[number] += 1
        if number in self.broken:
            raise RuntimeError("it never works")
        if number in self.rejected:
            raise Rejected(ErrorCode.DECODE_FAILED, "damaged here")
        progress(0.5)
        start, end = (part.start, part.end or SECONDS) if part else (0, SECONDS)
        tens = range(-(-round(start) // 10) * 10, round(end), 10)
        peaks = tuple(at % 250 for at in tens)
        return Analysis(
            value=self._value(tens),
            audio=Audio(
                duration=end, channels=1, sample_rate=16000, sha256="0" * 64, waveforms=(Waveform(peaks=peaks),)
            ),
            model=Model(name="long", revision="1", engine="test 1"),
            compute_seconds=len(tens) / 10,
            cautions=(Caution(code="always", message="said by every part"),),
        )

    def _value(self, tens: range) -> Transcript | Emotions:
        if self.stage is Stage.SER:
            tops = ("neutral", "anger")
            return Emotions(
                vocabulary=VOCABULARY,
                windows=tuple(window(at, at + 4.5, tops[at // 1000 % 2]) for at in tens),
            )
        return Transcript(
            language=Language(code="en", confidence=0.9),
            languages=(LanguageSeconds(code="en", seconds=4.0 * len(tens)),),
            segments=tuple(segment(at, at + 4.0, f"this is second {at}", n) for n, at in enumerate(tens)),
            speech_seconds=4.0 * len(tens),
        )


def wav(seconds: float) -> tuple[bytes, int]:
    """The header of a WAV of that length, and the size of the whole file."""
    data = round(seconds * 32_000)
    header = (
        b"RIFF" + struct.pack("<I", 36 + data) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
    )
    return header + b"data" + struct.pack("<I", data), 44 + data


def long_recording(sim: Simulation, seconds: float = SECONDS, **metadata: str) -> Source:
    body, size = wav(seconds)
    sim.uploads.bodies["long.wav"] = body
    return source("long.wav", size=size, metadata=metadata)


def simulation(**settings: object) -> Simulation:
    sim = Simulation(limits=LIMITS.model_copy(update=settings))
    sim.engines = {stage: LongEngine(stage) for stage in Stage}
    return sim


def record_of(sim: Simulation) -> dict[str, Any]:
    recording = sim.only()
    assert recording.artifacts
    body: dict[str, Any] = json.loads(sim.results.read(recording.artifacts.record))
    body.pop("timing")
    for half in body["halves"].values():
        for moving in ("attempts", "queued_at", "started_at", "finished_at"):
            half.pop(moving)
    return body


def settled(sim: Simulation) -> Simulation:
    sim.settle()
    return sim


def in_one_piece() -> Simulation:
    sim = simulation(part_seconds=0.0)
    sim.arrive(long_recording(sim))
    return settled(sim)


def tasks(sim: Simulation, stage: Stage = Stage.STT) -> list[Task]:
    return [Task.model_validate_json(body) for _, topic, body in sim.pending() if topic == f"{stage.value}-tasks"]


# ---------------------------------------------------------------------------------------------- undisturbed


def test_a_long_recording_in_parts_gives_the_record_that_it_gives_in_one_piece() -> None:
    sim = simulation()
    sim.arrive(long_recording(sim))
    sim.settle()
    assert sim.only().status is Status.COMPLETED
    for engine in sim.engines.values():
        assert engine.runs == {number: 1 for number in range(10)}
    whole, parts = record_of(in_one_piece()), record_of(sim)
    for record in (whole, parts):  # as many peaks, but a part's end may share one with its neighbour
        assert len(record["audio"].pop("waveforms")[0]["peaks"]) >= 600
    assert parts == whole
    assert len(sim.completions()) == 1


def test_a_recording_of_at_most_a_part_and_a_half_stays_in_one_piece() -> None:
    sim = simulation()
    sim.arrive(long_recording(sim, seconds=890))
    sim.deliver(sim.pending()[0])
    assert [task.part for task in tasks(sim)] == [None]
    assert sim.only().plan is None


def test_no_more_parts_than_allowed_are_in_the_queue_at_a_time() -> None:
    sim = simulation()
    sim.arrive(long_recording(sim))
    sim.deliver(sim.pending()[0])
    most = 0
    while sim.pending():
        most = max(most, len(tasks(sim)))
        sim.deliver(random.Random(most).choice(sim.pending()))
    assert most == 3
    assert sim.only().status is Status.COMPLETED


def test_parts_cover_the_recording_without_gap_or_overlap() -> None:
    sim = simulation()
    sim.arrive(long_recording(sim, seconds=6123.4567))
    sim.settle()
    plan = sim.only().plan
    assert plan
    assert plan.parts[0].start == 0
    assert plan.parts[-1].end is None
    assert all(one.end == other.start for one, other in zip(plan.parts, plan.parts[1:], strict=False))
    assert {part.count for part in plan.parts} == {10}


def test_a_length_that_no_header_tells_is_found_by_the_first_attempt() -> None:
    sim = simulation()
    sim.length = lambda path: float(SECONDS)
    sim.arrive(source("stream.webm" + "x" * 400_000, size=19_200_000))  # its content is its name
    sim.settle()
    assert sim.only().status is Status.COMPLETED
    for engine in sim.engines.values():
        assert engine.runs == {number: 1 for number in range(10)}
    assert sim.only().plan is not None


def test_progress_is_that_of_all_parts() -> None:
    sim = simulation()
    sim.arrive(long_recording(sim))
    sim.deliver(sim.pending()[0])
    shares = []
    for message in [m for _ in range(12) for m in sim.pending()[-1:] if m[1] == "ser-tasks"]:
        sim.deliver(message)
        shares.append(sim.only().halves[Stage.SER].progress)
    assert shares
    assert shares == sorted(shares)


# ------------------------------------------------------------------------------------------------ disturbed


@pytest.mark.parametrize("seed", range(8))
def test_parts_in_any_order_delivered_any_number_of_times_give_the_same_record(seed: int) -> None:
    chance, sim = random.Random(seed), simulation()
    sim.arrive(long_recording(sim))
    while messages := sim.pending():
        sim.deliver(chance.choice(messages), acknowledge=chance.random() < 0.6)
    expected = simulation()
    expected.arrive(long_recording(expected))
    expected.settle()
    assert record_of(sim) == record_of(expected)
    assert sim.results.conflicts == []
    for engine in sim.engines.values():
        assert set(engine.runs) == set(range(10))
        assert max(engine.runs.values()) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_at_any_write_loses_no_part_and_repeats_at_most_the_one_in_hand(when: str) -> None:
    writes = 0
    while True:
        sim = Simulation(crash_at=(writes, when), limits=LIMITS)
        sim.engines = {stage: LongEngine(stage) for stage in Stage}
        sim.arrive(long_recording(sim, seconds=1800, emotion="off"))
        for _ in range(40):
            for message in sim.pending():
                sim.deliver(message)
            if not sim.pending():
                if sim.only().announced_at:
                    break
                sim.clock.pass_time(minutes=20)
                sim.sweep()
        recording = sim.only()
        assert recording.status is Status.COMPLETED, f"write {writes}"
        assert sum(sim.engines[Stage.STT].runs.values()) <= 3 + 1
        assert sim.results.conflicts == []
        if not sim.crashes:
            assert writes > 20
            return
        writes += 1


def test_lost_tasks_of_parts_are_published_again_by_the_sweep() -> None:
    sim = simulation()
    sim.arrive(long_recording(sim))
    sim.deliver(sim.pending()[0])
    sim.lose_messages()
    sim.clock.pass_time(hours=7)
    assert sim.sweep().republished == 6  # three of each stage
    sim.settle()
    assert sim.only().status is Status.COMPLETED


def test_a_part_that_fails_for_good_leaves_the_rest_and_only_it_runs_again() -> None:
    sim = simulation()
    sim.engines[Stage.STT].broken = {4}
    sim.arrive(long_recording(sim))
    for _ in range(12):
        for message in sim.pending():
            try:
                sim.deliver(message)
            except RuntimeError:
                continue
    (dead,) = tasks(sim)
    assert dead.part
    assert dead.part.number == 4
    give_up(dead, sim.world)
    with sim.database.write() as connection:
        connection.execute("DELETE FROM messages WHERE body = ?", (dead.model_dump_json(),))
    sim.settle()
    recording = sim.only()
    assert recording.status is Status.PARTIAL
    error = recording.halves[Stage.STT].error
    assert error is not None
    assert error.message.startswith("missing: 40:00 to 50:00")
    assert recording.error == error
    record = record_of(sim)
    (report,) = (body for uri, body in sim.results.objects.items() if uri.endswith("report.html"))
    assert b"Parts of the transcript are missing.</b> missing: 40:00 to 50:00" in report
    texts = [s["text"] for s in record["segments"]]
    assert "this is second 2390" in texts
    assert "this is second 2400" not in texts
    assert "this is second 3000" in texts
    assert to_run_again(recording) == (Stage.STT,)
    sim.engines[Stage.STT].broken = set()
    before = Counter(sim.engines[Stage.STT].runs)
    redrive(recording.id, to_run_again(recording), sim.world)
    sim.settle()
    assert sim.engines[Stage.STT].runs - before == {4: 1}
    assert sim.only().status is Status.COMPLETED
    assert record_of(sim)["segments"] == record_of(in_one_piece())["segments"]


def test_a_stage_all_of_whose_parts_fail_has_failed() -> None:
    sim = simulation()
    sim.engines[Stage.STT].rejected = set(range(10))
    sim.arrive(long_recording(sim))
    sim.settle()
    recording = sim.only()
    assert recording.status is Status.PARTIAL
    error = recording.halves[Stage.STT].error
    assert error is not None
    assert error.message == "damaged here"


def test_after_the_deadline_the_missing_parts_are_named() -> None:
    sim = simulation()
    sim.arrive(long_recording(sim))
    for _ in range(2):
        for message in sim.pending():
            sim.deliver(message)
    sim.lose_messages()
    sim.clock.pass_time(days=2)
    sim.sweep()
    sim.settle()
    recording = sim.only()
    assert recording.status is Status.PARTIAL
    error = recording.halves[Stage.STT].error
    assert error is not None
    assert error.code is ErrorCode.TIMEOUT
    assert "missing:" in error.message


def test_erasing_deletes_the_parts() -> None:
    sim = simulation()
    sim.arrive(long_recording(sim))
    for _ in range(2):
        for message in sim.pending():
            sim.deliver(message)
    recording = sim.only()
    assert sim.store.part_numbers(recording.id, Stage.STT, 1)
    erase(recording.id, sim.world, upload=True)
    sim.settle()
    assert not sim.store.part_numbers(recording.id, Stage.STT, 1)
    assert sim.only().status is Status.ERASED
    assert sim.results.objects == {}


def test_the_history_names_the_parts() -> None:
    sim = simulation()
    sim.arrive(long_recording(sim, seconds=1800, emotion="off"))
    sim.settle()
    recording = sim.only()
    partials = [*sim.store.partials(recording.id), *sim.store.parts(recording.id, Stage.STT, 1)]
    leases = [sim.store.lease(recording.id, Stage.STT, 1, number) for number in range(3)]
    moments = history(recording, partials, [lease for lease in leases if lease], sim.clock())
    details = [moment.detail for moment in moments]
    assert any("in 3 parts" in detail for detail in details)
    for number in range(3):
        assert f"part {number}: attempt 1 by worker" in details
        assert f"part {number}: attempt 1 done" in details
    told = [moment.detail.partition(":")[0] for moment in moments if moment.what == "partial"]
    assert sorted(told)[:3] == ["part 0", "part 1", "part 2"]
    assert not any("late" in detail for detail in details)
