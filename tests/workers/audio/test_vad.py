from __future__ import annotations

import itertools
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from faster_whisper.vad import VadOptions, get_speech_timestamps, get_vad_model  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.workers.audio.media import decode
from tests.workers.audio.spans import join_spans
from workers.audio import vad
from workers.audio.silero.rewrite import TARGET, original, rewritten
from workers.audio.vad import Span

SAMPLES = Path(__file__).parents[2] / "samples"
Sound = NDArray[np.float32]


def test_no_speech_is_found_in_silence_noise_or_empty_audio() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, 48_000).astype(np.float32)
    for samples in (np.zeros(0, np.float32), np.zeros(100, np.float32), np.zeros(48_000, np.float32), noise):
        assert vad.find(samples) == []


@pytest.mark.engines
@pytest.mark.parametrize("sample", json.loads((SAMPLES / "samples.json").read_text()), ids=lambda s: s["file"])
def test_speech_is_found_where_there_is_speech(sample: dict) -> None:  # type: ignore[type-arg]
    split = sample["channels"] > 1
    decoded = decode(SAMPLES / sample["file"], split=split, max_seconds=100)
    for channel, samples in enumerate(decoded.samples):
        spoken = np.zeros(len(samples) // 160 + 1, bool)
        found = spoken.copy()
        for turn in sample["turns"]:
            if turn["channel"] == channel:
                spoken[round(turn["start"] * 100) : round(turn["end"] * 100)] = True
        for span in vad.find(samples):
            found[round(span.start * 100) : round(span.end * 100)] = True
        assert (found & spoken).sum() / spoken.sum() > 0.8
        assert (found & ~spoken).sum() < 40  # hundredths of a second


SAMPLE_RATE = 16_000
MONO = ["happy_customer.mp3", "angry_customer.ogg", "order_inquiry.wav"]


def sample_and_spans(file: str) -> tuple[Sound, list[Span]]:
    samples = decode(SAMPLES / file, max_seconds=100).samples[0]
    return samples, vad.find(samples)


def nothing(kind: str, seconds: float, level: float = 0.01) -> Sound:
    """Silence, noise or a sound of any level without speech."""
    count = round(seconds * SAMPLE_RATE)
    random, time = np.random.default_rng(0), np.arange(count) / SAMPLE_RATE
    white = random.normal(0, 1, count)
    sound = {
        "silence": np.zeros(count),
        "white": white,
        "pink": np.fft.irfft(np.fft.rfft(white) / np.sqrt(np.arange(1, count // 2 + 2)), count),
        "hum": np.sin(2 * np.pi * 50 * time) + 0.3 * np.sin(2 * np.pi * 150 * time),
        "chords": sum(np.sin(2 * np.pi * hertz * time) for hertz in (220, 277.2, 329.6)) * (time % 0.5 < 0.25),
    }[kind]
    scale = level / (sound.std() or 1)
    return (sound * scale).clip(-1, 1).astype(np.float32)


@pytest.mark.parametrize("kind", ["silence", "white", "chords"])
@pytest.mark.parametrize("file", MONO)
def test_speech_after_a_minute_without_is_found_from_its_start(file: str, kind: str) -> None:
    """The network, left to itself, recognises it a tenth to a fifth of a second late."""
    samples, alone = sample_and_spans(file)
    found = vad.find(np.concatenate([nothing(kind, 60), samples]))
    assert len(found) == len(alone)
    for span, expected in zip(found, alone, strict=True):
        assert span.start - 60 == pytest.approx(expected.start, abs=0.05)
        assert span.end - 60 == pytest.approx(expected.end, abs=0.1)


@pytest.mark.parametrize("decibels", [-30, -40, -50, -60])
@pytest.mark.parametrize("file", MONO)
def test_quiet_speech_is_found_like_loud(file: str, decibels: float) -> None:
    samples, alone = sample_and_spans(file)
    peak = 10 ** (decibels / 20)
    found = vad.find(samples * np.float32(peak / np.abs(samples).max()))
    assert len(found) == len(alone)
    for span, expected in zip(found, alone, strict=True):
        assert span.start == pytest.approx(expected.start, abs=0.1)
        assert span.end == pytest.approx(expected.end, abs=0.1)


def test_quiet_speech_is_found_in_sixteen_bits_too() -> None:
    samples, alone = sample_and_spans("order_inquiry.wav")
    quiet = np.round(samples * 32767 * 10 ** (-50 / 20) / np.abs(samples).max()).astype(np.int16)
    detector = vad.Detector()
    found = [*detector.feed(quiet), *detector.finish()]
    assert [span.start for span in found] == pytest.approx([span.start for span in alone], abs=0.1)


@pytest.mark.parametrize("level", [1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0])
@pytest.mark.parametrize("kind", ["silence", "white", "pink", "hum"])
def test_no_speech_is_found_in_noise_of_any_level(kind: str, level: float) -> None:
    assert vad.find(nothing(kind, 20, level)) == []


@given(st.lists(st.integers(0, 60_000), max_size=30))
@settings(max_examples=20)
def test_the_spans_do_not_depend_on_the_sizes_of_the_blocks(sizes: list[int]) -> None:
    """Across the levels at which audio is amplified, and the pauses after which the network starts afresh."""
    samples, expected = _with_quiet_parts()
    detector = vad.Detector()
    found, at = [], 0
    for size in sizes:
        found += detector.feed(samples[at : at + size])
        at += size
    found += [*detector.feed(samples[at:]), *detector.finish()]
    assert found == expected
    assert len(found) >= 6


@cache
def _with_quiet_parts() -> tuple[Sound, list[Span]]:
    speech, _ = sample_and_spans("happy_customer.mp3")
    quiet = speech * np.float32(10 ** (-50 / 20))
    samples = np.concatenate([quiet, nothing("white", 7.3, 0.001), speech, nothing("silence", 20), quiet])
    return samples, vad.find(samples)


@pytest.mark.parametrize("sample", ["happy_customer.mp3", "changing_mood.m4a"])
@pytest.mark.parametrize("longest", [20 * 60.0, 3.0, 1.0, 0.5])
def test_speech_found_block_by_block_is_what_faster_whisper_finds_in_the_whole(sample: str, longest: float) -> None:
    decoded = decode(SAMPLES / sample, max_seconds=100).samples[0]
    noise = np.random.default_rng(0).normal(0, 0.003, 20_000).astype(np.float32)
    samples = np.concatenate([decoded, noise, decoded[: len(decoded) // 2 + 100]])  # ends in speech
    whole = get_speech_timestamps(
        samples,
        VadOptions(
            min_speech_duration_ms=100, min_silence_duration_ms=200, max_speech_duration_s=longest, speech_pad_ms=0
        ),
    )
    detector = vad.Detector(longest=longest)
    random = np.random.default_rng(1)
    found, decided, at = [], 0.0, 0
    while at < len(samples):
        size = int(random.integers(0, 20_000))
        new = detector.feed(samples[at : at + size])
        assert all(span.start >= decided for span in new)
        decided = detector.decided
        found += new
        at += size
    found += detector.finish()
    assert [(round(span.start * 16_000), round(span.end * 16_000)) for span in found] == [
        (span["start"], span["end"]) for span in whole
    ]
    assert len(found) > 3


def test_the_model_gives_every_frame_the_probability_that_faster_whispers_gives() -> None:
    """For speech, noise, silence and clipping. The committed script generates its file from faster-whisper's."""
    random = np.random.default_rng(0)
    speech_of = decode(SAMPLES / "happy_customer.mp3", max_seconds=100).samples[0]
    noise = random.normal(0, 1, 80_000) * np.geomspace(1e-6, 10, 80_000)
    audio = np.concatenate([speech_of, noise.clip(-1, 1), np.zeros(20_000), np.sign(speech_of)]).astype(np.float32)
    frames = audio[: len(audio) // 576 * 576].reshape(-1, 576)
    state = {"h": np.zeros((1, 1, 128), np.float32), "c": np.zeros((1, 1, 128), np.float32)}
    ours, theirs = (model.run(None, {"input": frames, **state}) for model in (vad._model(), get_vad_model().session))
    assert len(frames) > 500
    assert ours[0].max() > 0.9
    assert ours[0].min() < 0.01
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, rtol=1e-4)
    assert rewritten(original()).SerializeToString() == TARGET.read_bytes()


def test_close_spans_are_joined_and_padded_at_most_half_way() -> None:
    spans = [Span(1.0, 2.0), Span(2.1, 3.0), Span(3.5, 4.0), Span(9.0, 9.8)]
    assert join_spans(spans, gap=0.3, pad=0.4, duration=10.0) == [
        Span(0.6, 3.25),
        Span(3.25, 4.4),
        Span(8.6, 10.0),
    ]


lists_of_spans = st.lists(st.floats(0.01, 5), max_size=20).map(
    lambda steps: [
        Span(a, b) for a, b in zip(np.cumsum(steps)[::2].tolist(), np.cumsum(steps)[1::2].tolist(), strict=False)
    ]
)


@given(lists_of_spans, st.floats(0, 3), st.floats(0, 3))
def test_joined_spans_are_in_order_lose_no_speech_and_stay_inside_the_recording(
    spans: list[Span], gap: float, pad: float
) -> None:
    duration = spans[-1].end + 0.5 if spans else 1.0
    joined = join_spans(spans, gap=gap, pad=pad, duration=duration)
    assert all(0 <= span.start <= span.end <= duration for span in joined)
    assert all(a.end <= b.start + 1e-9 for a, b in itertools.pairwise(joined))
    assert all(any(j.start <= span.start and span.end <= j.end for j in joined) for span in spans)
