"""Sounds without speech (silence, noise, hum, tones, clicks), for which the recogniser must learn to give no text."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from training.synthesis import RATE, Audio

KINDS = ("zeros", "dither", "white", "pink", "brown", "hum", "tone", "tones", "sweep", "clicks", "bursts", "chords")


def _shaped(count: int, exponent: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Noise whose power falls as 1/f^`exponent` (0 white, 1 pink, 2 brown)."""
    spectrum = np.fft.rfft(rng.normal(0, 1, count))
    spectrum /= np.maximum(np.arange(len(spectrum)), 20) ** (exponent / 2)
    return np.asarray(np.fft.irfft(spectrum, count))


def _tones(time: npt.NDArray[np.float64], frequencies: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Sum of steady tones at `frequencies` (Hz), each weaker than the one before."""
    parts = [np.sin(2 * np.pi * f * time) / (1 + i) for i, f in enumerate(frequencies)]
    return np.asarray(np.sum(parts, axis=0))


def _chords(time: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Simple music: chords of decaying harmonic notes, a new one every 0.25 to 0.8 s."""
    sound = np.zeros(len(time))
    step = int(RATE * rng.uniform(0.25, 0.8))
    for first in range(0, len(time), step):
        piece = time[first : first + step] - time[first]
        for note in rng.integers(-12, 24, 3):
            pitch = 220 * 2 ** (int(note) / 12)
            sound[first : first + step] += _tones(piece, pitch * np.arange(1, 6)) * np.exp(-piece * 3)
    return sound


def _raw(kind: str, time: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Make a sound of this kind, before its loudness is set."""
    count = len(time)
    if kind in ("white", "pink", "brown", "dither"):
        return _shaped(count, {"pink": 1.0, "brown": 2.0}.get(kind, 0.0), rng)
    if kind == "hum":
        return _tones(time, rng.choice([50.0, 60.0]) * np.array([1, 2, 3, 5])) + 0.02 * rng.normal(0, 1, count)
    if kind in ("tone", "tones"):
        return _tones(time, rng.uniform(150, 3500, 1 if kind == "tone" else 3))
    if kind == "sweep":
        return np.asarray(np.sin(2 * np.pi * (200 + 1500 * (1 + np.sin(time * rng.uniform(0.2, 2)))) * time))
    if kind == "clicks":
        return np.asarray((rng.random(count) < rng.uniform(2, 30) / RATE) * rng.normal(0, 20, count))
    if kind == "bursts":
        gate = np.repeat(rng.random(count // 1600 + 1) < 0.25, 1600)[:count]
        return np.asarray(_shaped(count, 0.5, rng) * gate)
    return _chords(time, rng)


def no_speech(kind: str, seconds: float, rng: np.random.Generator) -> Audio:
    """Make `seconds` of one of `KINDS`; return mono float32 at 16 kHz."""
    time = np.arange(round(seconds * RATE)) / RATE
    if kind == "zeros":
        return np.zeros(len(time), np.float32)
    sound = _raw(kind, time, rng)
    level = 10 ** (rng.uniform(-85, -70) / 20) if kind == "dither" else 10 ** (rng.uniform(-55, -16) / 20)
    return np.asarray(sound / (np.sqrt(np.mean(sound**2)) + 1e-9) * level, np.float32).clip(-1, 1)
