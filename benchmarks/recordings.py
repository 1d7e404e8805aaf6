"""Recordings with known words, made from sentences; the same ones every time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import references
from tests.media import RATE, SAMPLES, samples, spoken, write_wav
from workers.audio.reader import open_audio

SHORTEST = 2.0  #: length of a mixed recording in seconds
REAL_SAMPLES = Path(__file__).parents[1] / "workers" / "demo" / "samples"

Turn = tuple[NDArray[np.int16], str]  #: a sentence, 16 kHz, and its text


def mixed(folder: Path, count: int, longest: float, turns: Sequence[Turn] = ()) -> dict[Path, str]:
    """WAV files of turns (default: the toy's), from 2 s to `longest`, log-spaced in length; their texts by path."""
    rng = np.random.default_rng(0)
    turns = turns or _toy_turns()
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


def long(folder: Path, seconds: float, turns: Sequence[Turn] = ()) -> dict[Path, str]:
    """One recording that repeats turns (default: the toy's samples), with pauses of a second, and its text."""
    mono = [sample for sample in samples() if sample["channels"] == 1]
    turns = turns or [(_int16(SAMPLES / sample["file"]), spoken(sample)) for sample in mono]
    pieces: list[NDArray[np.int16]] = []
    texts: list[str] = []
    while sum(map(len, pieces)) < seconds * RATE:
        audio, text = turns[len(texts) % len(turns)]
        pieces += [audio, np.zeros(RATE, np.int16)]
        texts.append(text)
    write_wav(folder / "long.wav", np.concatenate(pieces))
    return {folder / "long.wav": " ".join(texts)}


def real_turns(folder: Path | None) -> list[Turn]:
    """English sentences of real speech: of a folder with a refs.csv, or else the bundled samples.

    Raises NoReferences.
    """
    if folder is None:
        listed = json.loads((REAL_SAMPLES / "samples.json").read_text())
        chosen = [one for one in listed if one["channels"] == 1 and one["languages"] == ["en"]]
        return [(_int16(REAL_SAMPLES / one["file"]), " ".join(one["text"])) for one in chosen]
    found, _ = references.read(folder)
    return [(_int16(folder / one.file), one.text) for one in found if one.language == "en"]


def _toy_turns() -> list[Turn]:
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
