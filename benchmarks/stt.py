"""Speech to text, ours against faster-whisper on the same files, with the same model and options, in turns.

    python -m benchmarks.stt [--models demo tiny base] [--files 64] [--long 1200] [--repeats 3]

- ours: the worker's engine, files from as many threads as `--at-once`, rows in common batches
- batched: faster-whisper's BatchedInferencePipeline, file by file
- sequential: WhisperModel.transcribe with voice activity detection, file by file

All decode the files themselves, detect the language, search with beam 5 and give word times. `demo` is the bundled
model, for the words: ours gives it a sentence at a time, as it wants, so its speeds say little. `tiny` and `base` are
OpenAI's shapes with random weights, for the speed: every row is made to have TOKENS tokens (timestamps among ours; the
other two are spared them), and nothing is tried again at another temperature. Processor seconds are told beside wall
seconds, since other work on the machine stretches these.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from typing import Any

import ctranslate2  # type: ignore[import-untyped]
import faster_whisper  # type: ignore[import-untyped]
import numpy as np
from faster_whisper import BatchedInferencePipeline, WhisperModel
from numpy.typing import NDArray

from benchmarks.random_whisper import SHAPES, random_whisper
from speechpipe.contract import Model, Options, Transcript
from tests.media import RATE, SAMPLES, samples, spoken, word_errors, words, write_wav
from workers import preparation
from workers.models import DEMO_MODELS, DEMO_ROW_SECONDS, DEMO_WINDOWS
from workers.preparation import prepare
from workers.stt import WhisperAnalyser

RESULTS = Path(__file__).parent / "results"
THREADS = 2  #: of the model, for all
TOKENS = 40  #: of each row, where weights are random: what is said in about 12 s
LIMITS = (2.0, 60.0)  #: seconds of a mixed recording

Hear = Callable[[list[Path]], list[str]]


@dataclass
class Run:
    """One contender's way through one set of files."""

    model: str
    files: str
    contender: str
    wall_seconds: float
    cpu_seconds: float
    audio_seconds: float
    word_errors: int | None
    words: int | None


def mixed(folder: Path, count: int) -> dict[Path, str]:
    """Recordings of 2 to 60 s, as many short ones as long by the logarithm, made of the samples' turns; their texts."""
    rng = np.random.default_rng(0)
    turns = _turns()
    made: dict[Path, str] = {}
    for number, seconds in enumerate(np.geomspace(*LIMITS, count)):
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
    """One recording of the samples, again and again; its text."""
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
    with prepare(path, max_seconds=3600) as recording:
        samples: NDArray[np.int16] = np.concatenate(list(recording), axis=1)[0]
    return samples


def contenders(name: str, model: WhisperModel, at_once: int) -> dict[str, Hear]:
    """What transcribes a list of files, by name."""
    forced = name in SHAPES
    options: dict[str, Any] = {"beam_size": 5, "word_timestamps": True}
    decoding: dict[str, Any] = {}
    if forced:
        end = model.hf_tokenizer.token_to_id("<|endoftext|>")
        # CTranslate2 stops at half of max_length; faster-whisper adds the prompt's four tokens.
        options |= {"temperature": 0.0, "max_new_tokens": 2 * TOKENS - 4, "without_timestamps": True}
        decoding = {"temperatures": (0.0,), "generate": {"max_length": 2 * TOKENS, "suppress_tokens": [-1, end]}}
    shape: dict[str, Any] = {} if forced else {"row_seconds": DEMO_ROW_SECONDS, "windows": DEMO_WINDOWS}
    identity = Model(name=name, revision="", engine="", device="cpu")
    engine = WhisperAnalyser(model, identity, max_seconds=36_000, decoding=decoding, **shape)
    pipeline = BatchedInferencePipeline(model)

    def ours(paths: list[Path]) -> list[str]:
        def one(path: Path) -> str:
            value = engine(path, Options(), lambda _: None).value
            assert isinstance(value, Transcript)
            return " ".join(segment.text for segment in value.segments)

        with ThreadPoolExecutor(at_once) as threads:
            return list(threads.map(one, paths))

    def theirs(transcribe: Any) -> Hear:
        def hear(paths: list[Path]) -> list[str]:
            # faster-whisper adds to the list of suppressed tokens that it is given: a new one each time.
            return [_text(transcribe(str(path), vad_filter=True, **_ending(), **options)[0]) for path in paths]

        def _ending() -> dict[str, Any]:
            return {"suppress_tokens": [-1, end]} if forced else {}

        return hear

    return {"ours": ours, "batched": theirs(pipeline.transcribe), "sequential": theirs(model.transcribe)}


def _text(segments: Any) -> str:
    return " ".join(segment.text for segment in segments)


def measure(hear: Hear, files: dict[Path, str], *, judge: bool) -> tuple[float, float, int | None]:
    """Wall seconds, processor seconds (children included), word errors."""
    preparation.stop()  # so that what its children used is counted, now and below
    began, used = time.perf_counter(), _used()
    heard = hear(list(files))
    wall = time.perf_counter() - began
    preparation.stop()
    errors = sum(word_errors(said, given) for said, given in zip(files.values(), heard, strict=True))
    return wall, _used() - used, errors if judge else None


def _used() -> float:
    both = (getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)


def table(runs: list[Run]) -> str:
    """Markdown: the medians of each model, set and contender, and ours against each."""
    rows = ["| model | files | contender | audio s / s | per CPU s | ours / it | by CPU | WER % |", "|" + "---|" * 8]
    for model, files in dict.fromkeys((run.model, run.files) for run in runs):
        of_set = [run for run in runs if (run.model, run.files) == (model, files)]
        wall, cpu = _medians(of_set, "wall_seconds"), _medians(of_set, "cpu_seconds")
        for name in wall:
            run = next(run for run in of_set if run.contender == name)
            wer = "" if run.word_errors is None or not run.words else f"{100 * run.word_errors / run.words:.2f}"
            rows.append(
                f"| {model} | {files} | {name} | {run.audio_seconds / wall[name]:.2f} | "
                f"{run.audio_seconds / cpu[name]:.2f} | {wall[name] / wall['ours']:.2f} | "
                f"{cpu[name] / cpu['ours']:.2f} | {wer} |"
            )
    return "\n".join(rows)


def _medians(runs: list[Run], field: str) -> dict[str, float]:
    names = dict.fromkeys(run.contender for run in runs)
    return {name: statistics.median(getattr(run, field) for run in runs if run.contender == name) for name in names}


def machine() -> dict[str, Any]:
    """Where this ran."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg(),
        "python": platform.python_version(),
        "faster_whisper": faster_whisper.__version__,
        "ctranslate2": ctranslate2.__version__,
    }


def main() -> None:
    """Run what was asked for; print the table and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["demo", *SHAPES], choices=["demo", *SHAPES])
    parser.add_argument("--files", type=int, default=64)
    parser.add_argument("--long", type=float, default=1200, help="seconds of the long recording; 0: none")
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS / "stt.json")
    asked = parser.parse_args()
    where, runs = machine(), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sets = {"mixed": mixed(folder, asked.files)} if asked.files else {}
        if asked.long:
            sets["long"] = long(folder, asked.long)
        for model_name in asked.models:
            place = DEMO_MODELS / "whisper" if model_name == "demo" else random_whisper(model_name, folder / model_name)
            model = WhisperModel(str(place), device="cpu", compute_type="int8", cpu_threads=THREADS)
            hears = contenders(model_name, model, asked.at_once)
            hears["ours"](list(next(iter(sets.values())))[:1])  # what is loaded once
            for files, made in sets.items():
                seconds = sum(path.stat().st_size / 2 / RATE for path in made)
                said = sum(len(words(text)) for text in made.values())
                for _ in range(asked.repeats):
                    for contender, hear in hears.items():
                        wall, cpu, errors = measure(hear, made, judge=model_name == "demo")
                        runs.append(Run(model_name, files, contender, wall, cpu, seconds, errors, said))
                        print(f"{model_name} {files} {contender}: {wall:.1f} s, cpu {cpu:.1f} s, {errors}", flush=True)
    made_table = table(runs)
    asked.output.parent.mkdir(exist_ok=True)
    asked.output.write_text(json.dumps({"machine": where, "runs": [asdict(run) for run in runs]}, indent=1) + "\n")
    asked.output.with_suffix(".md").write_text(
        f"`python -m benchmarks.stt`, {where['cores']} cores of {where['cpu']}\n\n{made_table}\n"
    )
    print(made_table)


if __name__ == "__main__":
    main()
