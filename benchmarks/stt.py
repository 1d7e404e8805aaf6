"""Speech to text, ours against faster-whisper and WhisperX: the same files, model and options, in turns.

    python -m benchmarks.stt --models demo tiny base [--files 64] [--long 3600] [--whisperx .venv-whisperx/bin/python]

- ours: the worker's HTTP door, `--in-flight` pushes at a time (see `benchmarks.door`)
- ours alone: the same, one push at a time; for the words, with the demo model
- batched: faster-whisper's BatchedInferencePipeline, file by file
- batched, 3 s: the same with chunks as short as ours; with the demo model, whose rows are so short
- sequential: WhisperModel.transcribe with voice activity detection, file by file; it goes on from its last word's end,
  which is noise in random weights, so that it hears some windows twice: there its speeds are lower than real ones
- whisperx: its FasterWhisperPipeline with the voice activity model that it brings, file by file, in another process,
  where `--whisperx` names a Python that has it. It gives no word times: it would take them from another model.

All decode the files, detect the language and search with beam 5; all but WhisperX give word times. `demo` is the
bundled model, for the words: ours gives it a sentence at a time, as it wants, so its speeds say little. The others are
OpenAI's shapes with random weights, for the speed: every row is made to have TOKENS tokens (timestamps among ours; the
others are spared them), and nothing is tried again at another temperature. Processor seconds are told beside wall
seconds, since other work on the machine stretches these.

The runs of a model over a set of files go to results/stt-MODEL-SET.json; results/stt.md is the table of all of these
that are there. WhisperX wants another torch than ours, so `make setup` leaves it out; results/stt-notes.md says how it
was had, and what binds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from typing import Any

from faster_whisper import BatchedInferencePipeline, WhisperModel  # type: ignore[import-untyped]

from benchmarks.door import Door, worker
from benchmarks.machine import machine
from benchmarks.random_whisper import SHAPES, random_whisper
from benchmarks.recordings import long, mixed
from benchmarks.whisperx_peer import WhisperX
from speechpipe.contract import Model, Stage, Transcript
from tests.media import RATE, SAMPLES, word_errors, words
from workers.audio import reader
from workers.models.choice import BATCHES_AT_ONCE, DEMO_MODELS, DEMO_ROW_SECONDS, DEMO_WINDOWS
from workers.whisper.engine import WhisperAnalyser

RESULTS = Path(__file__).parent / "results"
MODELS = ("demo", *SHAPES)
CONTENDERS = ("ours", "ours alone", "batched", "batched, 3 s", "sequential", "whisperx")
THREADS = 2  #: of the model, for all
TOKENS = 40  #: of each row, where weights are random: what is said in about 12 s
ROW_SECONDS = 30.0  #: that the encoder computes, where weights are random


@dataclass
class Heard:
    """What a contender made of some files."""

    texts: list[str]
    rows: int
    cpu_seconds: float = 0.0  #: of another process
    engine_seconds: float | None = None  #: ours: in which the model was at work


Hear = Callable[[list[Path]], Heard]


@dataclass
class Run:
    """One contender's way through one set of files."""

    model: str
    files: str
    contender: str
    wall_seconds: float
    cpu_seconds: float
    audio_seconds: float
    engine_seconds: float | None
    rows: int | None  #: of audio that the model was given, where weights are random
    word_errors: int | None  #: where they are not
    words: int


@contextlib.contextmanager
def contenders(name: str, place: Path, asked: argparse.Namespace) -> Iterator[dict[str, Hear]]:
    """What transcribes a list of files, by name; `place` is the model's folder."""
    forced = name in SHAPES
    model = WhisperModel(str(place), device="cpu", compute_type="int8", cpu_threads=THREADS)
    # As workers.models.choice loads it: the same threads in all. One file at a time has no use for a second batch.
    shared = {"cpu_threads": max(1, THREADS // BATCHES_AT_ONCE), "num_workers": BATCHES_AT_ONCE}
    own = WhisperModel(str(place), device="cpu", compute_type="int8", **shared)
    options: dict[str, Any] = {"beam_size": 5, "word_timestamps": True, "vad_filter": True}
    decoding: dict[str, Any] = {}
    shape: dict[str, Any] = {"row_seconds": DEMO_ROW_SECONDS, "windows": DEMO_WINDOWS}
    if forced:
        end = model.hf_tokenizer.token_to_id("<|endoftext|>")
        # CTranslate2 stops at half of max_length; faster-whisper adds the prompt's four tokens.
        options |= {"temperature": 0.0, "max_new_tokens": 2 * TOKENS - 4, "without_timestamps": True}
        decoding = {"temperatures": (0.0,), "generate": {"max_length": 2 * TOKENS, "suppress_tokens": [-1, end]}}
        shape = {}
    identity = Model(name=name, revision="", engine="", device="cpu")
    engine = WhisperAnalyser(own, identity, max_seconds=36_000, decoding=decoding, **shape)
    engine.warm_up()

    def theirs(transcribe: Any, **more: Any) -> Hear:
        def hear(paths: list[Path]) -> Heard:
            found = []
            for path in paths:
                # faster-whisper adds to the list of suppressed tokens that it is given: a new one each time.
                ending = {"suppress_tokens": [-1, end]} if forced else {}
                found.append(list(transcribe(str(path), **ending, **options, **more)[0]))
            texts = [" ".join(segment.text for segment in segments) for segments in found]
            return Heard(texts, sum(len({segment.seek for segment in segments}) for segments in found))

        return hear

    batched = BatchedInferencePipeline(model).transcribe
    with tempfile.TemporaryDirectory() as backend, contextlib.ExitStack() as stack:
        door = stack.enter_context(worker(Stage.STT, lambda *_: engine, Path(backend), asked.in_flight))
        hears: dict[str, Hear] = {
            "ours": lambda paths: _ours(door, paths, asked.in_flight),
            "ours alone": lambda paths: _ours(door, paths, 1),
            "batched": theirs(batched),
            "batched, 3 s": theirs(batched, chunk_length=int(DEMO_ROW_SECONDS)),
            "sequential": theirs(model.transcribe),
        }
        if forced:
            del hears["ours alone"], hears["batched, 3 s"]
        if asked.whisperx and "whisperx" in asked.contenders:
            peer = WhisperX(asked.whisperx, place, THREADS, TOKENS if forced else 0)
            stack.callback(peer.close)
            hears["whisperx"] = lambda paths: Heard(**peer(paths))
        yield {name: hear for name, hear in hears.items() if name in asked.contenders}


def _ours(door: Door, paths: list[Path], in_flight: int) -> Heard:
    analyses = door(paths, in_flight=in_flight)
    texts, padded, engine = [], 0.0, 0.0
    for analysis in analyses:
        assert isinstance(analysis.value, Transcript)
        assert analysis.work
        texts.append(" ".join(segment.text for segment in analysis.value.segments))
        padded += analysis.work.padded_seconds
        engine += analysis.work.engine_seconds
    return Heard(texts, round(padded / ROW_SECONDS), engine_seconds=engine)


def measure(hear: Hear, files: dict[Path, str]) -> tuple[Heard, float]:
    """What is heard, with processor seconds of all processes, and wall seconds."""
    reader.stop()  # so that what its children used is counted, now and below
    began, used = time.perf_counter(), _used()
    heard = hear(list(files))
    wall = time.perf_counter() - began
    reader.stop()
    heard.cpu_seconds += _used() - used
    return heard, wall


def _used() -> float:
    both = (getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)


def table(runs: list[Run]) -> str:
    """Markdown: the medians of each model, set and contender, and ours against each."""
    rows = ["| model | files | contender | audio s / s | per CPU s | ours / it | by CPU | rows | WER % |"]
    rows.append("|" + "---|" * 9)
    for model, files in dict.fromkeys((run.model, run.files) for run in runs):
        of_set = [run for run in runs if (run.model, run.files) == (model, files)]
        wall, cpu = _medians(of_set, "wall_seconds"), _medians(of_set, "cpu_seconds")
        for name in wall:
            run = next(run for run in of_set if run.contender == name)
            wer = "" if run.word_errors is None else f"{100 * run.word_errors / run.words:.2f}"
            rows.append(
                f"| {model} | {files} | {name} | {run.audio_seconds / wall[name]:.2f} | "
                f"{run.audio_seconds / cpu[name]:.2f} | {wall[name] / wall['ours']:.2f} | "
                f"{cpu[name] / cpu['ours']:.2f} | {run.rows or ''} | {wer} |"
            )
    return "\n".join(rows)


def _medians(runs: list[Run], field: str) -> dict[str, float]:
    names = dict.fromkeys(run.contender for run in runs)
    return {name: statistics.median(getattr(run, field) for run in runs if run.contender == name) for name in names}


def main() -> None:
    """Run what was asked for; print the table and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["demo", "tiny", "base"], choices=MODELS)
    parser.add_argument("--contenders", nargs="+", default=CONTENDERS, choices=CONTENDERS)
    parser.add_argument("--files", type=int, default=64, help="mixed recordings; 0: none")
    parser.add_argument("--longest", type=float, default=60, help="seconds of the longest of these")
    parser.add_argument("--long", type=float, default=3600, help="seconds of the long recording; 0: none")
    parser.add_argument("--in-flight", type=int, default=8, help="pushes at a time")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--whisperx", type=Path, help="a Python that has WhisperX")
    parser.add_argument("--output", type=Path, default=RESULTS, help="a folder")
    asked = parser.parse_args()
    given = {name: getattr(asked, name) for name in ("files", "longest", "long", "in_flight", "repeats")}
    logging.disable(logging.WARNING)
    asked.output.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sets = {"mixed": mixed(folder, asked.files, asked.longest)} if asked.files else {}
        if asked.long:
            sets["long"] = long(folder, asked.long)
        for model in asked.models:
            where = machine("faster-whisper", "ctranslate2")
            place = DEMO_MODELS / "whisper" if model == "demo" else random_whisper(model, folder / model)
            with contenders(model, place, asked) as hears:
                for hear in hears.values():
                    hear([SAMPLES / "order_inquiry.wav"])  # what is loaded once
                for files, made in sets.items():
                    runs = [asdict(run) for run in compare(model, files, hears, made, asked.repeats)]
                    content = {"machine": where, "asked": given, "runs": runs}
                    (asked.output / f"stt-{model}-{files}.json").write_text(json.dumps(content, indent=1) + "\n")
    report(asked.output)


def compare(model: str, files: str, hears: dict[str, Hear], made: dict[Path, str], repeats: int) -> Iterator[Run]:
    """All contenders in turn over a set of files."""
    seconds = sum(path.stat().st_size / 2 / RATE for path in made)
    said = sum(len(words(text)) for text in made.values())
    for _ in range(repeats):
        for name, hear in hears.items():
            heard, wall = measure(hear, made)
            forced = model in SHAPES
            rows = heard.rows if forced else None
            wrong = None if forced else sum(map(word_errors, made.values(), heard.texts))
            print(f"{model} {files} {name}: {wall:.1f} s, cpu {heard.cpu_seconds:.1f} s", flush=True)
            yield Run(model, files, name, wall, heard.cpu_seconds, seconds, heard.engine_seconds, rows, wrong, said)


def report(folder: Path) -> None:
    """Make one table of every model's runs that are in the folder; print it."""
    paths = [folder / f"stt-{model}-{files}.json" for model in MODELS for files in ("mixed", "long")]
    found = [json.loads(path.read_text()) for path in paths if path.exists()]
    lines = []
    for one in found:
        run, where = one["runs"][0], one["machine"]
        lines.append(
            f"- {run['model']}, {run['files']}: {run['audio_seconds']:.0f} s of audio, {one['asked']['in_flight']}"
            f" pushes in flight, medians of {one['asked']['repeats']}; {where['cores']} cores of {where['cpu']}"
        )
    made = table([Run(**run) for one in found for run in one["runs"]])
    notes = "What binds, and how WhisperX was had: [stt-notes.md](stt-notes.md)."
    (folder / "stt.md").write_text("\n".join(lines) + f"\n\n{made}\n\n{notes}\n")
    print(made)


if __name__ == "__main__":
    main()
