"""Words: how well speechpipe transcribes real speech, beside faster-whisper with the same weights.

    python -m benchmarks.words FOLDER [--model NAME_OR_FOLDER] [--files N] [--strung] [--silence FILE ...]

The contenders transcribe the same files one after the other, with the same model folder, device, compute type and
number of CPU threads. All detect the language.

- ours: speechpipe's worker over HTTP, one recording at a time (see `benchmarks.door`)
- ours, 8 in flight: the same with eight recordings at a time, which share batches
- batched: faster-whisper's BatchedInferencePipeline, with its defaults, which include voice activity detection
- sequential: faster-whisper's WhisperModel.transcribe with vad_filter=True, otherwise with its defaults

The last two also have word_timestamps=True, since words have to be located. With it, `sequential` continues from its
last word instead of from its last timestamp, which can change its words.

What is counted, by language and set:

- words of the references, word errors and their rate, after Whisper's own normalisation (see `benchmarks.scores`)
- recordings in which another language was detected
- lost speech: seconds of speech, by speechpipe's voice activity detection, in stretches of 2 s or more without words.
  `unreported` leaves out recordings with a caution about their words; faster-whisper never gives one
- words outside: words completely inside a stretch of more than 0.5 s without speech

`--strung` also strings the files of each set together, once without a pause and once with 0.5 s of silence between
them, because long recordings are where whole sentences get lost. `--silence` counts the words invented in recordings
in which nobody speaks, such as hold music. Texts are never printed: those of recordings in which speechpipe gets more
than two words more wrong than `batched`, with the stretches it lost, go to the file named by `--details`. `--write`
saves the tables, which contain no texts. Device and compute type can be set by SPEECHPIPE_DEVICE and
SPEECHPIPE_COMPUTE_TYPE.

"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress

from benchmarks import references, scores
from benchmarks.door import Door, worker
from benchmarks.machine import machine
from benchmarks.references import Reference
from benchmarks.scores import Heard, Lost, Normaliser, Score, Times
from speechpipe.contract import Partial, Stage, Transcript
from speechpipe.contract.errors import EngineUnavailable, Rejected
from speechpipe.observe.log import printable
from speechpipe.settings import EngineSettings, read
from tests.media import write_wav
from workers.audio import vad
from workers.audio.decoder import SAMPLE_RATE, as_float, decode_stream
from workers.models.choice import choose, load
from workers.models.device import choose_device, cpu_threads, ct2_compute_type

RESULTS = Path(__file__).parent / "results"
DETAILS = Path("build") / "words.md"
IN_FLIGHT = 8
OURS = ("ours", f"ours, {IN_FLIGHT} in flight")
BATCHED, SEQUENTIAL = "batched", "sequential"
CONTENDERS = (*OURS, BATCHED, SEQUENTIAL)
FILES, SILENCE = "files", "silence"
#: Names of the long recordings, and the seconds of silence between the files strung together in them.
STRUNG = {"strung": 0.0, "strung, 0.5 s": 0.5}
WORSE_BY = 2  #: words; with more errors than that above batched's, a recording is listed with both texts
#: Cautions that say nothing about missing words.
_OTHER_CAUTIONS = frozenset(
    {"demo_models", "smaller_model", "acted_emotions", "mono_split", "damaged_audio", "translate_untrained"}
)
_MAX_SECONDS = 10 * 3600.0

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Recording:
    """A recording that every contender transcribes."""

    kind: str  #: FILES, SILENCE or one of STRUNG
    reference: Reference
    path: Path
    seconds: float
    speech: tuple[Times, ...]


@dataclass
class Results:
    """The transcripts of all recordings by contender, and the wall seconds they took."""

    heard: dict[str, list[Heard]] = field(default_factory=dict)
    wall_seconds: dict[str, float] = field(default_factory=dict)


# --------------------------------------------------------------------------------------------------- recordings


def prepare(
    folder: Path, chosen: Sequence[Reference], silence: Sequence[Path], *, strung: bool, place: Path, bar: Progress
) -> tuple[list[Recording], Counter[str]]:
    """Decode everything and find the speech in it; `place` is for links and long recordings. Also counts skipped files.

    Links have numbered names, because two sets may use the same file name.
    """
    recordings: list[Recording] = []
    skipped = Counter[str]()
    task = bar.add_task("speech", total=len(chosen) + len(silence))
    for _, group in groupby(sorted(chosen, key=_set_key), _set_key):
        parts: list[tuple[Reference, Samples]] = []
        for reference in group:
            samples = _decoded(folder / reference.file)
            bar.advance(task)
            if samples is None:
                skipped["cannot be decoded"] += 1
                continue
            path = _link(folder / reference.file, place, len(recordings))
            recordings.append(_recording(FILES, reference, path, samples))
            parts.append((reference, samples))
        if strung and len(parts) > 1:
            for kind, pause in STRUNG.items():
                path = place / f"{len(recordings):05}-strung.wav"
                samples = string([samples for _, samples in parts], pause)
                write_wav(path, samples, SAMPLE_RATE)
                first = parts[0][0]
                said = " ".join(reference.text for reference, _ in parts)
                recordings.append(_recording(kind, Reference("", said, first.language, first.set), path, samples))
    for original in silence:
        found = _decoded(original)
        bar.advance(task)
        if found is None:
            skipped["cannot be decoded"] += 1
            continue
        path = _link(original, place, len(recordings))
        recordings.append(_recording(SILENCE, Reference(original.name, "", "", ""), path, found))
    return recordings, skipped


def string(parts: Sequence[Samples], pause: float) -> Samples:
    """Recordings in a row, with `pause` seconds of silence between them."""
    silence = np.zeros(round(pause * SAMPLE_RATE), np.int16)
    return np.concatenate([piece for part in parts for piece in (part, silence)][:-1])


def _set_key(reference: Reference) -> tuple[str, str]:
    return reference.language, reference.set


def _recording(kind: str, reference: Reference, path: Path, samples: Samples) -> Recording:
    speech = tuple((span.start, span.end) for span in vad.find(as_float(samples)))
    return Recording(kind, reference, path, len(samples) / SAMPLE_RATE, speech)


def _decoded(path: Path) -> Samples | None:
    """A file's samples, mixed down to mono; None if it cannot be decoded."""
    try:
        blocks = [block for block in decode_stream(path, max_seconds=_MAX_SECONDS) if isinstance(block, np.ndarray)]
    except Rejected:
        return None
    samples: Samples = np.concatenate(blocks, axis=1)[0]
    return samples


def _link(original: Path, place: Path, number: int) -> Path:
    path = place / f"{number:05}-{re.sub(r'[^A-Za-z0-9.-]', '_', original.name)}"
    path.symlink_to(original.resolve())
    return path


# --------------------------------------------------------------------------------------------------- contenders


def transcribe_all(
    recordings: Sequence[Recording],
    settings: EngineSettings,
    model: Path,
    place: Path,
    bar: Progress,
    contenders: Sequence[str] = CONTENDERS,
) -> Results:
    """Run the contenders; `model` is the folder of the model that the settings choose."""
    results = Results()

    def timed(name: str, run: Callable[..., list[Heard]], *with_what: Any) -> None:
        task = bar.add_task(name, total=len(recordings))
        began = time.perf_counter()
        results.heard[name] = run(recordings, *with_what, lambda: bar.advance(task))
        results.wall_seconds[name] = round(time.perf_counter() - began, 2)

    chosen = settings.model_dump() | {"request_seconds": 4 * 3600}
    with worker(Stage.STT, load, place, IN_FLIGHT, **chosen) as door:
        for name, in_flight in zip(OURS, (1, IN_FLIGHT), strict=True):
            if name in contenders:
                timed(name, _ours, door, in_flight)
    for name, transcribe in _faster_whisper(settings, model).items():
        if name in contenders:
            timed(name, _theirs, transcribe)
    return results


def _ours(recordings: Sequence[Recording], door: Door, in_flight: int, done: Callable[[], None]) -> list[Heard]:
    paths = [recording.path for recording in recordings]
    return [_heard(door, partial) for partial in door.partials(paths, in_flight=in_flight, on_done=done)]


def _heard(door: Door, partial: Partial) -> Heard:
    if partial.failure:
        return Heard(failure=partial.failure.code.value)
    analysis = door.analysis(partial)
    transcript = analysis.value
    assert isinstance(transcript, Transcript)
    return Heard(
        text=" ".join(segment.text for segment in transcript.segments),
        language=transcript.language.code if transcript.language else None,
        words=tuple((word.start, word.end) for segment in transcript.segments for word in segment.words),
        cautions=tuple(caution.code for caution in analysis.cautions if caution.code not in _OTHER_CAUTIONS),
    )


def _faster_whisper(settings: EngineSettings, folder: Path) -> dict[str, Callable[[str], Any]]:
    from faster_whisper import BatchedInferencePipeline, WhisperModel  # type: ignore[import-untyped]

    device = choose_device(Stage.STT, settings)
    model = WhisperModel(
        str(folder),
        device=device,
        compute_type=ct2_compute_type(device, settings),
        cpu_threads=cpu_threads(settings),
        local_files_only=True,
    )
    batched = BatchedInferencePipeline(model)
    return {
        BATCHED: lambda path: batched.transcribe(path, word_timestamps=True),
        SEQUENTIAL: lambda path: model.transcribe(path, vad_filter=True, word_timestamps=True),
    }


def _theirs(recordings: Sequence[Recording], transcribe: Callable[[str], Any], done: Callable[[], None]) -> list[Heard]:
    found = []
    for recording in recordings:
        try:
            segments, info = transcribe(str(recording.path))
            segments = list(segments)
        except Exception as error:  # for example without any speech
            found.append(Heard(failure=type(error).__name__))
        else:
            words = tuple((float(word.start), float(word.end)) for segment in segments for word in segment.words or ())
            text = " ".join(segment.text.strip() for segment in segments)
            found.append(Heard(text, info.language if segments else None, words))
        done()
    return found


# ------------------------------------------------------------------------------------------------------ results


@dataclass(frozen=True)
class Scored:
    """A contender's transcript of a recording with its score."""

    contender: str
    recording: Recording
    heard: Heard
    lost: tuple[Lost, ...]
    score: Score


def scored(recordings: Sequence[Recording], results: Results, normaliser: Normaliser) -> Iterator[Scored]:
    """The scores of every transcript."""
    for name, heard in results.heard.items():
        for recording, one in zip(recordings, heard, strict=True):
            reference = recording.reference
            lost = tuple(scores.lost_speech(recording.speech, one.words))
            # Silence has no language, so its words are counted in the language that the contender detected.
            language = reference.language or one.language or ""
            yield Scored(
                name,
                recording,
                one,
                lost,
                scores.score(
                    one,
                    normaliser(reference.text, language),
                    normaliser(one.text, language),
                    language=language,
                    lost=lost,
                    outside=scores.words_outside(recording.speech, one.words, recording.seconds),
                ),
            )


def rows(every: Sequence[Scored]) -> list[dict[str, Any]]:
    """The sums by kind, language, set and contender, with a row `all` for several sets."""
    found = []
    for kind in (FILES, *STRUNG):
        of_kind = [one for one in every if one.recording.kind == kind]
        groups: dict[tuple[str, str], list[Scored]] = {}
        for one in of_kind:
            groups.setdefault(_set_key(one.recording.reference), []).append(one)
        if len(groups) > 1:
            groups["all", ""] = of_kind
        for (language, name), members in groups.items():
            for contender in dict.fromkeys(one.contender for one in members):
                summed = scores.total(one.score for one in members if one.contender == contender)
                labels = {"kind": kind, "language": language, "set": name, "contender": contender}
                found.append(labels | asdict(summed) | {"rate": round(summed.rate, 4)})
    return found


def silence_rows(every: Sequence[Scored]) -> list[dict[str, Any]]:
    """The invented words by recording in which nobody speaks and contender."""
    return [
        {
            "file": one.recording.reference.file,
            "seconds": round(one.recording.seconds, 2),
            "contender": one.contender,
            "words": one.score.errors,
            "failure": one.heard.failure,
        }
        for one in sorted(every, key=lambda one: one.recording.path)
        if one.recording.kind == SILENCE
    ]


def markdown(content: dict[str, Any]) -> str:
    """The tables."""
    where, model = content["machine"], content["model"]
    parts = [
        f"`python -m benchmarks.words FOLDER`: {model['name']}, {model['compute_type']} on {model['device']}, "
        f"{model['threads']} threads; {where['cores']} cores of {where['cpu']}",
        f"English spellings: {content['spelling']}. {_skipped(content['skipped'])}",
    ]
    for kind, members in groupby(content["rows"], lambda row: row["kind"]):
        table = [
            "| language | set | recordings | words | contender | errors | WER % | wrong languages | lost speech, s |"
            " unreported, s | words outside | failed |",
            "|" + "---|" * 12,
        ]
        table += [
            f"| {row['language']} | {_cell(row['set'])} | {row['recordings']} | {row['words']} | {row['contender']} |"
            f" {row['errors']} | {100 * row['rate']:.2f} | {row['wrong_languages']} | {row['lost_seconds']:.1f} |"
            f" {row['unreported_seconds']:.1f} | {row['words_outside']} | {row['failures']} |"
            for row in members
        ]
        parts += [f"## {kind.capitalize()}", "\n".join(table)]
    if content["silence"]:
        table = ["| file | s | contender | invented words | failed |", "|" + "---|" * 5]
        table += [
            f"| {_cell(row['file'])} | {row['seconds']:.1f} | {row['contender']} | {row['words']} |"
            f" {row['failure'] or ''} |"
            for row in content["silence"]
        ]
        parts += ["## Nobody speaks", "\n".join(table)]
    table = ["| contender | s | audio s / s |", "|---|---|---|"]
    table += [
        f"| {name} | {wall:.1f} | {content['audio_seconds'] / wall:.2f} |" for name, wall in content["wall"].items()
    ]
    parts += ["## Time", "\n".join(table)]
    return "\n\n".join(parts) + "\n"


def _skipped(skipped: dict[str, int]) -> str:
    reasons = ", ".join(f"{count} ({reason})" for reason, count in skipped.items())
    return f"Skipped rows and files: {reasons or 'none'}."


def _cell(text: str) -> str:
    return printable(text).replace("|", "\\|")


def details(every: Sequence[Scored]) -> str:
    """Texts: where ours is clearly worse than batched, where it lost speech, and what it invented in silence."""
    batched = {one.recording.path: one for one in every if one.contender == BATCHED}
    ours = [one for one in every if one.contender in OURS]
    lines = [f"# More than {WORSE_BY} words worse than batched", ""]
    for one in ours:
        other = batched[one.recording.path]
        if one.recording.kind != SILENCE and one.score.errors > other.score.errors + WORSE_BY:
            lines += [
                f"## {_title(one)}: {one.score.errors} of {one.score.words} words, batched {other.score.errors}",
                "",
                f"- reference: {printable(one.recording.reference.text)}",
                f"- ours: {printable(one.heard.text)}",
                f"- batched: {printable(other.heard.text)}",
                "",
            ]
    lines += ["# Speech without words", ""]
    lines += [
        f"- {_title(one)}: {stretch.start:.2f} to {stretch.end:.2f} s;"
        f" cautions: {', '.join(one.heard.cautions) or 'none'}"
        for one in ours
        for stretch in one.lost
        if one.recording.kind != SILENCE
    ]
    lines += ["", "# Words where nobody speaks", ""]
    lines += [
        f"- {_title(one)}: {printable(one.heard.text)}"
        for one in every
        if one.recording.kind == SILENCE and one.heard.text
    ]
    return "\n".join(lines) + "\n"


def _title(one: Scored) -> str:
    reference = one.recording.reference
    return f"{printable(reference.file or reference.set or reference.language)} ({one.recording.kind}), {one.contender}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the tables; with --write save them."""
    about = f"{__doc__}{references.__doc__}"  # with the format of refs.csv
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder of real speech with a refs.csv")
    parser.add_argument("--model", help="a model's name or folder; default: what speechpipe would choose")
    parser.add_argument("--files", type=int, help="only so many files, from all sets and languages alternately")
    parser.add_argument("--strung", action="store_true", help="also measure each set's files strung together")
    parser.add_argument("--silence", type=Path, nargs="+", default=[], metavar="FILE", help="nobody speaks in these")
    parser.add_argument("--contenders", nargs="+", default=CONTENDERS, choices=CONTENDERS)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of each contender; default: all cores")
    parser.add_argument("--write", action="store_true", help="save words.json and words.md in benchmarks/results/")
    parser.add_argument("--details", type=Path, default=DETAILS, help="file for the texts; default: %(default)s")
    asked = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    settings = read(EngineSettings, os.environ).model_copy(
        update={name: value for name, value in (("stt_model", asked.model), ("threads", asked.threads)) if value}
    )
    try:
        found, skipped = references.read(asked.folder)
        choice = choose(Stage.STT, settings)
        device = choose_device(Stage.STT, settings)
        compute_type = ct2_compute_type(device, settings)
    except (references.NoReferences, EngineUnavailable) as error:
        raise SystemExit(str(error)) from None
    if asked.files is not None:
        found = references.spread(found, asked.files)
    if not found and not asked.silence:
        raise SystemExit(f"nothing to transcribe. {_skipped(skipped)}")
    spelling = scores.spelling(choice.folder)
    where = machine("faster-whisper", "ctranslate2", "transformers")
    with tempfile.TemporaryDirectory() as name, Progress(console=Console(stderr=True)) as bar:
        place = Path(name)
        recordings, more = prepare(asked.folder, found, asked.silence, strung=asked.strung, place=place, bar=bar)
        results = transcribe_all(recordings, settings, choice.folder, place / "backend", bar, asked.contenders)
        every = list(scored(recordings, results, Normaliser(spelling)))
    content = {
        "machine": where,
        "model": {
            "name": choice.name,
            "revision": choice.revision,
            "device": device,
            "compute_type": compute_type,
            "threads": cpu_threads(settings),
        },
        "spelling": f"{len(spelling)} from the model's normalizer.json" if spelling else _NO_SPELLING,
        "skipped": skipped + more,
        "audio_seconds": round(sum(recording.seconds for recording in recordings), 2),
        "wall": results.wall_seconds,
        "rows": rows(every),
        "silence": silence_rows(every),
    }
    text = markdown(content)
    print(text)
    asked.details.parent.mkdir(parents=True, exist_ok=True)
    asked.details.write_text(details(every), encoding="utf-8")
    print(f"texts: {asked.details}")
    if asked.write:
        (RESULTS / "words.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        (RESULTS / "words.md").write_text(text, encoding="utf-8")


_NO_SPELLING = "not mapped, since the model has no normalizer.json and transformers has no mapping"


if __name__ == "__main__":
    main()
