"""Times in a recording are those of a player: late starts, holes, damage, clocks that jump."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from speechpipe.contract.errors import Rejected
from tests.workers.audio.media import RATE, decode, tone, write_audio
from tests.workers.audio.odd import begins, write_tracks
from workers.audio.timeline import MAX_GAP, Timeline

CONTAINERS = {"mkv": "libopus", "mp4": "aac", "mov": "aac", "webm": "libopus", "ts": "aac"}


def late(time: float) -> float:
    return time + 4.9


@pytest.mark.parametrize("extension", ["mkv", "mp4", "mov", "ts"])
def test_a_track_that_begins_after_the_picture_keeps_its_time(tmp_path: Path, extension: str) -> None:
    path = write_tracks(tmp_path / f"a.{extension}", [tone(3)], codec=CONTAINERS[extension], picture=9, moved=late)
    decoded = decode(path, max_seconds=60)
    assert begins(decoded.samples) == pytest.approx(4.9, abs=0.05)
    assert decoded.audio.duration == pytest.approx(7.9, abs=0.15)
    assert decoded.cautions == ()


@pytest.mark.parametrize("extension", CONTAINERS)
def test_a_hole_in_packet_times_is_silence(tmp_path: Path, extension: str) -> None:
    path = write_tracks(
        tmp_path / f"a.{extension}", [tone(6)], codec=CONTAINERS[extension],
        moved=lambda time: time + (20 if time >= 3 else 0),
    )  # fmt: skip
    decoded = decode(path, max_seconds=60)
    assert decoded.audio.duration == pytest.approx(26, abs=0.15)
    assert np.abs(decoded.samples[0, round(3.2 * RATE) : round(22.8 * RATE)]).max() < 0.01
    assert begins(decoded.samples, after=3.2) == pytest.approx(23, abs=0.08)
    if extension != "mp4" and extension != "mov":  # there the packet before the hole lasts longer
        assert [caution.code for caution in decoded.cautions] == ["silence_filled"]
        assert "at 0:0" in decoded.cautions[0].message


def test_many_small_holes_do_not_add_up(tmp_path: Path) -> None:
    """A recorder that drops a packet now and then: all words stay within 50 ms of a player's."""
    path = write_tracks(tmp_path / "a.mkv", [tone(20)], codec="pcm_s16le", moved=lambda time: time + 0.03 * (time // 1))
    assert decode(path, max_seconds=60).audio.duration == pytest.approx(20.57, abs=0.05)


def test_times_that_jitter_leave_the_sound_alone(tmp_path: Path) -> None:
    path = write_tracks(
        tmp_path / "a.mkv", [tone(5)], codec="pcm_s16le", moved=lambda time: time + 0.03 * (round(time * 1000) % 2)
    )
    assert decode(path, max_seconds=60).audio.duration == pytest.approx(5)


def test_a_clock_that_jumps_by_years_costs_nothing_and_loses_nothing(tmp_path: Path) -> None:
    path = write_tracks(
        tmp_path / "a.mkv", [tone(6)], codec="pcm_s16le", moved=lambda time: time + (1e8 if time >= 3 else 0)
    )
    decoded = decode(path, max_seconds=7200)
    assert decoded.audio.duration == pytest.approx(6, abs=0.1)
    assert [caution.code for caution in decoded.cautions] == ["time_jump"]
    assert "at 0:03" in decoded.cautions[0].message


def test_a_hole_counts_as_time(tmp_path: Path) -> None:
    path = write_tracks(
        tmp_path / "a.mkv", [tone(6)], codec="pcm_s16le", moved=lambda time: time + (50 if time >= 5 else 0)
    )
    assert decode(path, max_seconds=120).audio.duration == pytest.approx(56, abs=0.1)
    with pytest.raises(Rejected, match="at most 30 seconds"):  # a packet far into the file shows it
        decode(path, max_seconds=30)


def test_zeros_in_the_middle_of_an_mp3_keep_their_time(tmp_path: Path) -> None:
    sound = np.concatenate([tone(6), np.zeros(2 * RATE, np.float32), tone(6)])
    path = write_audio(tmp_path / "a.mp3", [sound], codec="libmp3lame", options={"b": "64000"})
    content = bytearray(path.read_bytes())
    content[3 * 8000 : 5 * 8000] = bytes(2 * 8000)
    path.write_bytes(content)
    decoded = decode(path, max_seconds=60)
    assert begins(decoded.samples, after=6.5) == pytest.approx(8, abs=0.1)
    assert decoded.audio.duration == pytest.approx(14, abs=0.15)
    (caution,) = decoded.cautions
    assert caution.code == "damaged_audio"
    assert "at 0:0" in caution.message


def test_joined_mp3s_with_a_picture_between_them_have_no_hole(tmp_path: Path) -> None:
    one = write_audio(tmp_path / "a.mp3", [tone(3)], codec="libmp3lame").read_bytes()
    tag = b"ID3\x04\0\0" + bytes((0, 4, 0, 0)) + b"APIC" + bytes(65536 - 4)
    path = tmp_path / "b.mp3"
    path.write_bytes(one + tag + one)
    assert decode(path, max_seconds=60).audio.duration == pytest.approx(6, abs=0.3)


def test_a_damaged_part_keeps_its_time(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.2, 8 * RATE).astype(np.float32)
    path = write_audio(tmp_path / "a.flac", [noise], codec="flac")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 6000] = bytes(6000)
    path.write_bytes(content)
    decoded = decode(path, max_seconds=60)
    np.testing.assert_allclose(decoded.samples[0, -RATE:], noise[-RATE:], atol=1e-3)


def test_times_that_begin_anew_continue() -> None:
    timeline = Timeline(0.0, 100)
    timeline.position = 10.0
    assert timeline.silence_before(0.0) == 0
    timeline.position += 1
    assert timeline.silence_before(1.0) == 0
    assert timeline.silence_before(3.0) == pytest.approx(2)
    assert timeline.position == pytest.approx(13)


@pytest.mark.parametrize("time", [float("nan"), float("inf"), None, -1e300])
def test_times_that_are_none_change_nothing(time: float | None) -> None:
    timeline = Timeline(0.0, 100)
    timeline.position = 5.0
    assert timeline.silence_before(time) == 0
    assert (timeline.position, timeline.filled, timeline.jumps) == (5.0, [], [])


def test_the_longest_gap_is_filled_and_a_longer_one_is_not() -> None:
    timeline = Timeline(0.0, 1e6)
    assert timeline.silence_before(MAX_GAP) == MAX_GAP
    assert timeline.silence_before(2 * MAX_GAP + 1) == 0
    assert timeline.jumps == [(MAX_GAP, MAX_GAP + 1)]
