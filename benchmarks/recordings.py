"""Recordings with known words, made from the bundled samples; the same ones every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.media import RATE, SAMPLES, samples, spoken, write_wav
from workers.audio.reader import open_audio

SHORTEST = 2.0  #: length of a mixed recording in seconds


def mixed(folder: Path, count: int, longest: float) -> dict[Path, str]:
    """WAV files of the samples' turns, from 2 s to `longest`, log-spaced in length; their texts by path."""
    rng = np.random.default_rng(0)
    turns = _turns()
    made: dict[Path, str] = {}
    for number, seconds in enumerate(np.geomspace(SHORTEST, longest, count)):
        pieces: list[NDArray[np.int16]] = []
        texts: list[str] = []
        while not pieces or sum(map(len, pieces)) < (seconds - 1.5) * RATE:
            audio, text = turns[int(rng.integers(len(turns)))]
            pieces += [audio, np.zeros(round(rng.uniform(0.3, 1.5) * RATE), np.int16)]
            texts.append(text)
        path = folder / f"mixed{number}.wav"
        write_wav(path, np.concatenate(pieces))
        made[path] = " ".join(texts)
    shuffled = list(made)
    return {shuffled[index]: made[shuffled[index]] for index in rng.permutation(len(shuffled))}


def long(folder: Path, seconds: float) -> dict[Path, str]:
    """One recording that repeats the samples, and its text."""
    pieces: list[NDArray[np.int16]] = []
    texts: list[str] = []
    mono = [sample for sample in samples() if sample["channels"] == 1]
    while sum(map(len, pieces)) < seconds * RATE:
        sample = mono[len(texts) % len(mono)]
        pieces += [_int16(SAMPLES / sample["file"]), np.zeros(RATE, np.int16)]
        texts.append(spoken(sample))
    write_wav(folder / "long.wav", np.concatenate(pieces))
    return {folder / "long.wav": " ".join(texts)}


def _turns() -> list[tuple[NDArray[np.int16], str]]:
    found = []
    for sample in samples():
        if sample["channels"] == 1:
            audio = _int16(SAMPLES / sample["file"])
            for turn in sample["turns"]:
                first, last = (max(0, round(at * RATE)) for at in (turn["start"] - 0.1, turn["end"] + 0.1))
                found.append((audio[first:last], turn["text"]))
    return found


def _int16(path: Path) -> NDArray[np.int16]:
    with open_audio(path, max_seconds=3600) as recording:
        samples: NDArray[np.int16] = np.concatenate(list(recording), axis=1)[0]
    return samples
