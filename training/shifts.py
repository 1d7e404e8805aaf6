"""What happens to a voice between the speaker and the file: lines, rooms, noise, speed, level; to train and to test."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from training import noises
from training.synthesis import RATE, Audio, resample


def telephone(audio: Audio) -> Audio:
    """Simulate an 8 kHz telephone line: 300-3400 Hz, 8-bit mu-law."""
    narrow: npt.NDArray[Any] = resample(audio, len(audio) // 2)
    spectrum = np.fft.rfft(narrow)
    frequencies = np.fft.rfftfreq(len(narrow), 2 / RATE)
    spectrum[(frequencies < 300) | (frequencies > 3400)] *= 0.03
    narrow = np.fft.irfft(spectrum, len(narrow))
    steps = np.sign(narrow) * np.round(np.log1p(255 * np.abs(narrow)) / np.log(256) * 127) / 127
    return resample((np.sign(steps) * (256 ** np.abs(steps) - 1) / 255).astype(np.float32), len(audio))


def noisy(audio: Audio, ratio: float, rng: np.random.Generator, kind: str = "pink") -> Audio:
    """Add noise of one of `noises.KINDS` at a signal-to-noise ratio in dB."""
    noise = noises.no_speech(kind, len(audio) / RATE, rng)[: len(audio)]
    scale = np.sqrt(np.mean(audio**2) / (np.mean(noise**2) + 1e-12)) * 10 ** (-ratio / 20)
    return np.asarray(audio[: len(noise)] + noise * scale, np.float32)


def in_a_room(audio: Audio, seconds: float, rng: np.random.Generator) -> Audio:
    """Add the echo of a room: noise that falls by 60 dB in `seconds`, as loud as the voice two metres away."""
    time = np.arange(int(RATE * seconds)) / RATE
    echo = rng.normal(0, 1, len(time)) * 10 ** (-3 * time / seconds)
    echo *= rng.uniform(0.3, 1.0) / np.sqrt(np.sum(echo**2))
    echo[0] = 1.0
    size = len(audio) + len(echo)
    return np.fft.irfft(np.fft.rfft(audio, size) * np.fft.rfft(echo, size), size)[: len(audio)].astype(np.float32)


def coloured(audio: Audio, rng: np.random.Generator) -> Audio:
    """Simulate a microphone: a tilt of up to 3 dB an octave, and a few broad hills and valleys of up to 5 dB."""
    spectrum = np.fft.rfft(audio)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(audio), 1 / RATE), 60) / 1000)
    curve = rng.uniform(-3, 3) * octaves
    curve += np.interp(octaves, np.linspace(-4, 3, 8), rng.uniform(-5, 5, 8))
    return np.fft.irfft(spectrum * 10 ** (curve / 20), len(audio)).astype(np.float32)


def at_level(audio: Audio, decibels: float) -> Audio:
    """Scale to a root mean square of `decibels` below full scale (dBFS). Silence stays as it is."""
    level = float(np.sqrt(np.mean(audio.astype(np.float64) ** 2)))
    return (audio * (10 ** (decibels / 20) / max(level, 1e-6))).astype(np.float32)


def faster(audio: Audio, factor: float) -> Audio:
    """Play faster and higher by a factor, as a tape would: another speaker, so to say."""
    return resample(audio, round(len(audio) / factor)).astype(np.float32)


def mild(audio: Audio, rng: np.random.Generator) -> Audio:
    """A chain of shifts to train with, each with some probability; the level ends anywhere from -55 to -12 dBFS."""
    if rng.random() < 0.7:
        audio = faster(audio, rng.uniform(0.87, 1.15))
    if rng.random() < 0.4:
        audio = _piece(audio, rng.uniform(1.0, max(1.0, len(audio) / RATE)), rng)
    if rng.random() < 0.35:
        audio = in_a_room(audio, rng.uniform(0.15, 0.7), rng)
    if rng.random() < 0.6:
        audio = coloured(audio, rng)
    if rng.random() < 0.5:
        audio = noisy(audio, rng.uniform(5, 35), rng, str(rng.choice(["white", "pink", "brown", "hum"])))
    if rng.random() < 0.25:
        audio = telephone(at_level(audio, -20.0))
    return at_level(audio, rng.uniform(-55, -12))


def harsh(audio: Audio, rng: np.random.Generator) -> Audio:
    """A chain of shifts beyond those of `mild`: what a model has not been trained for."""
    audio = faster(audio, rng.uniform(0.72, 0.82) if rng.random() < 0.5 else rng.uniform(1.22, 1.38))
    if rng.random() < 0.5:
        audio = _piece(audio, rng.uniform(0.6, 1.2), rng)
    if rng.random() < 0.6:
        audio = in_a_room(audio, rng.uniform(0.8, 1.4), rng)
    audio = coloured(coloured(audio, rng), rng)
    if rng.random() < 0.6:
        audio = noisy(audio, rng.uniform(0, 8), rng, str(rng.choice(["white", "pink", "brown", "bursts", "chords"])))
    if rng.random() < 0.4:
        audio = telephone(at_level(audio, -20.0))
    return at_level(audio, rng.uniform(-60, -10))


def foreign(audio: Audio, rng: np.random.Generator) -> Audio:
    """A chain of shifts as far from EMO-DB as another corpus is: a voice that is hardly that person's any more."""
    audio = faster(audio, rng.uniform(0.6, 0.72) if rng.random() < 0.5 else rng.uniform(1.38, 1.6))
    audio = _piece(audio, rng.uniform(0.8, 2.0), rng)
    if rng.random() < 0.7:
        audio = in_a_room(audio, rng.uniform(0.8, 1.8), rng)
    for _ in range(3):
        audio = coloured(audio, rng)
    if rng.random() < 0.7:
        audio = noisy(audio, rng.uniform(-3, 8), rng, str(rng.choice(["white", "pink", "brown", "bursts", "chords"])))
    if rng.random() < 0.4:
        audio = telephone(at_level(audio, -20.0))
    return at_level(audio, rng.uniform(-60, -10))


def _piece(audio: Audio, seconds: float, rng: np.random.Generator) -> Audio:
    length = min(len(audio), int(seconds * RATE))
    first = int(rng.integers(len(audio) - length + 1))
    return audio[first : first + length]


def middle(audio: Audio, seconds: float) -> Audio:
    """Cut to the middle `seconds`."""
    length = min(len(audio), int(seconds * RATE))
    first = (len(audio) - length) // 2
    return audio[first : first + length]
