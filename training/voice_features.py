"""Features for `training.train_voices`: what the first layers of Whisper base's encoder make of a voice, on average.

The encoder is never trained, so each clip passes through it once for each way in which it is changed.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from faster_whisper.audio import decode_audio  # type: ignore[import-untyped]
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForAudioClassification

from training import shifts
from training.synthesis import RATE, Audio
from workers.emotion.own_length import OwnLengths, log_mel, repeated
from workers.models.whisper_encoder import encoder_weights

SECONDS, POSITIONS, LAYERS = 5, 250, 3
"""Length of a window, the encoder's positions for it, and the number of layers that are used."""

EMOTIONS = ("anger", "happiness", "neutral", "sadness")
Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Clip:
    """A clip of one speaker and one acted emotion."""

    speaker: str
    emotion: str
    audio: Audio


def clips(folder: Path) -> list[Clip]:
    """The clips that `labels.csv` in a folder names (file, emotion, speaker), at -25 dBFS."""
    with (folder / "labels.csv").open(newline="") as file:
        return [
            Clip(row["speaker"], row["emotion"], shifts.at_level(decode_audio(str(folder / row["file"])), -25.0))
            for row in csv.DictReader(file)
        ]


def whisper_config() -> WhisperConfig:
    """The configuration of the classifier: base's widths, the first layers, positions for five seconds."""
    return WhisperConfig(
        d_model=512,
        encoder_layers=LAYERS,
        encoder_attention_heads=8,
        encoder_ffn_dim=2048,
        decoder_layers=1,  # there is no decoder, but the configuration wants one
        max_source_positions=POSITIONS,
        use_weighted_layer_sum=True,
        classifier_proj_size=4,
        id2label=dict(enumerate(EMOTIONS)),
        label2id={name: index for index, name in enumerate(EMOTIONS)},
        architectures=["WhisperForAudioClassification"],
    )


def extractor() -> Any:
    """The feature extractor for windows of five seconds."""
    return WhisperFeatureExtractor(chunk_length=SECONDS)


def ways(seed: int) -> dict[str, Callable[[Audio], Audio]]:
    """The ways in which every clip is changed: as it is, mildly (to train with), harshly, and single shifts (to test).

    The names that end in `padded` are filled with zeros to five seconds, as by transformers' pipeline, those that end
    in `long` by repetition. The others keep their own length, which is between one and five seconds in `short` ones.
    """
    rng = np.random.default_rng(seed)
    mild = {
        f"mild {number}": lambda audio: shifts.mild(audio, rng)
        for number in ("1", "2", "3", "4 long", "5 padded", "6 padded")
    }
    mild["mild 7 short"] = lambda audio: shifts.middle(shifts.mild(audio, rng), rng.uniform(1.0, 2.0))
    return {
        "clean": lambda audio: audio,
        **mild,
        "harsh 1": lambda audio: shifts.harsh(audio, rng),
        "harsh 2": lambda audio: shifts.harsh(audio, rng),
        "clean padded": lambda audio: audio,
        "clean long": lambda audio: audio,
        "telephone": lambda audio: shifts.telephone(shifts.at_level(audio, -20.0)),
        "noise 10 dB": lambda audio: shifts.noisy(audio, 10, rng),
        "1 s": lambda audio: shifts.middle(audio, 1.0),
        "0.5 s": lambda audio: shifts.middle(audio, 0.5),
        "foreign 1": lambda audio: shifts.foreign(audio, rng),
        "foreign 2": lambda audio: shifts.foreign(audio, rng),
    }


def features(audios: Sequence[Audio], base: Path, threads: int) -> Iterator[Array]:
    """For each audio the means over time of the states, shape (LAYERS + 1, 512).

    The states are those that the classifier sums: before the first layer, after each, and the last one normalised
    (mean 0, deviation 1 at each position).
    """
    torch.set_num_threads(threads)
    model = WhisperForAudioClassification(whisper_config()).eval()
    weights = encoder_weights(base / "model.bin", layers=LAYERS, positions=POSITIONS)
    model.encoder.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    model.encoder.layer_norm.reset_parameters()
    lengths, prepare = OwnLengths(model), extractor()
    with torch.inference_mode():
        for audio in audios:
            inputs = torch.from_numpy(log_mel(prepare, audio))[None]
            states = lengths(inputs.shape[-1]).encoder(inputs, output_hidden_states=True).hidden_states
            yield torch.stack([state.mean(1) for state in states], 1)[0].numpy()


def cached(found: Sequence[Clip], base: Path, cache: Path, seed: int, threads: int) -> dict[str, Array]:
    """The features of every clip in every way, shape (clips, LAYERS + 1, 512) each, from the cache."""
    cache.mkdir(parents=True, exist_ok=True)
    made = {}
    for name, change in ways(seed).items():
        changed = [change(one.audio)[: SECONDS * RATE] for one in found]  # always, as each draws from one generator
        if name.endswith("padded"):
            changed = [np.pad(audio, (0, SECONDS * RATE - len(audio))) for audio in changed]
        elif name.endswith("long"):
            changed = [repeated(audio, SECONDS * RATE) for audio in changed]
        path = cache / f"{name.replace(' ', '_')}.npy"
        if not path.is_file():
            np.save(path, np.stack(list(features(changed, base, threads))))
            print(name, flush=True)
        made[name] = np.load(path)
    return made
