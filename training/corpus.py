"""Synthetic speech for training and evaluation, made once by up to four processes and kept in a cache file."""

from __future__ import annotations

import multiprocessing
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training import sentences, synthesis
from training.synthesis import EMOTIONS, Utterance, Voice


@dataclass(frozen=True)
class Split:
    """A part of the corpus: how many utterances, whether its sentences are held out, and which voices."""

    count: int
    held_out: bool
    voices: str


SPLITS = {
    "train": Split(7000, False, "train"),
    "test": Split(240, True, "train"),
    "voice": Split(160, True, "held out"),
}
_EMOTION_SHARE = {"train": (0.34, 0.22, 0.22, 0.22)}


def _voice(kind: str, rng: np.random.Generator) -> Voice:
    """Draw a voice; 60% of the training utterances use flite, which sounds more natural."""
    if kind == "held out":
        return synthesis.HELD_OUT_VOICES[int(rng.integers(len(synthesis.HELD_OUT_VOICES)))]
    pool = synthesis.FLITE_VOICES if rng.random() < 0.6 else synthesis.ESPEAK_VOICES
    return pool[int(rng.integers(len(pool)))]


def _make(job: tuple[str, int, int]) -> Utterance:
    """Synthesise utterance `index` of a split; the same seed gives the same utterance."""
    split, seed, index = job
    rng = np.random.default_rng([seed, list(SPLITS).index(split), index])
    text = sentences.sentence(random.Random(int(rng.integers(2**31))), SPLITS[split].held_out)
    emotion = EMOTIONS[int(rng.choice(4, p=_EMOTION_SHARE.get(split, (0.25,) * 4)))]
    return synthesis.speak(text, _voice(SPLITS[split].voices, rng), synthesis.draw_prosody(emotion, rng), rng)


def _pack(utterances: list[Utterance]) -> dict[str, npt.NDArray[np.generic]]:
    """Convert utterances to arrays that fit in one file."""
    return {
        "audio": np.concatenate([np.round(u.audio * 32767).clip(-32768, 32767).astype(np.int16) for u in utterances]),
        "lengths": np.array([len(u.audio) for u in utterances]),
        "times": np.concatenate([u.times for u in utterances]),
        "words": np.array([len(u.times) for u in utterances]),
        "text": np.array([u.text for u in utterances]),
        "voice": np.array([u.voice for u in utterances]),
        "emotion": np.array([u.emotion for u in utterances]),
    }


def _unpack(path: Path) -> Iterator[Utterance]:
    """Read the utterances that `_pack` stored."""
    with np.load(path) as stored:
        data = {key: stored[key] for key in stored.files}
    ends, word_ends = np.cumsum(data["lengths"]), np.cumsum(data["words"])
    for index, text in enumerate(data["text"]):
        audio = data["audio"][ends[index] - data["lengths"][index] : ends[index]].astype(np.float32) / 32767
        times = data["times"][word_ends[index] - data["words"][index] : word_ends[index]]
        yield Utterance(str(text), audio, times, str(data["voice"][index]), str(data["emotion"][index]))


def load(split: str, cache: Path, seed: int, log: Callable[[str], object] = print) -> list[Utterance]:
    """Return a split of the corpus, after synthesising it into `cache` if it is not there yet."""
    path = cache / f"{split}-{seed}.npz"
    if not path.exists():
        synthesis.check_tools()
        log(f"synthesising {SPLITS[split].count} utterances ({split})")
        cache.mkdir(parents=True, exist_ok=True)
        jobs = [(split, seed, index) for index in range(SPLITS[split].count)]
        with multiprocessing.Pool(min(4, os.cpu_count() or 1)) as pool:
            made = pool.map(_make, jobs, chunksize=25)
        np.savez(path.with_suffix(".part.npz"), **_pack(made))  # type: ignore[arg-type]
        path.with_suffix(".part.npz").rename(path)
    return list(_unpack(path))
