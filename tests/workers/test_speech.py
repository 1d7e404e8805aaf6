from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers import speech
from workers.decode import decode
from workers.speech import Span

SAMPLES = Path(speech.__file__).parent / "demo" / "samples"


def test_nobody_speaks_in_silence_noise_or_nothing() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, 48_000).astype(np.float32)
    for samples in (np.zeros(0, np.float32), np.zeros(100, np.float32), np.zeros(48_000, np.float32), noise):
        assert speech.find(samples) == []


@pytest.mark.engines
@pytest.mark.parametrize("sample", json.loads((SAMPLES / "samples.json").read_text()), ids=lambda s: s["file"])
def test_speech_is_found_where_somebody_speaks(sample: dict) -> None:  # type: ignore[type-arg]
    split = sample["channels"] > 1
    decoded = decode(SAMPLES / sample["file"], split=split, max_seconds=100)
    for channel, samples in enumerate(decoded.samples):
        spoken = np.zeros(len(samples) // 160 + 1, bool)
        found = spoken.copy()
        for turn in sample["turns"]:
            if turn["channel"] == channel:
                spoken[round(turn["start"] * 100) : round(turn["end"] * 100)] = True
        for span in speech.find(samples):
            found[round(span.start * 100) : round(span.end * 100)] = True
        assert (found & spoken).sum() / spoken.sum() > 0.8
        assert (found & ~spoken).sum() < 40  # hundredths of a second


def test_a_long_recording_goes_through_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = decode(SAMPLES / "happy_customer.mp3", max_seconds=100).samples[0]
    whole = speech.join(speech.find(samples), gap=0.3, pad=0, duration=100)
    monkeypatch.setattr(speech, "PIECE_SECONDS", 5)  # in the middle of a sentence
    pieces = speech.join(speech.find(samples), gap=0.3, pad=0, duration=100)
    np.testing.assert_allclose(np.array(pieces), np.array(whole), atol=0.11)


def test_close_spans_are_joined_and_padded_half_way_at_most() -> None:
    spans = [Span(1.0, 2.0), Span(2.1, 3.0), Span(3.5, 4.0), Span(9.0, 9.8)]
    assert speech.join(spans, gap=0.3, pad=0.4, duration=10.0) == [
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
def test_joining_keeps_order_loses_no_speech_and_stays_inside(spans: list[Span], gap: float, pad: float) -> None:
    duration = spans[-1].end + 0.5 if spans else 1.0
    joined = speech.join(spans, gap=gap, pad=pad, duration=duration)
    assert all(0 <= span.start <= span.end <= duration for span in joined)
    assert all(a.end <= b.start + 1e-9 for a, b in itertools.pairwise(joined))
    assert all(any(j.start <= span.start and span.end <= j.end for j in joined) for span in spans)
