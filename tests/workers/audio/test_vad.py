from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from faster_whisper.vad import VadOptions, get_speech_timestamps, get_vad_model  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.audio.media import decode
from tests.workers.audio.spans import join_spans
from workers.audio import vad
from workers.audio.silero.rewrite import TARGET, original, rewritten
from workers.audio.vad import Span

SAMPLES = Path(vad.__file__).parents[1] / "demo" / "samples"


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
