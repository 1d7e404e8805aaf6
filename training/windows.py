"""Training windows for the recogniser: sentences, pauses and noise mixed as mel spectra.

Each utterance's log-mel power is computed once. Stretching, warping, mixing, echo and band limits work on the spectra,
at a fraction of what they would cost on audio. A window is scaled as faster-whisper scales a recording: clamped to
80 dB below its peak, then (log10 + 4) / 4, and 0.0 after the end of the audio.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from faster_whisper.feature_extractor import FeatureExtractor  # type: ignore[import-untyped]

from training import noises
from training.synthesis import RATE, Audio, Utterance

MELS = 80
FRAMES_PER_SECOND = 100
Mel = npt.NDArray[np.float32]

_FILTERS = torch.from_numpy(FeatureExtractor.get_mel_filters(RATE, 400, n_mels=MELS).astype(np.float32))
_BINS = np.linspace(0, RATE / 2, 201)
_CENTRES = (_FILTERS.numpy() * _BINS).sum(1) / _FILTERS.numpy().sum(1)


def log_mel(audio: Audio) -> Mel:
    """Base-10 logarithm of mel power, shape (80, samples // 160), as Whisper's front end computes it."""
    wave = torch.from_numpy(np.ascontiguousarray(audio, np.float32))
    spectrum = torch.stft(wave, 400, 160, window=torch.hann_window(400), return_complex=True)
    power = _FILTERS @ spectrum[:, :-1].abs().square()
    return np.asarray(power.clamp_min(1e-10).log10().numpy(), np.float32)


@dataclass
class Spoken:
    """A sentence placed in a window: its text, its words' times (s, shape (words, 2)), its start and end (s).

    `cut`: the window ends before the sentence does.
    """

    text: str
    times: npt.NDArray[np.float32]
    start: float
    end: float
    cut: bool = False


@dataclass
class Window:
    """Features of shape (80, frames), the sentences in them, and the window's start (s) in the 30 s."""

    features: Mel
    spoken: list[Spoken]
    offset: float = 0.0


@dataclass
class Mixer:
    """Draws windows from utterances and noises. `augmentation` (0-1) scales how often they are distorted."""

    utterances: list[Utterance]
    rng: np.random.Generator
    augmentation: float = 1.0
    cache: Path | None = None
    mels: list[npt.NDArray[np.float16]] = field(default_factory=list)
    backgrounds: list[npt.NDArray[np.float16]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Compute all spectra once; those of the utterances are kept in the file `cache`."""
        if self.cache is None or not self.cache.exists():
            self.mels = [log_mel(u.audio).astype(np.float16) for u in self.utterances]
            if self.cache is not None:
                np.save(self.cache, np.concatenate(self.mels, axis=1))
        else:
            ends = np.cumsum([len(u.audio) // 160 for u in self.utterances])
            self.mels = np.split(np.load(self.cache), ends[:-1], axis=1)
        kinds = [kind for kind in noises.KINDS if kind != "zeros"]
        clips = [noises.no_speech(kind, 8.0, self.rng) for kind in kinds for _ in range(12)]
        self.backgrounds = [log_mel(clip).astype(np.float16) for clip in clips]

    def chance(self, share: float) -> bool:
        """Decide at random whether to apply a distortion with this probability."""
        return bool(self.rng.random() < share * self.augmentation)

    def _utterance(self) -> tuple[Mel, Spoken]:
        """Draw an utterance, perhaps stretched in time and warped in frequency; return its power spectrum and words."""
        index = int(self.rng.integers(len(self.utterances)))
        mel, source = self.mels[index].astype(np.float32), self.utterances[index]
        times = source.times
        if self.chance(0.6):
            factor = self.rng.uniform(0.85, 1.2)
            mel = _interpolate(mel, np.arange(0, mel.shape[1] - 1, 1 / factor), axis=1)
            times = times * factor
        if self.chance(0.5):
            mel = _interpolate(mel, np.arange(MELS) * self.rng.uniform(0.9, 1.1), axis=0)
        length = mel.shape[1] / FRAMES_PER_SECOND
        start, end = (times[0, 0], times[-1, 1]) if len(times) else (np.nan, np.nan)
        start = 0.1 if np.isnan(start) else float(start)
        end = length - 0.1 if np.isnan(end) else float(end)
        power = 10 ** (mel + self.augmentation * self.rng.uniform(-0.5, 0.3))
        return power.astype(np.float32), Spoken(source.text, times, start, end)

    def _place(self, frames: int, most: int) -> tuple[Mel, list[Spoken], int]:
        """Place up to `most` sentences with pauses in a power spectrum; return both, and how many frames they use."""
        power = np.full((MELS, frames), 1e-10, np.float32)
        spoken: list[Spoken] = []
        at = int(100 * (self.rng.exponential(0.4) if self.rng.random() < 0.9 else self.rng.uniform(0, 4)))
        if self.rng.random() < 0.3:
            at = 0
        while len(spoken) < most and at < frames - 60:
            mel, sentence = self._utterance()
            room = min(mel.shape[1], frames - at)
            if room < mel.shape[1] and (self.rng.random() < 0.6 or room < 60) and (spoken or room < 60):
                break
            power[:, at : at + room] += mel[:, :room]
            sentence.times = sentence.times + at / 100
            sentence.start, sentence.end = sentence.start + at / 100, sentence.end + at / 100
            sentence.cut = sentence.end > frames / 100 - 0.04
            spoken.append(sentence)
            pause = self.rng.uniform(0.0, 0.9) if self.rng.random() < 0.8 else self.rng.uniform(0.9, 3.0)
            at += room + int(100 * pause)
        last = min(frames, at if spoken else frames)
        return power, spoken, last

    def _background(self, frames: int) -> Mel:
        """Splice `frames` frames of noise, as power, from random clips."""
        pieces: list[Mel] = []
        clip = self.backgrounds[int(self.rng.integers(len(self.backgrounds)))].astype(np.float32)
        while sum(piece.shape[1] for piece in pieces) < frames:
            if self.rng.random() < 0.2:
                clip = self.backgrounds[int(self.rng.integers(len(self.backgrounds)))].astype(np.float32)
            pieces.append(np.roll(clip, int(self.rng.integers(clip.shape[1])), axis=1))
        return np.asarray(10 ** np.concatenate(pieces, axis=1)[:, :frames], np.float32)

    def _distort(self, power: Mel, speech_level: float) -> Mel:
        """Add echo, background noise, colouring and band limits, each with some probability."""
        frames = power.shape[1]
        if self.chance(0.25):
            decay = np.exp(-np.arange(1, 40) / self.rng.uniform(2, 9)) * self.rng.uniform(0.02, 0.2)
            kernel = np.concatenate([[1.0], decay])
            size = frames + 40
            blurred = np.fft.irfft(np.fft.rfft(power, size, axis=1) * np.fft.rfft(kernel, size), size, axis=1)
            power = np.maximum(blurred[:, :frames], 1e-10).astype(np.float32)
        if self.rng.random() < 0.8:
            noise = self._background(frames)
            ratio = self.rng.uniform(4, 25) if self.chance(0.5) else self.rng.uniform(25, 60)
            power = power + noise * (speech_level / (noise.mean() + 1e-12) * 10 ** (-ratio / 10))
        if self.chance(0.6):
            slope = np.linspace(-1, 1, MELS)[:, None]
            curve = self.rng.uniform(-0.8, 0.8) * slope + self.rng.uniform(-0.4, 0.4) * np.cos(3 * slope)
            power = power * (10**curve).astype(np.float32)
        if self.chance(0.35):
            low = 300 if self.rng.random() < 0.5 else 0
            high = self.rng.choice([3400, 3800, 4000, 5500, 7000])
            outside = (low > _CENTRES) * 10 ** -self.rng.uniform(1, 3) + (high < _CENTRES) * 1e-8
            power = power * np.where((low > _CENTRES) | (high < _CENTRES), outside, 1)[:, None].astype(np.float32)
        return power

    def _mask(self, log: Mel) -> None:
        """Mask a few mel bands and a few frames, in place."""
        if self.chance(0.4):
            for _ in range(2):
                low, width = int(self.rng.integers(MELS)), int(self.rng.integers(1, 10))
                log[low : low + width] = log.mean()
            first = int(self.rng.integers(log.shape[1]))
            log[:, first : first + int(self.rng.integers(2, 12))] = log.mean()

    def _scale(self, power: Mel, last: int) -> Mel:
        """Scale the log power as faster-whisper does, with 0.0 from frame `last` on."""
        gain = 10 ** (self.augmentation * self.rng.uniform(-2.4, 0.8))
        log = np.log10(np.maximum(power * gain, 1e-10)).astype(np.float32)
        self._mask(log)
        peak = log[:, :last].max() + (self.rng.uniform(0, 0.7) if self.rng.random() < 0.3 else 0)
        features = (np.maximum(log, peak - 8) + 4) / 4
        features[:, last:] = 0
        return np.asarray(features, np.float32)

    def speech(self, frames: int, most: int, offset: float = 0.0) -> Window:
        """Make a window with up to `most` sentences."""
        power, spoken, last = self._place(frames, most)
        level = float(power[:, :last].mean())
        power = self._distort(power, level)
        if self.rng.random() < 0.3:
            last = frames
        return Window(self._scale(power, last), spoken, offset)

    def silence(self, frames: int, offset: float = 0.0) -> Window:
        """Make a window without speech, from digital silence to loud tones."""
        last = frames if self.rng.random() < 0.6 else int(self.rng.integers(20, frames))
        if self.rng.random() < 0.12:
            features = np.full((MELS, frames), -1.5, np.float32)
            features[:, last:] = 0
            return Window(features, [], offset)
        power = self._background(frames)
        power = self._distort(power, float(power.mean()))
        return Window(self._scale(power, last), [], offset)


def _interpolate(mel: Mel, at: npt.NDArray[np.floating[Any]], axis: int) -> Mel:
    """Interpolate a spectrum linearly at fractional positions on an axis."""
    at = np.clip(at, 0, mel.shape[axis] - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, mel.shape[axis] - 1)
    part = (at - low).astype(np.float32)
    part = part[None, :] if axis == 1 else part[:, None]
    return np.asarray(np.take(mel, low, axis) * (1 - part) + np.take(mel, high, axis) * part, np.float32)
