"""Speech to text, speechpipe against faster-whisper and WhisperX: same files, model and options, alternating.

    python -m benchmarks.stt --models genuine-base [--speech FOLDER] [--files 64] [--long 3600]
    python -m benchmarks.stt --models toy tiny base [--files 64] [--long 3600] [--whisperx .venv-whisperx/bin/python]

- ours: speechpipe's worker over HTTP, `--in-flight` pushes at a time (see `benchmarks.door`)
- ours alone: the same, one push at a time; not with random weights
- batched: faster-whisper's BatchedInferencePipeline, file by file
- batched, 3 s: the same with chunks as short as speechpipe's; with the toy model, which has such short rows
- sequential: WhisperModel.transcribe with voice activity detection, file by file. It continues from the end of its last
  word, which is noise with random weights, so it decodes some windows twice, and its speed is lower than a real one
- whisperx: its FasterWhisperPipeline with its own voice activity model, file by file, in another process, if
  `--whisperx` names a Python that has it. It gives no word times, for which it would need another model.

All decode the files, detect the language and search with beam 5; all but WhisperX give word times. `genuine-base` is
Systran's Whisper base, which has to be on this machine (`speechpipe models fetch base`): real speech, every contender
with its defaults for what fails, words counted by Whisper's normaliser. Its recordings are made of the sentences of
`--speech`, a folder with a refs.csv (`benchmarks.references`), or of the bundled samples. `toy` is the bundled toy and
its synthetic voices: speechpipe gives it a sentence at a time, as it needs, so its speeds say little. The other models
have OpenAI's shapes and random weights: every row is forced to TOKENS tokens, what fails the checks is not decoded
again, and missed speech is not looked for. Processor seconds are listed beside wall seconds, because other work on the
machine lengthens the latter.

The runs of a model over a set of files are saved in results/stt-MODEL-SET.json, and results/stt.md is the table of all
saved runs. WhisperX needs a different torch, so `make setup` leaves it out; results/stt-notes.md says how it was
installed, and where the bottlenecks are.
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
from benchmarks.recordings import long, mixed, real_turns
from benchmarks.scores import Normaliser, spelling, word_errors
from benchmarks.whisperx_peer import WhisperX
from speechpipe.contract import Model, Stage, Transcript
from speechpipe.settings import EngineSettings
from tests.media import RATE, SAMPLES
from workers.audio import reader
from workers.models import packages
from workers.models.choice import PARALLEL_BATCHES, SHORT_WINDOWS, TOY_MODELS, TOY_ROW_SECONDS, TOY_WINDOWS, find
from workers.whisper import transcription
from workers.whisper.engine import WhisperEngine

RESULTS = Path(__file__).parent / "results"
GENUINE = "genuine-base"
MODELS = (GENUINE, "toy", *SHAPES)
CONTENDERS = ("ours", "ours alone", "batched", "batched, 3 s", "sequential", "whisperx")
THREADS = 2  #: of the model, for every contender
TOKENS = 40  #: in each row with random weights: as many as in about 12 s of speech
ROW_SECONDS = 30.0  #: audio that the encoder computes per row with random weights


@dataclass
class Transcripts:
    """A contender's transcripts of some files, and what they took."""

    texts: list[str]
    rows: int
    cpu_seconds: float = 0.0  #: of a separate process
    engine_seconds: float | None = None  #: in which speechpipe's model was running


Transcribe = Callable[[list[Path]], Transcripts]


@dataclass
class Run:
    """One contender's run over one set of files."""

    model: str
    files: str
    contender: str
    wall_seconds: float
    cpu_seconds: float
    audio_seconds: float
    engine_seconds: float | None
    rows: int | None  #: of audio that the model got; only with random weights
    word_errors: int | None  #: not with random weights
    words: int  #: in the references


@contextlib.contextmanager
def contenders(name: str, place: Path, asked: argparse.Namespace) -> Iterator[dict[str, Transcribe]]:
    """Functions that transcribe a list of files, by contender; `place` is the model's folder."""
    forced = name in SHAPES
    model = WhisperModel(str(place), device="cpu", compute_type="int8", cpu_threads=THREADS)
    # As workers.models.choice loads it: the same total of threads. The peers run one batch at a time.
    shared = {"cpu_threads": max(1, THREADS // PARALLEL_BATCHES), "num_workers": PARALLEL_BATCHES}
    own = WhisperModel(str(place), device="cpu", compute_type="int8", **shared)
    options: dict[str, Any] = {"beam_size": 5, "word_timestamps": True, "vad_filter": True}
    decoding: dict[str, Any] = {}
    shape: dict[str, Any] = {}
    if name == "toy":
        decoding, shape = {"timestamps": True}, {"row_seconds": TOY_ROW_SECONDS, "windows": TOY_WINDOWS}
    if name == GENUINE:
        shape = {"windows": SHORT_WINDOWS[packages.BASE.repository]}
    if forced:
        end = model.hf_tokenizer.token_to_id("<|endoftext|>")
        # CTranslate2 stops at half of max_length; faster-whisper adds the prompt's four tokens.
        options |= {"temperature": 0.0, "max_new_tokens": 2 * TOKENS - 4, "without_timestamps": True}
        decoding = {"attempts": ({},), "generate": {"max_length": 2 * TOKENS, "suppress_tokens": [-1, end]}}
        transcription.MAX_RETRIES = 0  # with random weights the words lie anywhere
    identity = Model(name=name, revision="", engine="", device="cpu")
    engine = WhisperEngine(own, identity, max_seconds=36_000, decoding=decoding, **shape)
    engine.warm_up()

    def theirs(transcribe: Any, **more: Any) -> Transcribe:
        def run(paths: list[Path]) -> Transcripts:
            found = []
            for path in paths:
                # faster-whisper appends to the list of suppressed tokens that it gets, so pass a new one.
                ending = {"suppress_tokens": [-1, end]} if forced else {}
                found.append(list(transcribe(str(path), **ending, **options, **more)[0]))
            texts = [" ".join(segment.text for segment in segments) for segments in found]
            return Transcripts(texts, sum(len({segment.seek for segment in segments}) for segments in found))

        return run

    batched = BatchedInferencePipeline(model).transcribe
    with tempfile.TemporaryDirectory() as backend, contextlib.ExitStack() as stack:
        door = stack.enter_context(worker(Stage.STT, lambda *_: engine, Path(backend), asked.in_flight))
        chosen: dict[str, Transcribe] = {
            "ours": lambda paths: _ours(door, paths, asked.in_flight),
            "ours alone": lambda paths: _ours(door, paths, 1),
            "batched": theirs(batched),
            "batched, 3 s": theirs(batched, chunk_length=int(TOY_ROW_SECONDS)),
            "sequential": theirs(model.transcribe),
        }
        if forced:
            del chosen["ours alone"]
        if name != "toy":
            del chosen["batched, 3 s"]
        if asked.whisperx and "whisperx" in asked.contenders:
            peer = WhisperX(asked.whisperx, place, THREADS, TOKENS if forced else 0)
            stack.callback(peer.close)
            chosen["whisperx"] = lambda paths: Transcripts(**peer(paths))
        yield {name: transcribe for name, transcribe in chosen.items() if name in asked.contenders}


def _ours(door: Door, paths: list[Path], in_flight: int) -> Transcripts:
    analyses = door(paths, in_flight=in_flight)
    texts, padded, engine = [], 0.0, 0.0
    for analysis in analyses:
        assert isinstance(analysis.value, Transcript)
        assert analysis.work
        texts.append(" ".join(segment.text for segment in analysis.value.segments))
        padded += analysis.work.padded_seconds
        engine += analysis.work.engine_seconds
    return Transcripts(texts, round(padded / ROW_SECONDS), engine_seconds=engine)


def measure(transcribe: Transcribe, files: dict[Path, str]) -> tuple[Transcripts, float]:
    """The transcripts, with the processor seconds of all processes, and the wall seconds."""
    reader.stop()  # RUSAGE_CHILDREN counts only processes that have ended; also below
    began, used = time.perf_counter(), _used()
    result = transcribe(list(files))
    wall = time.perf_counter() - began
    reader.stop()
    result.cpu_seconds += _used() - used
    return result, wall


def _used() -> float:
    both = (getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)


def table(runs: list[Run]) -> str:
    """Markdown: the medians for each model, set and contender, and speechpipe's speed relative to each."""
    rows = ["| model | files | contender | audio s / s | audio s / CPU s | ours / it | ours / it, CPU | rows | WER % |"]
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
    """Run what was asked for; print the table and save the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=[GENUINE, "toy", "tiny", "base"], choices=MODELS)
    parser.add_argument("--contenders", nargs="+", default=CONTENDERS, choices=CONTENDERS)
    parser.add_argument("--files", type=int, default=64, help="mixed recordings; 0: none")
    parser.add_argument("--longest", type=float, default=60, help="seconds of the longest mixed recording")
    parser.add_argument("--long", type=float, default=3600, help="seconds of the long recording; 0: none")
    parser.add_argument("--in-flight", type=int, default=8, help="pushes at a time")
    parser.add_argument("--speech", type=Path, help=f"a folder of real speech for {GENUINE}; default: the samples")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--whisperx", type=Path, help="a Python that has WhisperX")
    parser.add_argument("--output", type=Path, default=RESULTS, help="a folder")
    asked = parser.parse_args()
    given = {name: getattr(asked, name) for name in ("files", "longest", "long", "in_flight", "repeats")}
    logging.disable(logging.WARNING)
    asked.output.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model in asked.models:
            made_of = real_turns(asked.speech) if model == GENUINE else ()
            sets = {"mixed": mixed(folder, asked.files, asked.longest, made_of)} if asked.files else {}
            if asked.long:
                sets["long"] = long(folder, asked.long, made_of)
            where = machine("faster-whisper", "ctranslate2")
            place = _place(model, folder)
            with contenders(model, place, asked) as chosen:
                for transcribe in chosen.values():
                    transcribe([SAMPLES / "order_inquiry.wav"])  # warm up what is loaded once
                normaliser = Normaliser(spelling(place))
                for files, made in sets.items():
                    runs = [asdict(run) for run in compare(model, files, chosen, made, asked.repeats, normaliser)]
                    content = {"machine": where, "asked": given, "runs": runs}
                    (asked.output / f"stt-{model}-{files}.json").write_text(json.dumps(content, indent=1) + "\n")
    report(asked.output)


def _place(model: str, folder: Path) -> Path:
    """The folder of a model, which is made in `folder` if its weights are random. Raises ModelMissing."""
    if model == GENUINE:
        return find(Stage.STT, "base", EngineSettings.model_validate({}), fetch=False).folder
    return TOY_MODELS / "whisper" if model == "toy" else random_whisper(model, folder / model)


def compare(
    model: str,
    files: str,
    chosen: dict[str, Transcribe],
    made: dict[Path, str],
    repeats: int,
    normaliser: Normaliser,
) -> Iterator[Run]:
    """Run all contenders over a set of files, alternating."""
    seconds = sum(path.stat().st_size / 2 / RATE for path in made)
    references = [normaliser(text, "en") for text in made.values()]
    said = sum(map(len, references))
    for _ in range(repeats):
        for name, transcribe in chosen.items():
            result, wall = measure(transcribe, made)
            forced = model in SHAPES
            rows = result.rows if forced else None
            given = [normaliser(text, "en") for text in result.texts]
            wrong = None if forced else sum(map(word_errors, references, given))
            print(f"{model} {files} {name}: {wall:.1f} s, cpu {result.cpu_seconds:.1f} s", flush=True)
            yield Run(model, files, name, wall, result.cpu_seconds, seconds, result.engine_seconds, rows, wrong, said)


def report(folder: Path) -> None:
    """Print and save one table of all runs that are saved in the folder."""
    paths = [folder / f"stt-{model}-{files}.json" for model in MODELS for files in ("mixed", "long")]
    found = [json.loads(path.read_text()) for path in paths if path.exists()]
    lines = []
    for one in found:
        run, where, repeats = one["runs"][0], one["machine"], one["asked"]["repeats"]
        lines.append(
            f"- {run['model']}, {run['files']}: {run['audio_seconds']:.0f} s of audio, {one['asked']['in_flight']}"
            f" pushes in flight, median of {repeats} run{'s' * (repeats > 1)}; {where['cores']} cores of {where['cpu']}"
        )
    made = table([Run(**run) for one in found for run in one["runs"]])
    notes = "Bottlenecks, and how WhisperX was installed: [stt-notes.md](stt-notes.md)."
    (folder / "stt.md").write_text("\n".join(lines) + f"\n\n{made}\n\n{notes}\n")
    print(made)


if __name__ == "__main__":
    main()
