"""Sound that emotion models did not learn from is told; real recordings that are as they should be are not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.workers.audio.media import decode, write_audio
from training import shifts
from workers.audio.chunks import speech_chunks
from workers.audio.decoder import as_float
from workers.emotion import conditions
from workers.emotion.levels import Levels
from workers.emotion.neighbours import speech_in
from workers.emotion.sound import sound_of
from workers.emotion.tracking import Window
from workers.emotion.windows import CHUNK_RULES, windows_of

REAL = Path(__file__).parents[3] / "workers" / "demo" / "samples"
#: Recordings with one speaker and a wide band: a studio, two living rooms, actors.
WIDE = ("printing_history.mp4", "sense_and_sensibility.mp3", "lobster_or_crayfish.ogg", "changing_mood_german.m4a")
RATE = 16_000
Samples = npt.NDArray[np.float32]


class Stream:
    """Channels as an audio stream."""

    def __init__(self, channels: Sequence[Samples]) -> None:
        self._samples = (np.clip(np.stack(channels), -1, 1) * 32767).astype(np.int16)
        self.channels, self.start = len(channels), 0.0

    def __iter__(self) -> Iterator[npt.NDArray[np.int16]]:
        for at in range(0, self._samples.shape[1], RATE):
            yield self._samples[:, at : at + RATE]


def told(*channels: Samples) -> dict[str, str]:
    chosen = range(len(channels))
    levels = Levels(Stream(channels), chosen)
    windows = [
        Window(chunk.channel, span, speech_in(chunk, span), sound_of(as_float(samples)), Future())
        for chunk in speech_chunks(levels, CHUNK_RULES, chosen)
        for span, samples in windows_of(chunk)
    ]
    windows.sort(key=lambda window: (window.span.start, window.channel))
    return {caution.code: caution.message for caution in conditions.heard(levels, windows, chosen)}


@cache
def real(name: str) -> Samples:
    samples: Samples = decode(REAL / name, max_seconds=100).samples[0]
    return samples


def louder(speech: Samples, other: Samples, decibels: float) -> Samples:
    """Speech with another sound that is this much weaker."""
    other = np.resize(other, len(speech))
    scale = np.sqrt(np.mean(speech**2) / np.mean(other**2)) * 10 ** (-decibels / 20)
    return np.asarray(0.5 * (speech + scale * other), np.float32)


def music() -> Samples:
    """Held chords of three notes with overtones, a new one every 0.6 s."""
    time, random = np.arange(round(0.6 * RATE)) / RATE, np.random.default_rng(0)
    chords = []
    for _ in range(40):
        pitches = 220 * 2 ** (random.choice([-12, -8, -5, 0, 4, 7, 12], 3, replace=False) / 12)
        chords.append(sum(np.sin(2 * np.pi * k * pitch * time) / k for pitch in pitches for k in range(1, 8)))
    return np.concatenate(chords).astype(np.float32)


@pytest.mark.parametrize("name", WIDE)
def test_real_speech_is_as_models_expect_it(name: str) -> None:
    assert told(real(name)) == {}
    assert told(shifts.at_level(real(name), -50)) == {}
    assert told(shifts.middle(real(name), 2.5)) == {}


@pytest.mark.parametrize("name", ["telephone_prompt.wav", "kennedy_1961.flac"])
def test_a_real_telephone_prompt_and_an_old_broadcast_have_a_narrow_band(name: str) -> None:
    assert set(told(real(name))) == {"narrow_band"}


@pytest.mark.parametrize("name", WIDE)
def test_a_telephone_is_told_with_its_seconds_and_places(name: str) -> None:
    found = told(shifts.telephone(shifts.at_level(real(name), -20)))
    assert set(found) == {"narrow_band"}
    message = found["narrow_band"]
    assert " s of speech have nothing above 4 kHz, as on a telephone, unlike what emotion models learn from" in message
    assert message.endswith("learn from: at 0:00")
    assert 10 <= float(message.split()[0]) <= len(real(name)) / RATE


@pytest.mark.parametrize(("codec", "rate", "suffix"), [("libopus", 8_000, "ogg"), ("pcm_mulaw", 8_000, "wav")])
def test_files_of_8_khz_have_a_narrow_band(tmp_path: Path, codec: str, rate: int, suffix: str) -> None:
    samples = np.ascontiguousarray(shifts.telephone(shifts.at_level(real(WIDE[0]), -20))[:: RATE // rate], np.float32)
    path = write_audio(tmp_path / f"a.{suffix}", [samples], codec=codec, rate=rate)
    assert set(told(decode(path, max_seconds=100).samples[0])) == {"narrow_band"}


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("kind", ["white", "pink"])
def test_much_noise_is_told_and_little_is_not(name: str, kind: str) -> None:
    random = np.random.default_rng(3)
    message = told(shifts.noisy(real(name), 3, random, kind))["noisy"]
    assert "hardly louder than the noise or the other voices around them" in message
    assert told(shifts.noisy(real(name), 15, random, kind)) == {}


@pytest.mark.parametrize("name", WIDE)
def test_music_behind_speech_is_told_as_music(name: str) -> None:
    assert set(told(louder(real(name), music(), 2))) == {"music"}
    assert told(louder(real(name), music(), 25)) == {}


def test_other_voices_behind_speech_are_not_taken_for_music() -> None:
    others = [np.resize(shifts.at_level(real(name), -25), 60 * RATE) for name in WIDE[1:]]
    babble = np.asarray(sum(np.roll(other, 7 * RATE * n) for other in others for n in range(3)), np.float32)
    assert set(told(louder(real(WIDE[0]), babble, 0))) == {"noisy"}


def test_each_condition_is_told_once_with_the_channels_and_the_stretches_that_it_is_in() -> None:
    clean = np.concatenate([real(name) for name in WIDE[:3]])
    noisy = clean.copy()
    noisy[25 * RATE :] = shifts.noisy(clean, 0, np.random.default_rng(1), "white")[25 * RATE : len(clean)]
    assert told(clean, clean) == {}
    assert " s of speech on channel 0 are hardly louder" in told(noisy, clean)["noisy"]
    found = told(clean, noisy)
    assert set(found) == {"noisy"}
    assert " s of speech on channel 1 are hardly louder" in found["noisy"]
    assert float(found["noisy"].split()[0]) < len(clean) / RATE - 15
    assert found["noisy"].endswith((": at 0:20", ": at 0:21", ": at 0:22", ": at 0:23", ": at 0:24"))
    telephone = shifts.telephone(shifts.at_level(clean, -20))
    message = told(telephone, telephone)["narrow_band"]
    assert " s of speech on channels 0 and 1 have nothing above 4 kHz" in message
    assert message.endswith(": at 0:00")  # not the beginning of every stretch of both channels


def test_too_little_speech_is_not_judged() -> None:
    noisy = shifts.noisy(real(WIDE[0]), 0, np.random.default_rng(0))
    assert told(noisy[4 * RATE : round(5.5 * RATE)]) == {}
    assert told(np.zeros(3 * RATE, np.float32)) == {}
