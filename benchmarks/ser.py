"""The emotion worker against transformers' own pipeline: the same recordings, the same model, the same cores.

    python -m benchmarks.ser                                 the toy model, 64 recordings of 2 to 60 s
    python -m benchmarks.ser --shape base --count 12         random weights of wav2vec2-base's shape; also: large
    python -m benchmarks.ser --shape voices --count 12       the emotion model on Whisper base

speechpipe's worker is called over HTTP with many pushes in flight, on the embedded backend (see `benchmarks.door`). The
pipeline gets decoded arrays, and decoding counts in its time; it runs file by file, and on all files with
`batch_size=8`. It scores each recording as a whole, while speechpipe scores each window of at most five seconds of
speech. To show how much of the difference comes from that, the pipeline also runs on speechpipe's windows, cut
beforehand, one by one.

All run in one process and alternate. The results are saved in benchmarks/results/ with a description of the machine.
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
from speechpipe.settings import EngineSettings
from workers.audio.chunks import speech_chunks
from workers.audio.decoder import SAMPLE_RATE, as_float
from workers.audio.reader import open_audio
from workers.emotion.windows import CHUNK_RULES, windows_of
from workers.models import choice

RESULTS = Path(__file__).parent / "results"
SAMPLES = Path(__file__).parent.parent / "tests" / "samples"
LABELS = ("sadness", "happiness", "anger", "neutral", "disgust", "fear", "surprise")
#: wav2vec2's published shapes. `large` is XLSR-53's and has a layer-norm front end; that of `base` is group-norm.
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
    """WAV files of 2 to 60 s, cut from the concatenated bundled samples; the same ones every time."""
    files = [path for path in sorted(SAMPLES.iterdir()) if path.suffix != ".json"]
    sound = np.concatenate([decode_audio(str(path)) for path in files])
    endless = np.tile((sound * 32767).astype(np.int16), 3)
    chance = random.Random(0)
    made = []
    for number in range(count):
        length = round((2 + 58 * number / max(1, count - 1)) * SAMPLE_RATE)  # evenly spaced
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
    """Make a classifier with random weights: its scores mean nothing, but its speed is real."""
    torch.manual_seed(0)
    config = Wav2Vec2Config(**SHAPES[shape], id2label=dict(enumerate(LABELS)))
    Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=shape == "large").save_pretrained(folder)
    return folder


# ----------------------------------------------------------------------------------------------------------- peers


def decoded(path: Path) -> Array:
    """A file's samples at 16 kHz, shape (n,)."""
    samples: Array = decode_audio(str(path))
    return samples


@contextlib.contextmanager
def library_defaults() -> Iterator[None]:
    """Set torch's defaults, for the peers: all cores for one batch, matrix products by MKL."""
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
    """Classify one sound after the other, as in the pipeline's documentation."""
    for sound in sounds:
        classifier(sound, top_k=None)


@library_defaults()
def in_batches(classifier: Any, files: Sequence[Path]) -> None:
    """Classify all files with the pipeline's own batching."""
    classifier([decoded(path) for path in files], top_k=None, batch_size=8)


def windows(files: Sequence[Path]) -> list[Array]:
    """The windows of speech that speechpipe's worker scores in these files."""
    found = []
    for path in files:
        with open_audio(path, max_seconds=600) as recording:
            for chunk in speech_chunks(recording, CHUNK_RULES):
                found += [as_float(samples) for _, samples in windows_of(chunk)]
    return found


# --------------------------------------------------------------------------------------------------------- measure


def measure(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Wall seconds of each way, round by round; an extra first round warms up and does not count."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            if number:
                took[name].append(time.perf_counter() - began)
    return took


def filling(analyses: Sequence[Analysis]) -> dict[str, float]:
    """How full speechpipe's batches were."""
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
    parser.add_argument("--shape", choices=("toy", "voices", *SHAPES), default="toy")
    parser.add_argument("--count", type=int, default=64, help="recordings")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, default=8, help="pushes at a time")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = {"toy": "toy", "voices": "demo"}.get(given.shape)
        model = model or str(random_model(folder / given.shape, given.shape))
        (folder / "in").mkdir()
        files = recordings(folder / "in", given.count)
        report(given, *run(given, model, files, folder))


def run(
    given: argparse.Namespace, model: str, files: Sequence[Path], folder: Path
) -> tuple[dict[str, Any], float, float, dict[str, list[float]]]:
    """Run all ways, alternating; return the machine, audio seconds, speech seconds, and wall seconds by way."""
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    found = {**machine("torch", "transformers"), "gpu": gpu}
    heard = windows(files)
    classifier: Any = pipeline(
        "audio-classification",
        model=str(choice.choose(Stage.SER, EngineSettings.model_validate({"ser_model": model})).folder),
        device=0 if torch.cuda.is_available() else -1,
    )
    with worker(Stage.SER, choice.load, folder / "backend", given.in_flight, ser_model=model) as door:
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
    """Print the table and save the JSON."""
    middle = {name: statistics.median(seconds) for name, seconds in took.items()}
    ours = next(iter(middle.values()))
    print(f"{given.shape}: {given.count} recordings, {audio:.0f} s of audio, {speech:.0f} s of speech; {found}")
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
