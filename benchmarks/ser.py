"""The emotion worker against transformers' own pipeline, on the same recordings with the same model on the same cores.

    python -m benchmarks.ser                                 the demo model, 64 recordings of 2 to 60 s
    python -m benchmarks.ser --shape base --count 12         random weights of wav2vec2-base's shape; also: large

Ours goes through the worker's HTTP door, many pushes in flight, on the embedded backend (see `benchmarks.door`).
The pipeline gets decoded arrays, decoding in its time: file by file, and all at once with `batch_size=8`. It takes each
recording as one piece and gives one answer; ours gives one per window of at most five seconds of speech. What of the
difference is owed to that is shown by the pipeline on our windows, cut beforehand, one by one.

All are in one process and take turns. The table goes to benchmarks/results/ with the machine's name in it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import random
import statistics
import tempfile
import time
import wave
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from faster_whisper.audio import decode_audio  # type: ignore[import-untyped]
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    pipeline,
)

from benchmarks.door import worker
from benchmarks.machine import machine
from speechpipe.contract import Analysis, Emotions, Stage
from workers.audio.chunks import stretches
from workers.audio.decoder import SAMPLE_RATE, as_float
from workers.audio.reader import prepare
from workers.emotion.classifier import RULES, windows_of
from workers.models import choice
from workers.models.choice import DEMO_MODELS

RESULTS = Path(__file__).parent / "results"
SAMPLES = DEMO_MODELS.parent / "samples"
LABELS = ("sadness", "happiness", "anger", "neutral", "disgust", "fear", "surprise")
#: wav2vec2's published shapes; `large` is that of XLSR-53, with a layer-norm front end, `base` has a group-norm one.
SHAPES: dict[str, dict[str, Any]] = {
    "base": {},
    "large": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "feat_extract_norm": "layer",
        "conv_bias": True,
        "do_stable_layer_norm": True,
    },
}
Array = npt.NDArray[np.float32]


def recordings(folder: Path, count: int) -> list[Path]:
    """WAV files of 2 to 60 s, always the same ones: pieces of the bundled samples one after the other."""
    files = [path for path in sorted(SAMPLES.iterdir()) if path.suffix != ".json"]
    sound = np.concatenate([decode_audio(str(path)) for path in files])
    endless = np.tile((sound * 32767).astype(np.int16), 3)
    chance = random.Random(0)
    made = []
    for number in range(count):
        length = round((2 + 58 * number / max(1, count - 1)) * SAMPLE_RATE)  # evenly spread
        start = chance.randrange(len(sound))
        made.append(folder / f"{number}.wav")
        with wave.open(str(made[-1]), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes(endless[start : start + length].tobytes())
    chance.shuffle(made)
    return made


def random_model(folder: Path, shape: str) -> Path:
    """A classifier with random weights: its answers mean nothing, its speed does."""
    torch.manual_seed(0)
    config = Wav2Vec2Config(**SHAPES[shape], id2label=dict(enumerate(LABELS)))
    Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=shape == "large").save_pretrained(folder)
    return folder


# ----------------------------------------------------------------------------------------------------------- peers


def decoded(path: Path) -> Array:
    """A file's samples, 16 kHz, shape (n,)."""
    samples: Array = decode_audio(str(path))
    return samples


@contextlib.contextmanager
def library_defaults() -> Iterator[None]:
    """Torch as it comes, for the peers: every core for one batch, matrices multiplied by MKL."""
    threads, permission = torch.get_num_threads(), torch.backends.mkldnn.matmul.fp32_precision
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.backends.mkldnn.matmul.fp32_precision = "none"
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.mkldnn.matmul.fp32_precision = permission


@library_defaults()
def one_by_one(classifier: Any, sounds: Iterable[Array]) -> None:
    """Classify one after the other, as its documentation has it."""
    for sound in sounds:
        classifier(sound, top_k=None)


@library_defaults()
def in_batches(classifier: Any, files: Sequence[Path]) -> None:
    """Classify all files with the pipeline's own batching."""
    classifier([decoded(path) for path in files], top_k=None, batch_size=8)


def windows(files: Sequence[Path]) -> list[Array]:
    """What our worker hears of the files."""
    found = []
    for path in files:
        with prepare(path, max_seconds=600) as recording:
            for stretch in stretches(recording, RULES):
                found += [as_float(heard) for _, heard in windows_of(stretch)]
    return found


# --------------------------------------------------------------------------------------------------------- measure


def measure(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Wall seconds of each way, round by round; the first round warms up and does not count."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            if number:
                took[name].append(time.perf_counter() - began)
    return took


def filling(analyses: Sequence[Analysis]) -> dict[str, float]:
    """How full our batches were."""
    work = [one.work for one in analyses if one.work]
    rows = sum(one.rows for one in work)
    padded = sum(one.padded_seconds for one in work)
    return {
        "windows": rows,
        "rows_of_slots": round(rows / sum(one.row_slots for one in work), 2),
        "padding_share": round(1 - sum(one.filled_seconds for one in work) / padded, 3),
        "engine_seconds": round(sum(one.engine_seconds for one in work), 2),
    }


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=("demo", *SHAPES), default="demo")
    parser.add_argument("--count", type=int, default=64, help="recordings")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, default=8, help="pushes at a time")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = "demo" if given.shape == "demo" else str(random_model(folder / given.shape, given.shape))
        (folder / "in").mkdir()
        files = recordings(folder / "in", given.count)
        report(given, *run(given, model, files, folder))


def run(
    given: argparse.Namespace, model: str, files: Sequence[Path], folder: Path
) -> tuple[dict[str, Any], float, float, dict[str, list[float]]]:
    """All ways in turn: the machine, audio seconds, speech seconds, and wall seconds by way."""
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    found = {**machine("torch", "transformers"), "gpu": gpu}
    heard = windows(files)
    classifier: Any = pipeline(
        "audio-classification",
        model=str(DEMO_MODELS / "ser") if model == "demo" else model,
        device=0 if torch.cuda.is_available() else -1,
    )
    chosen = {"models": "demo"} if model == "demo" else {"ser_model": model}
    with worker(Stage.SER, choice.load, folder / "backend", given.in_flight, **chosen) as door:
        analyses = door(files)
        assert sum(len(one.value.windows) for one in analyses if isinstance(one.value, Emotions)) == len(heard)
        found["batches"] = filling(analyses)
        took = measure(
            {
                "ours, through the HTTP door": lambda: door(files),
                "pipeline, file by file": lambda: one_by_one(classifier, map(decoded, files)),
                "pipeline, batch_size=8": lambda: in_batches(classifier, files),
                "pipeline, our windows one by one": lambda: one_by_one(classifier, heard),
            },
            given.rounds,
        )
    return (
        found,
        sum(len(decoded(path)) for path in files) / SAMPLE_RATE,
        sum(map(len, heard)) / SAMPLE_RATE,
        took,
    )


def report(
    given: argparse.Namespace, found: dict[str, Any], audio: float, speech: float, took: dict[str, list[float]]
) -> None:
    """Print the table and write the JSON."""
    middle = {name: statistics.median(seconds) for name, seconds in took.items()}
    ours = next(iter(middle.values()))
    print(f"{given.shape}: {given.count} recordings, {audio:.0f} s of audio, {speech:.0f} s heard; {found}")
    print(f"{'':36}{'seconds':>10}{'audio s/s':>12}{'ours / it':>12}")
    for name, seconds in middle.items():
        print(f"{name:36}{seconds:10.1f}{audio / seconds:12.1f}{seconds / ours:12.2f}")
    content = {
        "machine": {key: value for key, value in found.items() if key != "batches"},
        "batches": found["batches"],
        "model": given.shape,
        "recordings": given.count,
        "in_flight": given.in_flight,
        "audio_seconds": round(audio, 1),
        "heard_seconds": round(speech, 1),
        "ways": {
            name: {
                "wall_seconds": [round(one, 2) for one in took[name]],
                "audio_seconds_per_second": round(audio / seconds, 1),
                "ours_is_so_many_times_as_fast": round(seconds / ours, 2),
            }
            for name, seconds in middle.items()
        },
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"ser-{given.shape}.json").write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
