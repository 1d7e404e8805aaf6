"""Synthetic speech for the toy models, from Debian's synthesisers: voices, four emotions, and exact word times.

espeak-ng is called through its library (package ``libespeak-ng1``, which ``espeak-ng`` depends on), which reports when
each word starts. flite is run as a program, and the phone durations it prints are mapped to words. All audio is mono
float32 at 16 kHz. All randomness comes from the generator that the caller passes.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import re
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from training.sentences import WORD

RATE = 16_000
EMOTIONS = ("neutral", "happiness", "sadness", "anger")
PACKAGES_NEEDED = "the synthesisers are missing: install the Debian packages `espeak-ng` and `flite`"

Audio = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Voice:
    """A synthetic voice: its engine (espeak or flite), its name there, and a factor on its pitch."""

    engine: str
    name: str
    shift: float = 1.0

    def __str__(self) -> str:
        """Name of the voice in samples.json and the corpus."""
        return f"{self.engine}:{self.name}" + (f"x{self.shift:g}" if self.shift != 1 else "")


_ACCENTS = ("en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-us-nyc", "en-gb-x-gbclan")
_MEN = ("", "+m1", "+m2", "+m3", "+m4", "+m5", "+m7")
_VARIANTS = (*_MEN, "+f1", "+f2", "+f3", "+f4", "+f5", "+Andy", "+linda", "+steph")
ESPEAK_VOICES = tuple(Voice("espeak", accent + variant) for accent in _ACCENTS for variant in _VARIANTS)
FLITE_VOICES = tuple(
    Voice("flite", name, shift) for name in ("slt", "awb", "kal16", "kal") for shift in (0.86, 0.93, 1.0, 1.08, 1.16)
)
HELD_OUT_VOICES = (Voice("flite", "rms"),)


@dataclass(frozen=True)
class Prosody:
    """How a sentence is spoken; all but `emotion` are relative to the voice's default.

    rate: factor on the speed; pitch: semitones; span: factor on the pitch range; tilt: dB per octave around 1 kHz;
    drive: gain before soft clipping (1 = none); rough: depth of a 35-65 Hz tremor; tremor: depth of a 4-7 Hz
    tremor; fade: share of loudness lost by the end.
    """

    emotion: str
    rate: float = 1.0
    pitch: float = 0.0
    span: float = 1.0
    tilt: float = 0.0
    drive: float = 1.0
    rough: float = 0.0
    tremor: float = 0.0
    fade: float = 0.0


@dataclass
class Utterance:
    """One spoken sentence: audio at 16 kHz, and the start and end of each word in seconds (NaN where unknown)."""

    text: str
    audio: Audio
    times: npt.NDArray[np.float32]
    voice: str
    emotion: str


_RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "neutral": {"rate": (0.93, 1.08), "pitch": (-1.0, 1.2), "span": (0.7, 1.1), "tilt": (-0.6, 0.6), "fade": (0, 0.2)},
    "happiness": {"rate": (1.04, 1.22), "pitch": (3.0, 6.0), "span": (1.6, 2.2), "tilt": (0.0, 1.5)},
    "sadness": {
        "rate": (0.66, 0.84),
        "pitch": (-4.0, -1.0),
        "span": (0.1, 0.45),
        "tilt": (-3.0, -1.0),
        "tremor": (0.1, 0.4),
        "fade": (0.3, 0.7),
    },
    "anger": {
        "rate": (1.05, 1.28),
        "pitch": (0.0, 3.0),
        "span": (1.1, 1.7),
        "tilt": (1.0, 3.0),
        "drive": (3.0, 9.0),
        "rough": (0.4, 0.85),
    },
}


def draw_prosody(emotion: str, rng: np.random.Generator) -> Prosody:
    """Draw the prosody of one of `EMOTIONS`."""
    return Prosody(emotion, **{key: float(rng.uniform(*span)) for key, span in _RANGES[emotion].items()})


def check_tools() -> None:
    """Raise SystemExit, naming the Debian packages, if a synthesiser is not installed."""
    if not shutil.which("flite") or not ctypes.util.find_library("espeak-ng"):
        raise SystemExit(PACKAGES_NEEDED)


def resample(audio: npt.NDArray[Any], length: int) -> Audio:
    """Resample to `length` samples by truncating or zero-padding the spectrum."""
    spectrum = np.fft.rfft(audio)
    bins = length // 2 + 1
    cut = np.zeros(bins, dtype=spectrum.dtype)
    keep = min(bins, len(spectrum))
    cut[:keep] = spectrum[:keep]
    return (np.fft.irfft(cut, length) * (length / len(audio))).astype(np.float32)


class _Event(ctypes.Structure):
    """espeak_EVENT of the espeak-ng library."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    ]


class Espeak:
    """The espeak-ng library: returns samples and the start of each word. One per process."""

    _RATE, _PITCH, _RANGE = 1, 3, 4

    def __init__(self) -> None:
        """Load the library in synchronous mode (samples go to a callback). Raises SystemExit if it is missing."""
        library = ctypes.util.find_library("espeak-ng")
        if library is None:
            raise SystemExit(PACKAGES_NEEDED)
        self.lib: Any = ctypes.CDLL(library)
        self.sample_rate = int(self.lib.espeak_Initialize(2, 0, None, 0))
        self.chunks: list[bytes] = []
        self.starts: dict[int, float] = {}
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))
        self._callback = kind(self._receive)
        self.lib.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: int | None, count: int, events: Any) -> int:
        """Store a block of samples, and the character position and time (s) of each word that starts in it."""
        if samples and count > 0:
            self.chunks.append(ctypes.string_at(samples, count * 2))
        index = 0
        while events[index].type != 0:
            if events[index].type == 1:
                self.starts[events[index].text_position - 1] = events[index].audio_position / 1000
            index += 1
        return 0

    def say(self, text: str, voice: str, rate: int, pitch: int, span: int) -> tuple[Audio, dict[int, float]]:
        """Synthesise; return 16 kHz audio, and each word's start in seconds by its character position.

        Raises ValueError if espeak-ng lacks the voice.
        """
        self.chunks, self.starts = [], {}
        if self.lib.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice}")
        for parameter, value in ((self._RATE, rate), (self._PITCH, pitch), (self._RANGE, span)):
            self.lib.espeak_SetParameter(parameter, value, 0)
        raw = text.encode()
        self.lib.espeak_Synth(raw, len(raw) + 1, 0, 1, 0, 1, None, None)
        audio = np.asarray(np.frombuffer(b"".join(self.chunks), np.int16) / 32768, np.float32)
        return resample(audio, round(len(audio) * RATE / self.sample_rate)), self.starts


@functools.cache
def _espeak() -> Espeak:
    """Return the one espeak-ng of this process."""
    return Espeak()


def _clip(value: float, low: float, high: float) -> int:
    """Clamp a parameter of a synthesiser to its range, and round it."""
    return round(min(max(value, low), high))


def _speak_espeak(text: str, voice: Voice, prosody: Prosody, rng: np.random.Generator) -> tuple[Audio, list[float]]:
    """Speak `text` with espeak-ng; return audio and each word's start in seconds (NaN where not reported)."""
    rate = _clip(rng.uniform(140, 180) * prosody.rate, 80, 300)
    pitch = _clip(rng.uniform(38, 58) + 6.5 * prosody.pitch, 0, 99)
    span = _clip(50 * prosody.span, 0, 99)
    audio, starts = _espeak().say(text, voice.name, rate, pitch, span)
    return audio, [starts.get(match.start(), float("nan")) for match in WORD.finditer(text)]


_FLITE_PITCH = {
    "slt": (168.0, 12.0),
    "awb": (126.0, 22.0),
    "kal": (95.0, 12.0),
    "kal16": (95.0, 12.0),
    "rms": (105.0, 11.0),
}


def _flite(text: str, *options: str) -> tuple[Audio, list[tuple[str, float]]]:
    """Run flite; return audio at 16 kHz (8 kHz voices are upsampled) and the phones with their end times (s)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        command = ["flite", *options, "-psdur", "-t", text, "-o", str(path)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        with wave.open(str(path)) as file:
            rate = file.getframerate()
            samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    audio = np.asarray(samples / 32768, np.float32)
    phones = [(name, float(end)) for name, end in re.findall(r"(\w+):([\d.]+)", printed)]
    length = round(len(audio) * RATE / rate)
    return audio if rate == RATE else resample(audio, length), phones


@functools.cache
def _phone_count(voice: str, word: str) -> int:
    """Number of phones of a word that flite speaks alone."""
    return sum(name != "pau" for name, _ in _flite(word + " ", "-voice", voice)[1])


def _speak_flite(text: str, voice: Voice, prosody: Prosody, rng: np.random.Generator) -> tuple[Audio, list[float]]:
    """Speak `text` with flite; return audio and each word's start in seconds (all NaN if the phones do not match)."""
    mean, spread = _FLITE_PITCH[voice.name]
    shift = voice.shift * 2 ** (prosody.pitch / 24) * rng.uniform(0.97, 1.03)
    options = {
        "duration_stretch": shift / (prosody.rate * rng.uniform(0.92, 1.1)),
        "int_f0_target_mean": mean * 2 ** (prosody.pitch / 24),
        "int_f0_target_stddev": spread * prosody.span,
    }
    settings = [part for key, value in options.items() for part in ("--setf", f"{key}={value:.3f}")]
    audio, phones = _flite(text, "-voice", voice.name, *settings)
    words = [match.group() for match in WORD.finditer(text)]
    counts = [_phone_count(voice.name, word.lower()) for word in words]
    starts = [0.0, *(end for _, end in phones)]
    spoken = [start for (name, _), start in zip(phones, starts, strict=False) if name != "pau"]
    if len(spoken) != sum(counts):
        return resample(audio, round(len(audio) / shift)), [float("nan")] * len(words)
    firsts = np.cumsum([0, *counts[:-1]])
    return resample(audio, round(len(audio) / shift)), [spoken[int(first)] / shift for first in firsts]


def _colour(audio: Audio, prosody: Prosody, rng: np.random.Generator) -> Audio:
    """Apply the prosody's soft clipping, fast and slow tremor, fading and spectral tilt."""
    time = np.arange(len(audio)) / RATE
    sound: npt.NDArray[Any] = audio / (np.sqrt(np.mean(audio**2)) + 1e-6) * 0.1
    if prosody.drive > 1:
        sound = np.tanh(sound * prosody.drive) / np.tanh(prosody.drive) * 0.5
    if prosody.rough:
        wobble = np.cumsum(rng.normal(0, 1, len(audio))) / np.sqrt(RATE)
        sound = sound * (1 - prosody.rough * (0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(35, 65) * time + 6 * wobble)))
    if prosody.tremor:
        sound = sound * (1 - prosody.tremor * (0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(4, 7) * time)))
    if prosody.fade:
        sound = sound * (1 - prosody.fade * time / max(time[-1], 1e-3))
    if prosody.tilt:
        spectrum = np.fft.rfft(sound)
        octaves = np.log2(np.maximum(np.fft.rfftfreq(len(audio), 1 / RATE), 100) / 1000)
        sound = np.fft.irfft(spectrum * 10 ** (prosody.tilt * octaves / 20), len(audio))
    return np.asarray(sound / (np.sqrt(np.mean(sound**2)) + 1e-6) * 0.07, np.float32)


def word_times(audio: Audio, starts: Sequence[float]) -> npt.NDArray[np.float32]:
    """Start and end (s) of each word, shape (words, 2). A word ends at its last loud frame before the next word."""
    frames = audio[: len(audio) // 160 * 160].reshape(-1, 160)
    level = np.sqrt(np.mean(frames**2, axis=1))
    loud = level > 0.03 * level.max()
    limits = [*starts[1:], len(audio) / RATE]
    times = np.full((len(starts), 2), np.nan, np.float32)
    for index, (start, limit) in enumerate(zip(starts, limits, strict=True)):
        if np.isnan(start) or np.isnan(limit):
            continue
        first = int(start * 100)
        spoken = np.flatnonzero(loud[first : max(int(limit * 100), first + 1)])
        if len(spoken):
            times[index] = (first + spoken[0]) / 100, (first + spoken[-1] + 1) / 100
    return times


def speak(text: str, voice: Voice, prosody: Prosody, rng: np.random.Generator) -> Utterance:
    """Speak a sentence; silence before and after it is trimmed to 0.1 s."""
    engine = _speak_espeak if voice.engine == "espeak" else _speak_flite
    audio, starts = engine(text, voice, prosody, rng)
    audio = _colour(audio, prosody, rng)
    loud = np.flatnonzero(np.abs(audio) > 0.02 * np.abs(audio).max())
    first, last = max(int(loud[0]) - RATE // 10, 0), min(int(loud[-1]) + RATE // 10, len(audio))
    times = word_times(audio, starts) - first / RATE
    return Utterance(text, audio[first:last], times, str(voice), prosody.emotion)
