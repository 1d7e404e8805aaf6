"""Train the head of the emotion model on real voices: EMO-DB's four emotions through Whisper base's first layers.

    python -m training.train_voices FOLDER --base BASE     FOLDER: labels.csv (file, emotion, speaker) and its clips
                                                           BASE: a folder with Whisper base in CTranslate2's format

It takes about four minutes on two CPU cores, most of it for features, which are kept in `--cache`. Everything
is chosen and measured by speakers: one is left out, the head learns from the others, and hears the one it left out. The
head that is saved never heard the speaker of `--without`, who is in the demo.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from training import cards
from training.voice_features import EMOTIONS, LAYERS, Clip, cached, clips, extractor, whisper_config

OUTPUT = Path(__file__).parents[1] / "workers" / "demo" / "models" / "voices"
TRAINED_ON = ("clean", "mild 1", "mild 2", "mild 3", "mild 4 long", "mild 5 padded", "mild 6 padded", "mild 7 short")
HARSH = ("harsh 1", "harsh 2")
"""Beyond what the head was trained for; with clean and mild clips they decide between layers and penalties."""

CALIBRATED_ON = ("foreign 1", "foreign 2")
"""Confidence has to hold for voices, languages and microphones unlike those of EMO-DB. The strength of these shifts was
set once, by what held-out heads recognise in them: about half, as a head that learns from one corpus does in others."""

SURE = 2 / 3
"""The model is sure from the confidence at which it is right in two of three cases."""

MIXES = {
    "before the layers": (1.0, 0.0, 0.0, 0.0),
    "layer 1": (0.0, 1.0, 0.0, 0.0),
    "layer 2": (0.0, 0.0, 1.0, 0.0),
    "layer 3, normalised": (0.0, 0.0, 0.0, 1.0),
    "layers 2 and 3": (0.0, 0.0, 0.7, 0.3),
}
"""Weights of the states: before the first layer, after layers 1 and 2, and after layer 3 normalised, which is about
four times as large as the others."""

PENALTIES = (0.03, 0.1, 0.3)


@dataclass(frozen=True)
class Head:
    """A linear head on one mix of the layers: logits = features @ weights + offsets."""

    weights: Tensor  #: shape (512, emotions)
    offsets: Tensor  #: shape (emotions,)


def fit(features: Tensor, labels: Tensor, penalty: float) -> Head:
    """Fit by cross-entropy with classes weighted equally, and a penalty on squared weights of standardised features."""
    middle, width = features.mean(0), features.std(0) + 1e-6
    inputs = (features - middle) / width
    counts = torch.bincount(labels, minlength=len(EMOTIONS)).float()
    weights = torch.zeros(inputs.shape[1], len(EMOTIONS), requires_grad=True)
    offsets = torch.zeros(len(EMOTIONS), requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, offsets], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        wrong = cross_entropy(inputs @ weights + offsets, labels, weight=len(labels) / (len(counts) * counts))
        total = wrong + penalty * (weights**2).sum()
        torch.autograd.backward(total)
        return total

    optimizer.step(loss)
    scaled = weights.detach() / width[:, None]
    return Head(scaled, offsets.detach() - middle @ scaled)


def temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature at which the scores of these logits are the most likely."""
    grid = torch.logspace(-0.5, 1.2, 171)
    losses = torch.stack([cross_entropy(logits / one, labels) for one in grid])
    return round(float(grid[losses.argmin()]), 3)


def sure_from(logits: Tensor, labels: Tensor, divisor: float) -> float:
    """The lowest confidence at which these logits are right in SURE of the cases, if accuracy rises with confidence.

    Isotonic regression by pooling adjacent violators (Barlow and others, Statistical Inference under Order
    Restrictions, 1972). Raises ValueError if they are nowhere right that often.
    """
    confidence, order = log_softmax(logits / divisor, 1).exp().max(1).values.sort()
    right = (logits.argmax(1) == labels)[order]
    pools: list[tuple[float, int, float]] = []  # lowest confidence, clips, of these right
    for lowest, one in zip(confidence.tolist(), right.tolist(), strict=True):
        pool = (lowest, 1, float(one))
        while pools and pools[-1][2] * pool[1] >= pool[2] * pools[-1][1]:
            before = pools.pop()
            pool = (before[0], before[1] + pool[1], before[2] + pool[2])
        pools.append(pool)
    found = next((lowest for lowest, clips, hits in pools if hits >= SURE * clips), None)
    if found is None:
        raise ValueError("the head is nowhere right in two of three cases")
    return round(found, 3)


@dataclass(frozen=True)
class Data:
    """The clips' features by way, and whose they are."""

    features: dict[str, Tensor]  #: shape (clips, LAYERS + 1, 512) each
    labels: Tensor
    speakers: Sequence[str]

    def of(self, ways: Sequence[str], mix: Sequence[float], clips: Tensor) -> tuple[Tensor, Tensor]:
        """The mixed features of these clips in these ways, one way after another, and their labels."""
        layers = torch.tensor(mix)[None, :, None]
        mixed = [(self.features[way][clips] * layers).sum(1) for way in ways]
        return torch.cat(mixed), self.labels[clips].repeat(len(ways))

    def split(self, speaker: str) -> tuple[Tensor, Tensor]:
        """The clips of all other speakers, and those of this one."""
        his = torch.tensor([one == speaker for one in self.speakers])
        return (~his).nonzero()[:, 0], his.nonzero()[:, 0]


def held_out(data: Data, mix: Sequence[float], penalty: float, ways: Sequence[str]) -> dict[str, Tensor]:
    """For each way the logits of every clip, from a head that never heard its speaker."""
    logits = {way: torch.zeros(len(data.labels), len(EMOTIONS)) for way in ways}
    for speaker in sorted(set(data.speakers)):
        others, his = data.split(speaker)
        head = fit(*data.of(TRAINED_ON, mix, others), penalty)
        for way in ways:
            logits[way][his] = data.of([way], mix, his)[0] @ head.weights + head.offsets
    return logits


def choose(data: Data) -> tuple[str, float, dict[str, Any]]:
    """The mix and the penalty whose held-out recall is highest over clean, mild and harsh clips; and all recalls."""
    ways = ("clean", "mild 1", "mild 2", *HARSH)
    tried = {}
    for name, mix in MIXES.items():
        for penalty in PENALTIES:
            logits = held_out(data, mix, penalty, ways)
            recalls = {way: recall(logits[way], data.labels) for way in ways}
            tried[name, penalty] = recalls
            print(name, penalty, {way: round(one, 3) for way, one in recalls.items()}, flush=True)
    best = max(tried, key=lambda one: sum(tried[one].values()))
    return *best, {f"{name}, penalty {penalty}": _rounded(one) for (name, penalty), one in tried.items()}


def recall(logits: Tensor, labels: Tensor) -> float:
    """Unweighted recall: the mean over the emotions of the share that is found."""
    right = logits.argmax(1) == labels
    return float(torch.stack([right[labels == one].float().mean() for one in range(len(EMOTIONS))]).mean())


def measured(logits: Tensor, labels: Tensor, divisor: float) -> dict[str, Any]:
    """Accuracy, unweighted recall, mean confidence and confusion (rows: acted, columns: predicted) of clips."""
    predicted = logits.argmax(1)
    confidence = log_softmax(logits / divisor, 1).exp().max(1).values
    table = np.zeros((len(EMOTIONS), len(EMOTIONS)), int)
    np.add.at(table, (labels.numpy(), predicted.numpy()), 1)
    return {
        "clips": len(labels),
        "accuracy": round(float((predicted == labels).float().mean()), 4),
        "unweighted_recall": round(recall(logits, labels), 4),
        "mean_confidence": round(float(confidence.mean()), 4),
        "confusion": table.tolist(),
    }


def save(head: Head, mix: Sequence[float], calibration: dict[str, Any], output: Path) -> None:
    """Write the head as weights of WhisperForAudioClassification, with the model's configuration."""
    output.mkdir(parents=True, exist_ok=True)
    # The class mixes the layers by a softmax, projects, averages over time and classifies. The head stands in the
    # projection, since all of these are linear; the classification keeps what it gets.
    weights = {
        "layer_weights": torch.log(torch.tensor(mix) + 1e-12),
        "projector.weight": head.weights.T.contiguous(),
        "projector.bias": head.offsets,
        "classifier.weight": torch.eye(len(EMOTIONS)),
        "classifier.bias": torch.zeros(len(EMOTIONS)),
        "encoder.layer_norm.weight": torch.ones(head.weights.shape[0]),
        "encoder.layer_norm.bias": torch.zeros(head.weights.shape[0]),
    }
    save_file(weights, output / "head.safetensors", {"format": "pt"})
    (output / "head.safetensors").chmod(0o644)  # safetensors makes it for its owner alone
    config = whisper_config()
    config.calibration = calibration
    config.save_pretrained(output)
    prepare = extractor()
    prepare.short_windows = "own_length"  # speechpipe's own, see `workers.emotion.own_length`
    prepare.save_pretrained(output)


def evaluation(
    found: Sequence[Clip], data: Data, given: argparse.Namespace
) -> tuple[Head, Sequence[float], dict[str, Any]]:
    """Choose and measure by leaving speakers out; return the head without one speaker, its mix, and the figures."""
    name, penalty, tried = choose(data)
    mix = MIXES[name]
    logits = held_out(data, mix, penalty, tuple(data.features))
    foreign = torch.cat([logits[way] for way in CALIBRATED_ON]), data.labels.repeat(len(CALIBRATED_ON))
    divisor = temperature(*foreign)
    others, his = data.split(given.without)
    head = fit(*data.of(TRAINED_ON, mix, others), penalty)
    by_speaker = {
        speaker: measured(logits["clean"][rows], data.labels[rows], divisor)["accuracy"]
        for speaker in sorted(set(data.speakers))
        for rows in [data.split(speaker)[1]]
    }
    figures = {
        "seed": given.seed,
        "emotions": list(EMOTIONS),
        "clips": len(found),
        "speakers": len(by_speaker),
        "not_heard": {"speaker": given.without, **measured(logits["clean"][his], data.labels[his], divisor)},
        "layers": LAYERS,
        "mix": name,
        "penalty": penalty,
        "temperature": divisor,
        "sure_from": sure_from(*foreign, divisor),
        "speakers_left_out": {way: measured(one, data.labels, divisor) for way, one in logits.items()},
        "accuracy_by_speaker_left_out": by_speaker,
        "recall_of_every_choice": tried,
    }
    return head, mix, figures


def _rounded(recalls: dict[str, float]) -> dict[str, float]:
    return {way: round(one, 4) for way, one in recalls.items()}


def main() -> None:
    """Choose, measure and save the head."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the clips, with labels.csv")
    parser.add_argument("--base", type=Path, required=True, help="folder of Whisper base in CTranslate2's format")
    parser.add_argument("--seed", type=int, default=7, help="seed of what is done to the clips")
    parser.add_argument("--without", default="14", help="a speaker that the saved head never hears")
    parser.add_argument("--cache", type=Path, default=Path("build/voices"), help="folder for the features")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder of the head")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    found = clips(given.folder)
    features = cached(found, given.base, given.cache, given.seed, given.threads)
    data = Data(
        {way: torch.from_numpy(array) for way, array in features.items()},
        torch.tensor([EMOTIONS.index(one.emotion) for one in found]),
        [one.speaker for one in found],
    )
    head, mix, figures = evaluation(found, data, given)
    calibration = {key: figures[key] for key in ("temperature", "sure_from")}
    calibration["fitted_on"] = "EMO-DB, speakers left out one by one, in shifts as far from it as another corpus"
    save(head, mix, calibration, given.output)
    (given.output / "evaluation.json").write_text(json.dumps(figures, indent=2) + "\n")
    cards.write_voices_card(given.output)
    chosen = ("mix", "penalty", "temperature", "sure_from", "not_heard")
    print(json.dumps({key: figures[key] for key in chosen}, indent=2))


if __name__ == "__main__":
    main()
