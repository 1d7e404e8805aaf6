"""Train the bundled toy recogniser: a small Whisper on synthesised service calls.

Run ``python -m training.train_whisper``; it needs the Debian packages espeak-ng and flite, and about an hour and a
half on two CPU cores. ``--evaluate`` trains nothing: it measures the model in ``--output`` and rewrites its
evaluation.json and card.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from training import cards, corpus, evaluate_whisper
from training.export_whisper import export
from training.targets import Batch, collate
from training.tokens import Ids, build_tokenizer
from training.whisper_model import TrainableWhisper, Weights
from training.windows import Mixer

MODELS = Path(__file__).parents[1] / "workers" / "demo" / "models" / "whisper"


@dataclass(frozen=True)
class Phase:
    """A phase of training: steps, windows per step, window length (s), sentences per window, learning rates, losses.

    `augmentation` scales how often the sound is distorted. A share of the steps, `full_share`, has a third as many
    windows, each of the full 30 s and with up to `most_full` sentences.
    """

    name: str
    steps: int
    batch: int
    seconds: float
    most: int
    rate: tuple[float, float]
    weights: Weights
    augmentation: float = 1.0
    full_share: float = 0.0
    most_full: int = 9


PHASES = [
    Phase("start", 450, 12, 4.0, 2, (1.5e-3, 1.3e-3), Weights(), 0.6),
    Phase("clean", 500, 12, 4.0, 2, (1.3e-3, 1.2e-3), Weights(letters=0.5, frames=1.0), 0.1),
    Phase("letters", 900, 12, 4.0, 2, (1.3e-3, 1e-3), Weights(letters=0.5, frames=1.0), 0.25),
    Phase("mixed", 300, 12, 4.0, 2, (1.2e-3, 1e-3), Weights(), 0.35, 0.2),
    Phase("full", 700, 12, 5.0, 2, (9e-4, 1e-5), Weights(letters=0, frames=0.5, attention=0.3), 0.15, 0.25),
    Phase("windows", 220, 12, 5.0, 2, (6e-4, 1e-5), Weights(letters=0, frames=0.3, attention=0.4), 0.15, 0.6),
    Phase("sentences", 1300, 12, 5.0, 2, (1e-3, 1e-5), Weights(letters=0, frames=0.4, attention=0.3), 0.25, 0.3, 4),
]


def draw_batch(mixer: Mixer, phase: Phase, ids: Ids, rng: random.Random) -> Batch:
    """Draw the windows of a step, all with the same random start in the 30 s (always 0 for full windows)."""
    seconds, size, most = phase.seconds, phase.batch, phase.most
    if rng.random() < phase.full_share:
        seconds, size, most = 30.0, phase.batch // 3, phase.most_full
    frames = round(seconds * 100)
    offset = 0.0 if rng.random() < 0.4 else rng.randint(0, int((30 - seconds) * 10)) / 10
    silent = [rng.random() < 0.08 for _ in range(size)]
    windows = [
        mixer.silence(frames, offset) if empty else mixer.speech(frames, rng.randint(1, most), offset)
        for empty in silent
    ]
    return collate(windows, ids, rng)


def run_phase(model: TrainableWhisper, mixer: Mixer, phase: Phase, rng: random.Random, checkpoint: Path) -> None:
    """Train for one phase; the learning rate rises over 40 steps and falls along a half cosine."""
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    mixer.augmentation = phase.augmentation
    model.train()
    began = time.monotonic()
    totals: dict[str, float] = {}
    for step in range(1, phase.steps + 1):
        cosine = 0.5 + 0.5 * math.cos(math.pi * step / phase.steps)
        rate = min(step / 40, 1.0) * (phase.rate[1] + (phase.rate[0] - phase.rate[1]) * cosine)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss, report = model(draw_batch(mixer, phase, model.ids, rng), phase.weights)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        for name, value in report.items():
            totals[name] = totals.get(name, 0.0) + value / 25
        if step % 25 == 0:
            seconds = time.monotonic() - began
            print(phase.name, step, f"{seconds:.0f} s", {k: round(v, 3) for k, v in totals.items()}, flush=True)
            totals = {}
        if step % 50 == 0 or step == phase.steps:
            torch.save(model.state_dict(), checkpoint)


def train(seed: int, cache: Path, phases: list[Phase], resume: Path | None) -> TrainableWhisper:
    """Train a model through `phases`, with checkpoints in the cache folder."""
    torch.manual_seed(seed)
    ids = Ids(build_tokenizer(seed))
    model = TrainableWhisper(ids)
    if resume:
        model.load_state_dict(torch.load(resume))
    utterances = corpus.load("train", cache, seed)
    mixer = Mixer(utterances, np.random.default_rng(seed), cache=cache / f"mels-{seed}.npy")
    for number, phase in enumerate(phases):
        run_phase(model, mixer, phase, random.Random(seed * 100 + number), cache / f"whisper-{phase.name}.pt")
    return model


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=7, help="seed for the sentences, voices, noises and weights")
    parser.add_argument("--cache", type=Path, default=Path("build/toy"), help="folder for speech and checkpoints")
    parser.add_argument("--output", type=Path, default=MODELS, help="folder of the trained model")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--start", default=PHASES[0].name, choices=[p.name for p in PHASES], help="first phase to run")
    parser.add_argument("--resume", type=Path, help="checkpoint to start from")
    parser.add_argument("--most", type=int, default=1000, help="sentences per test of the evaluation")
    parser.add_argument("--evaluate", action="store_true", help="only measure the trained model")
    return parser.parse_args()


def main() -> None:
    """Train, export and evaluate, or only evaluate."""
    options = arguments()
    torch.set_num_threads(options.threads)
    if not options.evaluate:
        names = [phase.name for phase in PHASES]
        phases = PHASES[names.index(options.start) :]
        export(train(options.seed, options.cache, phases, options.resume), options.output)
    evaluate_whisper.write(options.output, options.cache, options.seed, options.most)
    cards.write_whisper_card(options.output)


if __name__ == "__main__":
    main()
