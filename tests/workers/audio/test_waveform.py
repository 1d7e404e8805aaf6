from __future__ import annotations

import math
import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechpipe.contract import WAVEFORM_PEAKS
from tests.workers.audio.media import decode, tone, write_audio
from workers.audio.waveform import WaveformBuilder


def waveforms(samples: npt.NDArray[np.int16], cuts: list[int]) -> list[tuple[int, ...]]:
    builder = WaveformBuilder()
    for block in np.split(samples, sorted(cuts), axis=1):
        builder.add(block)
    return [waveform.peaks for waveform in builder.waveforms()]


def level(magnitude: float) -> int:
    return round(255 * math.sqrt(magnitude / 32768))


def test_loud_and_quiet_parts_are_in_their_place() -> None:
    samples = np.zeros((2, 1_000_000), np.int16)
    samples[0, 250_000:500_000] = 8192
    samples[1, -1] = -32768  # the lowest value has no positive counterpart
    left, right = waveforms(samples, [])
    assert len(left) == len(right) == WAVEFORM_PEAKS
    assert left[:199] == (0,) * 199
    assert left[201:399] == (level(8192),) * 198
    assert left[401:] == (0,) * 399
    assert right == (*(0,) * 799, 255)


def test_a_few_samples_give_as_many_peaks() -> None:
    assert waveforms(np.array([[0, 32767, -8]], np.int16), []) == [(0, 255, level(8))]


def test_many_channels_share_the_limit_on_peaks() -> None:
    peaks = waveforms(np.full((64, 50_000), 99, np.int16), [])
    assert [set(channel) for channel in peaks] == [{level(99)}] * 64
    assert sum(map(len, peaks)) <= 2 * WAVEFORM_PEAKS


@given(st.integers(1, 60_000), st.lists(st.integers(0, 60_000), max_size=6), st.integers(0, 2**32 - 1))
def test_block_sizes_make_no_visible_difference(length: int, cuts: list[int], seed: int) -> None:
    samples = np.random.default_rng(seed).integers(-32768, 32768, (1, length), np.int16)
    (whole,), (cut,) = waveforms(samples, []), waveforms(samples, [cut for cut in cuts if cut < length])
    assert len(whole) == len(cut) == min(length, WAVEFORM_PEAKS)
    assert max(whole) == max(cut) == min(255, level(np.abs(samples.astype(int)).max()))


def test_no_audio_has_no_waveform() -> None:
    assert WaveformBuilder().waveforms() == ()


@pytest.mark.parametrize("blocks", [200, 2000])
def test_memory_does_not_grow_with_the_length(blocks: int) -> None:
    block = np.ones((1, 65_536), np.int16)
    builder = WaveformBuilder()
    builder.add(block)
    tracemalloc.start()
    for _ in range(blocks):
        builder.add(block)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000


@pytest.mark.parametrize(("split", "channels"), [(False, 1), (True, 2)])
def test_a_decoded_recording_has_one_waveform_per_channel(tmp_path: Path, split: bool, channels: int) -> None:
    file = write_audio(tmp_path / "a.wav", [tone(2), np.zeros_like(tone(2))], codec="pcm_s16le")
    waveforms = decode(file, split=split, max_seconds=60).audio.waveforms
    assert [waveform.channel for waveform in waveforms] == list(range(channels))
    assert [max(waveform.peaks) > 0 for waveform in waveforms] == [True, False][:channels]
