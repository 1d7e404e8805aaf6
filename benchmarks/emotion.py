"""How right an emotion model is on clips whose emotion is known, and whether its confidence says so.

    python -m benchmarks.emotion FOLDER                  the model that speechpipe would choose
    python -m benchmarks.emotion FOLDER --model NAME     demo, toy, a hub model or a folder

FOLDER holds labels.csv with `file`, `emotion`, `lang` and `speaker`; a file's top folder is its corpus. Labels are
compared by the table in `benchmarks.emotion_scores`. Clips of emotions that the model has no label for are left out. A
clip goes through the whole engine, voice activity detection included, and its scores are the mean of its windows'.

The clips are also heard through a telephone (300 to 3400 Hz, 8 kHz), with noise at 10 dB, and cut to their middle
second and half second.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import os
import re
import tempfile
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from faster_whisper.audio import decode_audio  # type: ignore[import-untyped]

from benchmarks.emotion_scores import Answer, figures, name_of
from benchmarks.machine import machine
from speechpipe.contract import Analysis, Emotions, Options, Stage, Vocabulary
from speechpipe.contract.errors import EngineUnavailable
from speechpipe.settings import EngineSettings, read
from training import shifts
from workers.audio.decoder import SAMPLE_RATE
from workers.models.choice import choose, load_chosen

if TYPE_CHECKING:
    from workers.emotion.classifier import EmotionEngine

RESULTS = Path(__file__).parent / "results"
_IN_FLIGHT = 8  #: clips whose windows share batches, as in the worker
Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Clip:
    """A clip of a corpus."""

    corpus: str
    language: str
    emotion: str  #: by the name in our table
    audio: Array


def clips(folder: Path, emotions: set[str]) -> tuple[list[Clip], int]:
    """The clips of these emotions that labels.csv names, and how many others it names.

    Raises SystemExit, with a sentence, if there is no such file or it lacks a column.
    """
    try:
        with (folder / "labels.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        wanted = [row for row in rows if name_of(row["emotion"]) in emotions]
        found = [
            Clip(
                corpus=Path(row["file"]).parts[0] if len(Path(row["file"]).parts) > 1 else folder.name,
                language=row["lang"],
                emotion=name_of(row["emotion"]),
                audio=decode_audio(str(folder / row["file"]), sampling_rate=SAMPLE_RATE),
            )
            for row in wanted
        ]
    except FileNotFoundError as error:
        raise SystemExit(f"{error.filename} is missing") from None
    except KeyError as error:
        raise SystemExit(f"{folder / 'labels.csv'} has no column {error}") from None
    if not found:
        raise SystemExit(f"{folder / 'labels.csv'} names no clip of {', '.join(sorted(emotions))}")
    return found, len(rows) - len(found)


def ways() -> dict[str, Callable[[Array], Array]]:
    """What is done to the clips before the model hears them."""
    rng = np.random.default_rng(10)
    return {
        "as it is": lambda audio: audio,
        "telephone": lambda audio: shifts.telephone(shifts.at_level(audio, -20.0)),
        "noise at 10 dB": lambda audio: shifts.noisy(audio, 10, rng),
        "1 s": lambda audio: shifts.middle(audio, 1.0),
        "0.5 s": lambda audio: shifts.middle(audio, 0.5),
    }


def answers(engine: EmotionEngine, found: Sequence[Clip], change: Callable[[Array], Array]) -> list[Answer]:
    """What the model says of each clip; `nothing`, at confidence 0, where no speech is found."""
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(_IN_FLIGHT) as pool:
        files = [_write(Path(name) / f"{number}.wav", change(clip.audio)) for number, clip in enumerate(found)]
        analyses = list(pool.map(lambda file: engine(file, Options(), lambda share: None), files))
    return [_answer(clip, analysis, engine.vocabulary) for clip, analysis in zip(found, analyses, strict=True)]


def _answer(clip: Clip, analysis: Analysis, vocabulary: Vocabulary) -> Answer:
    assert isinstance(analysis.value, Emotions)
    windows = analysis.value.windows
    if not windows:
        return Answer(clip.emotion, "nothing", 0.0, named=False)
    total = dict.fromkeys(vocabulary.labels, 0.0)
    for window in windows:
        for score in window.scores:
            total[score.name] += score.score * (window.end - window.start)
    top = max(vocabulary.primary, key=total.__getitem__)
    confidence = total[top] / sum(window.end - window.start for window in windows)
    sure = confidence >= vocabulary.sure_from and not all(window.unsure for window in windows)
    return Answer(clip.emotion, name_of(top), confidence, named=sure)


def _write(path: Path, audio: Array) -> Path:
    """A WAV file of 16 bits; made quieter if it would clip."""
    samples = audio / max(1.0, float(np.abs(audio).max()))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def rows(found: Sequence[Clip], said: Sequence[Answer], way: str) -> Iterator[dict[str, Any]]:
    """The figures of each corpus and language."""
    groups: dict[tuple[str, str], list[Answer]] = {}
    for clip, answer in zip(found, said, strict=True):
        groups.setdefault((clip.corpus, clip.language), []).append(answer)
    for (corpus, language), each in sorted(groups.items()):
        yield {"corpus": corpus, "language": language, "way": way, **figures(each)}


def markdown(content: dict[str, Any]) -> str:
    """The tables that are printed."""
    model, speed = content["model"], content["speed"]
    lines = [
        f"{model['name']} at {model['revision'][:19]}, {model['labels']}; {content['left_out']} clips of other emotions"
        f" left out; {speed['audio_seconds_per_second']} s of audio per second ({content['machine']['cores']} cores)",
        "",
        "| corpus | language | heard | clips | accuracy | unweighted recall | confidence"
        " | calibration error (by chance) | named | accuracy of these | of the surer 75 % | 50 % | 25 % |",
        "| --- " * 13 + "|",
    ]
    for row in content["rows"]:
        surer = row["accuracy_by_share_answered"]
        shares = (row["accuracy"], row["unweighted_recall"], row["mean_confidence"])
        cells = [
            row["corpus"],
            row["language"],
            row["way"],
            str(row["clips"]),
            *(f"{100 * one:.0f} %" for one in shares),
        ]
        cells.append(f"{row['calibration_error']:.2f} ({row['calibration_error_of_chance']:.2f})")
        sure = row["named"]
        cells += [f"{100 * sure['share']:.0f} %", "" if sure["accuracy"] is None else f"{100 * sure['accuracy']:.0f} %"]
        cells += [f"{100 * surer[one]:.0f} %" for one in ("75%", "50%", "25%")]
        lines.append(f"| {' | '.join(cells)} |")
    for row in (row for row in content["rows"] if row["way"] == "as it is"):
        lines += ["", f"{row['corpus']} ({row['language']}): what was acted, and what the model said", ""]
        said = sorted({given for each in row["confusion"].values() for given in each})
        lines += [f"| | {' | '.join(said)} |", "| --- " * (len(said) + 1) + "|"]
        for acted, each in row["confusion"].items():
            lines.append(f"| {acted} | {' | '.join(str(each.get(given, 0)) for given in said)} |")
    return "\n".join(lines)


def measure(engine: EmotionEngine, folder: Path, vocabulary: Vocabulary) -> dict[str, Any]:
    """Hear every clip in every way."""
    where = machine("torch", "transformers")
    found, left_out = clips(folder, {name_of(label) for label in vocabulary.primary})
    every: list[dict[str, Any]] = []
    speed = {}
    for way, change in ways().items():
        began = time.perf_counter()
        said = answers(engine, found, change)
        if not every:
            seconds = sum(len(clip.audio) for clip in found) / SAMPLE_RATE
            took = time.perf_counter() - began
            speed = {"audio_seconds": round(seconds, 1), "audio_seconds_per_second": round(seconds / took, 1)}
        every += rows(found, said, way)
    return {"machine": where, "left_out": left_out, "speed": speed, "rows": every}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the tables; with --write save them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="clips with a labels.csv")
    parser.add_argument("--model", help="demo, toy, a hub model or a folder; default: what speechpipe would choose")
    parser.add_argument("--write", action="store_true", help="save emotion-MODEL-FOLDER.json in benchmarks/results/")
    asked = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    settings = read(EngineSettings, os.environ)
    if asked.model:
        settings = settings.model_copy(update={"ser_model": asked.model})
    try:
        chosen = choose(Stage.SER, settings)
        engine: Any = load_chosen(chosen, settings)
    except EngineUnavailable as error:
        raise SystemExit(str(error)) from None
    engine.warm_up()
    labels = ", ".join(engine.vocabulary.primary)
    content = {
        "model": {"name": chosen.name, "revision": chosen.revision, "labels": labels},
        "folder": asked.folder.resolve().name,
        **measure(engine, asked.folder, engine.vocabulary),
    }
    print(markdown(content))
    if asked.write:
        name = re.sub(r"[^\w-]+", "-", f"{chosen.name.rpartition('/')[2]}-{content['folder']}")
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"emotion-{name}.json").write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
