"""How well the demo heard its samples: words said and words wrong, against `workers/demo/samples/samples.json`.

    python -m benchmarks.demo FOLDER

FOLDER is what `speechpipe run` made of the samples. Words are compared after Whisper's own normalisation (see
`benchmarks.scores`), channel by channel.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.scores import Normaliser, word_errors
from speechpipe.client import Client
from speechpipe.contract import Record, Stage
from speechpipe.contract.errors import NotFound
from speechpipe.observe.log import printable

SAMPLES = Path(__file__).parent.parent / "workers" / "demo" / "samples"
TOY = "toy"  #: the name of the bundled recogniser, which knows no real voice


class NoSamples(Exception):
    """The folder holds no finished records of the samples. The message says what to do."""


@dataclass(frozen=True)
class Sample:
    """A bundled recording and what is said in it."""

    file: str
    languages: tuple[str, ...]
    text: tuple[str, ...]  #: one per channel
    options: dict[str, str]


@dataclass(frozen=True)
class Line:
    """How well one sample was heard."""

    sample: Sample
    said: int  #: words of the reference
    wrong: int  #: words substituted, left out or added
    heard: tuple[str, ...]  #: languages in the record, the longest first


def samples() -> list[Sample]:
    """The bundled samples."""
    listed: list[dict[str, Any]] = json.loads((SAMPLES / "samples.json").read_text(encoding="utf-8"))
    return [
        Sample(each["file"], tuple(each["languages"]), tuple(each["text"]), dict(each["options"])) for each in listed
    ]


def compare(sample: Sample, record: Record) -> Line:
    """Count a record's words against its sample's."""
    normalise = Normaliser({})
    language = sample.languages[0] if len(sample.languages) == 1 else ""  # English rules would spoil other languages
    said = wrong = 0
    for channel, reference in enumerate(sample.text):
        text = " ".join(segment.text for segment in record.segments if segment.channel == channel)
        expected = normalise(reference, language)
        said += len(expected)
        wrong += word_errors(expected, normalise(text, language))
    return Line(sample, said, wrong, tuple(each.code for each in record.languages))


def records(folder: Path) -> list[tuple[Sample, Record]]:
    """The record of each sample. Raises NoSamples if one is missing."""
    if not (folder / ".speechpipe").is_dir():  # a client would make it
        raise NoSamples(f"{folder} is not a folder that `speechpipe run` has processed: run `make demo`")
    found = []
    with Client(folder, environ={}) as client:
        for sample in samples():
            try:
                found.append((sample, client.record(sample.file)))
            except NotFound:
                raise NoSamples(f"{folder} has no finished record of {sample.file}: run `make demo`") from None
    return found


def table(lines: list[Line]) -> str:
    """One line per sample, and the total."""
    width = max(len(line.sample.file) for line in lines)
    rows = [f"{'':{width}}  words  wrong  languages"]
    rows += [
        f"{line.sample.file:{width}}  {line.said:5}  {line.wrong:5}  {', '.join(line.heard) or 'none'}"
        for line in lines
    ]
    said, wrong = sum(line.said for line in lines), sum(line.wrong for line in lines)
    rows.append(f"{'all':{width}}  {said:5}  {wrong:5}  word error rate {wrong / said:.1%}")
    return "\n".join(rows)


def main(folder: Path) -> str | None:
    """Print the table; return an error message, or None."""
    try:
        found = records(folder)
    except NoSamples as missing:
        return printable(str(missing))
    for _, record in found:
        model = record.halves[Stage.STT].model
        if model and model.name == TOY:
            why = next(caution.message for caution in record.warnings if caution.code == "demo_models")
            print(f"No word error rate: {printable(why)}.")
            return None
    print(table([compare(sample, record) for sample, record in found]))
    return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    sys.exit(main(parser.parse_args().folder))
