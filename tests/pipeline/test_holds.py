"""Caps, quotes and releases: a recording over a cap is held, and stays held until somebody releases it."""

from __future__ import annotations

import random
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechpipe.client.explain import history
from speechpipe.contract import Recording, Stage, Status
from speechpipe.contract.errors import ErrorCode, NotFound, SettingsMissing
from speechpipe.contract.prices import preset
from speechpipe.pipeline import operations
from speechpipe.pipeline.sweep import SweepReport
from speechpipe.record.report import render_report
from speechpipe.settings import FunctionSettings, Limits, read
from tests.doubles import source
from tests.simulation import Crash, Simulation


def wav(seconds: int) -> bytes:
    """The header of a 16 kHz, 16 bit, mono file of this length."""
    size = 32000 * seconds
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", size + 36, b"WAVE", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16, b"data", size
    )


def simulation_with(limits: Limits, seconds: int = 60, **files: int) -> Simulation:
    """A simulation whose `call.wav` has this many seconds; `files` adds others by name."""
    sim = Simulation(limits=limits)
    for name, length in {"call": seconds, **files}.items():
        sim.uploads.bodies[f"{name}.wav"] = wav(length)
    return sim


def arrive(sim: Simulation, name: str = "call", **metadata: str) -> Recording:
    """Upload one recording and deliver messages until none are left."""
    upload = source(f"{name}.wav", size=44 + 32000 * 60, metadata=metadata)
    body = sim.uploads.bodies[upload.name]
    upload = upload.model_copy(update={"size": 44 + int.from_bytes(body[40:44], "little")})
    sim.arrive(upload)
    sim.settle()
    found = sim.store.recording(upload.recording_id)
    assert found is not None
    return found


def release(sim: Simulation, recording_id: str) -> Recording:
    return operations.release(recording_id, sim.world)


PRICES = preset("l4")
#: A WebM as a browser writes it, whose size `arrive` reads from its last bytes.
UNKNOWN_LENGTH = b"\x1aE\xdf\xa3".ljust(40) + struct.pack("<I", 10**6)
MINUTE_OF_BOTH = (PRICES.per_audio_hour(Stage.STT) + PRICES.per_audio_hour(Stage.SER)) / 60


# ------------------------------------------------------------------------------------------------- quotes


def test_the_header_is_not_read_without_a_cap_a_price_table_or_parts() -> None:
    sim = simulation_with(Limits(part_seconds=0))
    recording = arrive(sim)
    assert recording.status is Status.COMPLETED
    assert recording.quote is None
    assert recording.accepted_at == recording.queued_at
    assert sim.uploads.opened == 0


def test_with_a_price_table_a_recording_gets_a_quote_and_later_its_cost() -> None:
    recording = arrive(simulation_with(Limits(prices=PRICES)))
    assert recording.quote is not None
    assert recording.quote.exact
    assert recording.quote.audio_seconds == 60
    assert recording.quote.cost is not None
    assert recording.quote.cost.amount == pytest.approx(MINUTE_OF_BOTH, abs=1e-6)
    record = recording.result
    assert record is not None
    costs = [PRICES.cost(stage, 0.25) for stage in Stage]
    assert [record.halves[stage].cost for stage in Stage] == costs
    assert record.cost is not None
    assert record.cost.amount == pytest.approx(sum(cost.amount for cost in costs))


def test_the_completion_event_contains_the_cost() -> None:
    sim = simulation_with(Limits(prices=PRICES))
    recording = arrive(sim)
    assert recording.result is not None
    assert [event.data.cost for event in sim.completions()] == [recording.result.cost]


@pytest.mark.parametrize(
    ("metadata", "stt", "ser"),
    [
        ({}, 1, 1),
        ({"channels": "split"}, 2, 2),
        ({"channels": "split", "emotion": "1"}, 2, 1),
        ({"channels": "split", "emotion": "0,1,7"}, 2, 2),
    ],
)
def test_split_channels_are_quoted_separately(metadata: dict[str, str], stt: int, ser: int) -> None:
    sim = simulation_with(Limits(prices=PRICES))
    stereo = bytearray(wav(60))
    stereo[22:24], stereo[28:32], stereo[32:34] = b"\2\0", struct.pack("<I", 64000), b"\4\0"
    sim.uploads.bodies["call.wav"] = bytes(stereo)
    recording = arrive(sim, **metadata)
    assert recording.quote is not None
    assert recording.quote.audio_seconds == 30
    speed = PRICES.speed
    assert recording.quote.compute_seconds == {
        Stage.STT: round(30 * stt / speed[Stage.STT], 3),
        Stage.SER: round(30 * ser / speed[Stage.SER], 3),
    }


def test_a_quote_counts_only_the_requested_stages() -> None:
    recording = arrive(simulation_with(Limits(prices=PRICES)), emotion="off")
    assert recording.quote is not None
    assert list(recording.quote.compute_seconds) == [Stage.STT]


# --------------------------------------------------------------------------------------------------- holds


@pytest.mark.parametrize(
    ("limits", "cap", "words"),
    [
        (Limits(max_duration=59), "max_duration", ["1:00 of audio", "max_duration is 0:59"]),
        (Limits(max_cost=0.0001, prices=PRICES), "max_cost", ["0.0003 USD", "max_cost is 0.0001 USD"]),
        (Limits(max_duration_per_day=59), "max_duration_per_day", ["after 0:00 of audio accepted today"]),
        (Limits(max_cost_per_day=0.0001, prices=PRICES), "max_cost_per_day", ["max_cost_per_day is 0.0001 USD"]),
    ],
)
def test_a_recording_over_a_cap_is_held_and_nothing_runs(limits: Limits, cap: str, words: list[str]) -> None:
    sim = simulation_with(limits)
    recording = arrive(sim)
    assert recording.status is Status.HELD
    assert recording.hold is not None
    assert recording.hold.code == cap
    for word in [*words, f"speechpipe release {recording.id}"]:
        assert word in recording.hold.message
    assert recording.quote is not None
    assert recording.accepted_at is None
    assert [engine.runs for engine in sim.engines.values()] == [0, 0]
    assert sim.completions() == []


@pytest.mark.parametrize("limits", [Limits(max_duration=60), Limits(max_duration_per_day=60)])
def test_a_recording_at_exactly_the_cap_runs(limits: Limits) -> None:
    assert arrive(simulation_with(limits)).status is Status.COMPLETED


@pytest.mark.parametrize(
    "limits",
    [
        Limits(max_duration=60),
        Limits(max_duration_per_day=60),
        Limits(max_cost=0.0001, prices=PRICES),
        Limits(max_cost_per_day=0.0001, prices=PRICES),
    ],
)
def test_an_estimate_holds_nothing_by_itself(limits: Limits) -> None:
    sim = simulation_with(limits)
    sim.uploads.bodies["call.wav"] = UNKNOWN_LENGTH
    recording = arrive(sim)
    assert recording.status is Status.COMPLETED
    assert recording.quote is not None
    assert recording.quote.audio_seconds == pytest.approx(500, abs=1)
    assert not recording.quote.exact


def test_once_the_day_is_used_up_a_recording_of_unknown_length_is_held_and_its_estimate_is_called_one() -> None:
    sim = simulation_with(Limits(max_duration_per_day=60), b=10)
    sim.uploads.bodies["call.wav"] = UNKNOWN_LENGTH
    assert arrive(sim).status is Status.COMPLETED
    sim.uploads.bodies["c.wav"] = UNKNOWN_LENGTH
    recording = arrive(sim, "c")
    assert recording.hold is not None
    assert "about 8:20 of audio, which is an estimate, after 8:20 of audio accepted today" in recording.hold.message
    told = [moment.detail for moment in history(recording, [], [], sim.clock())]
    assert any("500.0 s of audio (estimated)" in detail for detail in told)


def test_daily_caps_count_only_recordings_accepted_today() -> None:
    sim = simulation_with(Limits(max_duration_per_day=150), b=60, c=60, d=20, e=100)
    assert arrive(sim).status is Status.COMPLETED
    assert arrive(sim, "b").status is Status.COMPLETED
    over = arrive(sim, "c")
    assert over.status is Status.HELD
    assert over.hold is not None
    assert "after 2:00 of audio accepted today" in over.hold.message
    assert arrive(sim, "d").status is Status.COMPLETED  # the held recording does not count
    sim.clock.pass_time(hours=12)  # until midnight
    assert arrive(sim, "e").status is Status.COMPLETED
    assert release(sim, over.id).status is Status.QUEUED  # it now counts towards today
    assert sim.store.accepted_since(sim.clock.now).audio_seconds == 160


def test_a_rejected_recording_is_neither_read_nor_held() -> None:
    sim = simulation_with(Limits(max_duration=1))
    recording = arrive(sim, language="klingon")
    assert recording.status is Status.REJECTED
    assert sim.uploads.opened == 0
    assert sim.store.accepted_since(recording.queued_at).audio_seconds == 0


def test_an_object_deleted_before_its_header_is_read_is_rejected() -> None:
    sim = simulation_with(Limits(max_duration=1))
    sim.uploads.gone.add("call.wav")
    recording = arrive(sim)
    assert recording.status is Status.REJECTED
    assert recording.error is not None
    assert recording.error.code is ErrorCode.OBJECT_GONE


def test_a_repeated_event_does_not_change_whether_a_recording_is_held() -> None:
    sim = simulation_with(Limits(max_duration=59))
    held = arrive(sim)
    sim.limits = Limits()  # a raised cap applies only to later recordings
    sim.clock.pass_time(hours=1)
    assert arrive(sim) == held
    release(sim, held.id)
    sim.limits = Limits(max_duration=59)
    sim.settle()
    assert arrive(sim).status is Status.COMPLETED
    assert [engine.runs for engine in sim.engines.values()] == [1, 1]


def test_sweep_leaves_a_held_recording_alone() -> None:
    sim = simulation_with(Limits(max_duration=59))
    held = arrive(sim)
    sim.clock.pass_time(days=30)
    assert sim.sweep() == SweepReport()
    sim.settle()
    assert sim.only() == held


# ------------------------------------------------------------------------------------------------- release


def test_a_released_recording_gets_a_full_deadline_and_retention(caplog: pytest.LogCaptureFixture) -> None:
    sim = simulation_with(Limits(max_duration=59, retention_days=30))
    held = arrive(sim)
    sim.clock.pass_time(days=20)
    caplog.set_level("INFO")
    released = release(sim, held.id)
    assert released.status is Status.QUEUED
    assert released.accepted_at == sim.clock.now
    assert released.deadline_at - sim.clock.now == held.deadline_at - held.queued_at
    assert released.expires_at is not None
    assert (released.expires_at - sim.clock.now).days == 30
    assert released.hold == held.hold
    assert sim.sweep().given_up == 0
    sim.settle()
    recording = sim.only()
    assert recording.status is Status.COMPLETED
    assert recording.announced_at is not None
    assert recording.halves[Stage.STT].queued_at == released.accepted_at
    assert len(sim.completions()) == 1
    [turnaround] = [vars(line)["turnaround_seconds"] for line in caplog.records if hasattr(line, "turnaround_seconds")]
    assert turnaround == 0  # not twenty days


def test_releasing_repeatedly_does_the_work_once() -> None:
    sim = simulation_with(Limits(max_duration=59))
    held = arrive(sim)
    for _ in range(3):
        release(sim, held.id)
    sim.settle()
    release(sim, held.id)
    sim.settle()
    assert sim.only().status is Status.COMPLETED
    assert [engine.runs for engine in sim.engines.values()] == [1, 1]
    assert len(sim.completions()) == 1


def test_releasing_a_recording_that_was_never_held_publishes_nothing() -> None:
    sim = Simulation()
    sim.arrive(source())
    sim.deliver(sim.pending()[0])
    before = sim.pending()
    assert release(sim, sim.only().id).status is Status.QUEUED
    assert sim.pending() == before
    with pytest.raises(NotFound):
        release(sim, "rec_none")


@pytest.mark.parametrize("completed_by", ["sweep", "release"])
def test_a_release_that_was_interrupted_is_completed_later(completed_by: str) -> None:
    sim = simulation_with(Limits(max_duration=59))
    held = arrive(sim)
    sim.crash_at = (sim._writes + 1, "after")
    with pytest.raises(Crash):
        release(sim, held.id)
    assert sim.crashes == 1
    assert sim.pending() == []
    if completed_by == "sweep":
        sim.clock.pass_time(hours=6)
        assert sim.sweep().republished == 2
    else:
        release(sim, held.id)
    sim.settle()
    assert sim.only().status is Status.COMPLETED


@given(
    seed=st.integers(0, 2**32),
    crashes=st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["before", "after"])), max_size=4),
)
def test_a_released_recording_completes_despite_repeats_reordering_and_crashes(
    seed: int, crashes: list[tuple[int, str]]
) -> None:
    chance = random.Random(seed)
    sim = simulation_with(Limits(max_duration=59, prices=PRICES))
    upload = source(size=44 + 32000 * 60)
    for _ in range(chance.randint(1, 3)):
        sim.arrive(upload)
    asked = released = False
    for _ in range(300):
        if sim.crash_at is None and crashes:
            count, when = crashes.pop()
            sim.crash_at = (sim._writes + 1 + count, when)
        pending = sim.pending()
        if not pending and released:
            break
        if chance.random() < 0.2 or not pending:
            with suppress(NotFound, Crash):
                asked = asked or bool(sim.store.recordings())
                release(sim, upload.recording_id)
                released = True
        else:
            sim.deliver(chance.choice(pending), acknowledge=chance.random() < 0.7)
        assert asked or not any(engine.runs for engine in sim.engines.values())
    else:
        raise AssertionError(f"never settles: {sim.pending()}")
    sim.crash_at = None
    for _ in range(3):
        sim.clock.pass_time(hours=7)
        sim.sweep()
        sim.settle()
    recording = sim.only()
    assert recording.status is Status.COMPLETED
    assert recording.announced_at is not None
    assert recording.accepted_at is not None
    assert {event.id for event in sim.completions()} == {f"{recording.id}.r1.completed"}
    assert sim.store.unfinished() == []
    assert sim.results.conflicts == []


# ------------------------------------------------------------------------------------------------ settings

PROJECT = {"GOOGLE_CLOUD_PROJECT": "p", "SPEECHPIPE_UPLOADS_BUCKET": "u", "SPEECHPIPE_RESULTS_BUCKET": "r"}


def test_caps_and_prices_are_read_from_the_environment() -> None:
    given = {"SPEECHPIPE_MAX_COST": "1.5", "SPEECHPIPE_MAX_DURATION_PER_DAY": "3600", "SPEECHPIPE_PRICES": "l4"}
    settings = read(FunctionSettings, PROJECT | given)
    assert (settings.max_cost, settings.max_duration_per_day, settings.prices) == (1.5, 3600, PRICES)


@pytest.mark.parametrize("cap", ["SPEECHPIPE_MAX_COST", "SPEECHPIPE_MAX_COST_PER_DAY"])
def test_a_cost_cap_requires_prices(cap: str) -> None:
    with pytest.raises(SettingsMissing, match=f"{cap} .*need SPEECHPIPE_PRICES|{cap} need SPEECHPIPE_PRICES"):
        read(Limits, {cap: "1"})


def test_unreadable_prices_are_reported_together_with_missing_settings() -> None:
    with pytest.raises(SettingsMissing) as raised:
        read(FunctionSettings, {"SPEECHPIPE_PRICES": "a100"})
    message = str(raised.value)
    assert "SPEECHPIPE_PRICES: given 'a100': neither a preset nor JSON; allowed: l4 or rtx-pro-6000" in message
    assert "GOOGLE_CLOUD_PROJECT" in message


# ------------------------------------------------------------------------------------ history and report


def test_the_history_shows_the_quote_the_hold_the_release_and_the_cost() -> None:
    sim = simulation_with(Limits(max_duration=59, prices=PRICES))
    held = arrive(sim)

    def explained() -> list[tuple[str, str]]:
        found = sim.only()
        return [(m.what, m.detail) for m in history(found, sim.store.partials(found.id), [], sim.clock())]

    assert [what for what, _ in explained()] == ["uploaded", "seen", "held"]
    assert "60.0 s of audio, about 0.0003 USD" in explained()[1][1]
    assert "deadline" not in explained()[1][1]
    assert held.hold is not None
    assert explained()[2][1] == held.hold.message
    sim.clock.pass_time(hours=1)
    release(sim, held.id)
    sim.settle()
    entries = explained()
    assert [what for what, _ in entries[:5]] == ["uploaded", "seen", "held", "released", "queued"]
    assert [detail for what, detail in entries if what == "partial"] == [
        "fixed, 0.2 s for 4.0 s of audio, under 0.0001 USD"
    ] * 2


def test_the_report_shows_the_cost() -> None:
    recording = arrive(simulation_with(Limits(prices=PRICES)))
    assert recording.result is not None
    assert "<dt>Compute<dd>about 0.0001 USD" in render_report(recording.result)
    assert "<dt>Compute" not in render_report(recording.result.model_copy(update={"cost": None}))
