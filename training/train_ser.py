"""Train the bundled toy emotion classifier: a small wav2vec2 on synthesised prosody.

Run ``python -m training.train_ser``; it needs the Debian packages espeak-ng and flite, and about half an hour on
two CPU cores. ``--evaluate`` trains nothing: it measures the model in ``--output`` and rewrites its evaluation.json
and card.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
)

from training import cards, corpus, noises, samples
from training.shifts import noisy, telephone
from training.synthesis import EMOTIONS, RATE, Audio, Utterance

BANDS, TAPS = 48, 400
"""Frequency bands of the first convolution, and its kernel's length in samples (25 ms)."""

LENGTHS = (2, 3, 5)
"""Window lengths (s) of a batch; there are few, because PyTorch's CPU kernels are prepared anew for each shape."""

MODELS = Path(__file__).parents[1] / "workers" / "demo" / "models" / "ser"


def ser_config() -> Wav2Vec2Config:
    """Configuration of the toy model: one frame per 40 ms, four labels."""
    return Wav2Vec2Config(
        vocab_size=4,
        hidden_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=256,
        conv_dim=(4 * BANDS, 96, 96),
        conv_kernel=(TAPS, 3, 3),
        conv_stride=(160, 2, 2),
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=8,
        classifier_proj_size=64,
        apply_spec_augment=False,
        layerdrop=0.0,
        hidden_dropout=0.05,
        attention_dropout=0.05,
        activation_dropout=0.05,
        feat_proj_dropout=0.0,
        final_dropout=0.0,
        id2label=dict(enumerate(EMOTIONS)),
        label2id={name: index for index, name in enumerate(EMOTIONS)},
    )


@torch.no_grad()
def build_model() -> Wav2Vec2ForSequenceClassification:
    """Build an untrained model that starts with a filter bank, which the network would learn slowly.

    The first convolution holds 48 bands (70 Hz to 7 kHz) in four phases each. The second convolution starts as the
    sum of a band's rectified phases, which is its loudness.
    """
    model = Wav2Vec2ForSequenceClassification(ser_config())
    layers: Any = model.wav2vec2.feature_extractor.conv_layers
    first, second = layers[0].conv, layers[1].conv
    frequencies = torch.logspace(math.log10(70), math.log10(7000), BANDS).repeat_interleave(4)[:, None]
    moments = (torch.arange(TAPS) - (TAPS - 1) / 2) / RATE
    phases = torch.arange(4 * BANDS)[:, None] % 4 * math.pi / 2
    waves = torch.cos(2 * math.pi * frequencies * moments + phases) * torch.hann_window(TAPS, periodic=False)
    first.weight[:, 0] = 0.1 * (waves - waves.mean(1, keepdim=True))
    second.weight *= 0.3
    for band in range(BANDS):
        second.weight[band, 4 * band : 4 * band + 4] += 0.1
    return model


def extractor() -> Any:
    """Return the feature extractor, which normalises audio to zero mean and unit variance and masks padding."""
    kind: Any = Wav2Vec2FeatureExtractor
    return kind(feature_size=1, sampling_rate=RATE, padding_value=0.0, do_normalize=True, return_attention_mask=True)


def _crop(audio: Audio, rng: np.random.Generator, most: float = 5.0) -> Audio:
    """Cut a window of 1 to `most` s from a sentence, sometimes with silence around it."""
    length = int(RATE * rng.uniform(1.0, most))
    if len(audio) > length:
        first = int(rng.integers(len(audio) - length + 1))
        audio = audio[first : first + length]
    if rng.random() < 0.5:
        before, after = (int(RATE * rng.exponential(0.25)) for _ in range(2))
        audio = np.concatenate([np.zeros(before), audio, np.zeros(after)]).astype(np.float32)
    return audio[: int(most * RATE)]


def _distort(audio: Audio, rng: np.random.Generator) -> Audio:
    """Simulate a dull or bright microphone, noise (SNR 8 to 40 dB) and a telephone line, each with some probability."""
    if rng.random() < 0.3:
        spectrum = np.fft.rfft(audio)
        frequencies = np.fft.rfftfreq(len(audio), 1 / RATE)
        slope = rng.uniform(-1.5, 1.5) * np.log2(np.maximum(frequencies, 100) / 1000)
        audio = np.fft.irfft(spectrum * 10 ** (slope / 20), len(audio)).astype(np.float32)
    if rng.random() < 0.6:
        kind = str(rng.choice(["white", "pink", "brown", "hum", "bursts"]))
        noise = noises.no_speech(kind, len(audio) / RATE, rng)[: len(audio)]
        level = np.sqrt(np.mean(audio**2) / (np.mean(noise**2) + 1e-12)) * 10 ** (-rng.uniform(8, 40) / 20)
        audio = audio[: len(noise)] + (noise * level).astype(np.float32)
    return telephone(audio) if rng.random() < 0.5 else audio


def draw_batch(
    utterances: list[Utterance], size: int, rng: np.random.Generator, distorted: float
) -> tuple[dict[str, Tensor], Tensor]:
    """Draw windows, of which a share is distorted, and the indices of their emotions."""
    chosen = [utterances[int(index)] for index in rng.integers(len(utterances), size=size)]
    most = LENGTHS[int(rng.choice(len(LENGTHS), p=(0.25, 0.45, 0.3)))]
    windows = [_crop(one.audio, rng, most) for one in chosen]
    windows = [_distort(audio, rng) if rng.random() < distorted else audio for audio in windows]
    labels = torch.tensor([EMOTIONS.index(one.emotion) for one in chosen])
    padded = extractor()(windows, sampling_rate=RATE, padding="max_length", max_length=most * RATE, return_tensors="pt")
    return dict(padded), labels


def train(utterances: list[Utterance], steps: int, options: argparse.Namespace) -> Wav2Vec2ForSequenceClassification:
    """Train; the learning rate rises over 60 steps and falls along a half cosine.

    The share of distorted windows grows from 0 to 75% over the first half.
    """
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    model = build_model()
    if options.resume:
        model.load_state_dict(torch.load(options.resume))
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.02, fused=True)
    began, right, total = time.monotonic(), 0.0, 0.0
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(step / 60, 0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * step / steps)))
        inputs, labels = draw_batch(utterances, options.batch, rng, min(1.5 * step / steps, 0.75))
        logits = model(**inputs).logits
        loss = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.05)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        right += float((logits.argmax(1) == labels).float().mean()) / 25
        total += float(loss.detach()) / 25
        if step % 25 == 0:
            print(step, f"{time.monotonic() - began:.0f} s  loss {total:.3f}  right {right:.3f}", flush=True)
            right, total = 0.0, 0.0
    model.eval()
    return model


def export(model: Any, output: Path) -> None:
    """Save the model in half precision, with the settings of its feature extractor."""
    model.half().save_pretrained(output)
    extractor().save_pretrained(output)


@torch.no_grad()
def _table(model: Any, prepare: Any, utterances: list[Utterance], change: Callable[[Audio], Audio]) -> dict[str, Any]:
    """Accuracy and confusion table (rows: intended, columns: predicted) over sentences, each cut to its first 5 s."""
    table = np.zeros((4, 4), int)
    for one in utterances:
        inputs = prepare(change(one.audio[: 5 * RATE]), sampling_rate=RATE, return_tensors="pt")
        predicted = model.config.id2label[int(model(**inputs).logits.argmax())]
        table[EMOTIONS.index(one.emotion), EMOTIONS.index(predicted)] += 1
    accuracy = round(float(np.trace(table) / table.sum()), 4)
    return {"windows": int(table.sum()), "accuracy": accuracy, "confusion": table.tolist()}


def evaluate(folder: Path, cache: Path, seed: int) -> dict[str, Any]:
    """Measure on held-out sentences, distorted in several ways, on the held-out voice and on the bundled samples."""
    model = AutoModelForAudioClassification.from_pretrained(folder, dtype=torch.float32).eval()
    extractors: Any = AutoFeatureExtractor
    prepare = extractors.from_pretrained(folder)
    test, voice = (corpus.load(split, cache, seed) for split in ("test", "voice"))
    rng = np.random.default_rng([seed, 96])
    espeak = [one for one in test if one.voice.startswith("espeak")]
    ways: dict[str, tuple[list[Utterance], Callable[[Audio], Audio]]] = {
        "held_out_sentences": (test, lambda audio: audio),
        "held_out_sentences_espeak_only": (espeak, lambda audio: audio),
        "held_out_sentences_windows_1_to_5_s": (test, lambda audio: _crop(audio, rng)),
        "held_out_sentences_telephone": (test, telephone),
        "held_out_sentences_noise_15_db": (test, lambda audio: noisy(audio, 15, rng)),
        "held_out_sentences_quiet": (test, lambda audio: audio * np.float32(0.05)),
        "held_out_voice": (voice, lambda audio: audio),
        "bundled_samples": (sample_turns(), lambda audio: audio),
    }
    figures = {name: _table(model, prepare, *way) for name, way in ways.items()}
    count = sum(parameter.numel() for parameter in model.parameters())
    return {"seed": seed, "parameters": count, "labels": list(EMOTIONS), **figures}


def sample_turns() -> list[Utterance]:
    """Cut out the turns of the bundled samples, up to 5 s each."""
    found = []
    for entry, channels in samples.read():
        for turn in entry["turns"]:
            first, last = (int(turn[key] * RATE) for key in ("start", "end"))
            audio = channels[turn["channel"]][first : min(last, first + 5 * RATE)]
            found.append(Utterance(turn["text"], audio, np.zeros((0, 2), np.float32), entry["file"], turn["emotion"]))
    return found


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=7, help="seed for the sentences, voices, noises and weights")
    parser.add_argument("--cache", type=Path, default=Path("build/toy"), help="folder for the synthesised speech")
    parser.add_argument("--output", type=Path, default=MODELS, help="folder of the trained model")
    parser.add_argument("--steps", type=int, default=2500, help="training steps")
    parser.add_argument("--batch", type=int, default=16, help="windows per step")
    parser.add_argument("--resume", type=Path, help="weights to start from (ser.pt in the cache folder)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--evaluate", action="store_true", help="only measure the trained model")
    return parser.parse_args()


def main() -> None:
    """Train, export and evaluate, or only evaluate."""
    options = arguments()
    torch.set_num_threads(options.threads)
    if not options.evaluate:
        utterances = corpus.load("train", options.cache, options.seed)
        model = train(utterances, options.steps, options)
        torch.save(model.state_dict(), options.cache / "ser.pt")
        export(model, options.output)
    figures = evaluate(options.output, options.cache, options.seed)
    (options.output / "evaluation.json").write_text(json.dumps(figures, indent=2) + "\n")
    cards.write_ser_card(options.output)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
