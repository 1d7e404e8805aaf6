"""Put odd, damaged and hostile files through a real worker: each must end as it should, and the worker must survive.

    python -m benchmarks.media FOLDER [--stages stt ser] [--output FILE.json] [--rounds 1]

Every file in the folder is pushed over HTTP to each stage's worker, one at a time, as to a worker with one slot. The
worker runs in a separate process with the toy model and the embedded backend. A `media.csv` beside the files (columns
`file` and `expect`) says how each must end:

    decode   with an analysis
    reject   with a Failure whose code blames the input
    empty    with a Failure, or with an analysis without speech
    either   with an analysis or a Failure

Files that it does not list are `either`. The table shows how each file ended, after how many seconds, and the seconds
of audio or the Failure's code and message. The worker's memory (VmRSS) and open files are recorded after a bundled
sample, and again at the end after the same sample, whose words must not have changed. The exit status is 1 if any file
ended differently or took over 30 seconds, or if the memory has changed by more than a tenth.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.memory import Watch, children, megabytes, running
from speechpipe.contract import Partial
from speechpipe.observe.log import printable

SAMPLES = Path(__file__).parent.parent / "tests" / "samples"
WARM_UP = SAMPLES / "changing_mood.m4a"
MOST_SECONDS = 30.0  #: for one file
MEMORY_SHARE = 0.1  #: by which the worker's memory may differ at the end
LIST = "media.csv"


def expectations(folder: Path) -> dict[str, str]:
    """How each file in a folder must end, by name."""
    expected = {path.name: "either" for path in sorted(folder.iterdir()) if path.is_file() and path.name != LIST}
    if (folder / LIST).exists():
        with (folder / LIST).open(newline="", encoding="utf-8") as file:
            named = {row["file"]: row["expect"] for row in csv.DictReader(file)}
        expected |= {name: expect for name, expect in named.items() if name in expected}
    return expected


def try_all(stage: str, folder: Path, rounds: int) -> dict[str, Any]:
    """Put each file through one stage's worker: the outcomes, and the worker's state before and after."""
    with tempfile.TemporaryDirectory() as name, running(stage, Path(name)) as (worker, door):

        def one(path: Path) -> tuple[Partial | None, float, float]:
            began = time.perf_counter()
            with Watch(worker.pid) as below:
                try:
                    (partial,) = door.partials([path])
                except (AssertionError, OSError):  # the worker answered 500, or not at all
                    partial = None
                return partial, time.perf_counter() - began, below.child

        said_before = _said(one(WARM_UP)[0])
        before = _state(worker.pid)
        rows = []
        for _ in range(rounds):
            rows = [
                {"file": file, "expected": expect, **_outcome(expect, *one(folder / file))}
                for file, expect in expectations(folder).items()
            ]
        said_after = _said(one(WARM_UP)[0])
        after = _state(worker.pid)
        return {
            "alive": worker.poll() is None and said_after == said_before,
            "before": before,
            "after": after,
            "memory_change": round(after["rss_mb"] / before["rss_mb"] - 1, 4),
            "slowest_seconds": max((row["seconds"] for row in rows), default=0.0),
            "files": rows,
        }


def _said(partial: Partial | None) -> str:
    """The words or scores of an analysis."""
    assert partial, "a bundled sample has no outcome"
    assert partial.analysis, partial.failure
    return partial.analysis.value.model_dump_json()


def _state(pid: int) -> dict[str, float]:
    """Memory of a worker and of its decoding process, open files, and the decoding process's children."""
    below = children(pid)
    return {
        "rss_mb": round(megabytes(pid, "VmRSS"), 1),
        "decoding_rss_mb": round(sum(megabytes(process, "VmRSS") for process in below), 1),
        "open_files": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        "decoders_left": sum(len(children(process)) for process in below),
    }


def _outcome(expect: str, partial: Partial | None, seconds: float, decoder_mb: float) -> dict[str, Any]:
    """How a file ended, and whether that is right. `decoder_mb` is 0 if the decoder ended before it was sampled."""
    outcome: dict[str, Any] = {"actual": "error", "detail": "", "seconds": round(seconds, 2)}
    outcome["decoder_mb"] = round(decoder_mb)
    if partial is not None and partial.failure is not None:
        failure = partial.failure
        right = failure.code.is_input and expect != "decode"
        outcome |= {"actual": "reject", "code": failure.code.value, "detail": failure.message}
    elif partial is not None and partial.analysis is not None:
        analysis = partial.analysis
        nothing = any(caution.code == "no_speech" for caution in analysis.cautions)
        right = expect in ("decode", "either") or (expect == "empty" and nothing)
        codes = [caution.code for caution in analysis.cautions if caution.code != "demo_models"]
        outcome |= {"actual": "decode", "code": " ".join(codes), "audio_seconds": analysis.audio.duration}
        outcome["detail"] = f"{analysis.audio.duration:.2f} s of {analysis.audio.format}"
    else:
        right = False
    return outcome | {"right": right and seconds <= MOST_SECONDS}


def table(stages: dict[str, dict[str, Any]]) -> str:
    """Markdown: a row for each file, with the stages side by side, and each worker's state at the end."""
    names = list(stages)
    head = [
        "file",
        "expected",
        *(f"{stage} {column}" for stage in names for column in ("actual", "code", "s", "decoder MB")),
        "found",
    ]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for rows in zip(*(stages[stage]["files"] for stage in names), strict=True):
        cells = [rows[0]["file"], rows[0]["expected"]]
        for row in rows:
            wrong = "" if row["right"] else " **wrong**"
            cells += [
                row["actual"] + wrong,
                row.get("code", ""),
                f"{row['seconds']:.2f}",
                f"{row['decoder_mb'] or '-'}",
            ]
        lines.append(
            "| " + " | ".join(printable(cell).replace("|", "\\|") for cell in [*cells, rows[0]["detail"]]) + " |"
        )
    return "\n".join([*lines, "", *(_at_the_end(stage, found) for stage, found in stages.items())])


def _at_the_end(stage: str, found: dict[str, Any]) -> str:
    before, after, rows = found["before"], found["after"], found["files"]
    return (
        f"{stage}: {sum(row['right'] for row in rows)} of {len(rows)} as expected, the slowest in"
        f" {found['slowest_seconds']:.1f} s. At the end the worker {'runs' if found['alive'] else '**is broken**'} with"
        f" {after['rss_mb']:.0f} MB (before: {before['rss_mb']:.0f}, {found['memory_change']:+.1%}),"
        f" {after['open_files']:.0f} open files (before: {before['open_files']:.0f}) and"
        f" {after['decoders_left']:.0f} leftover decoders; the decoding process has {after['decoding_rss_mb']:.0f} MB"
        f" (before: {before['decoding_rss_mb']:.0f})."
    )


def well(found: dict[str, Any]) -> bool:
    """Whether one stage's worker passed."""
    return (
        found["alive"] and abs(found["memory_change"]) <= MEMORY_SHARE and all(row["right"] for row in found["files"])
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Try a folder's files and print the table; with --output save it as JSON and Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stages", nargs="+", default=["stt", "ser"], choices=["stt", "ser"])
    parser.add_argument("--rounds", type=int, default=1, help="passes over all files; the table shows the last one")
    parser.add_argument("--output", type=Path, help="a JSON file; the Markdown is written beside it")
    given = parser.parse_args(arguments)
    stages = {stage: try_all(stage, given.folder, given.rounds) for stage in given.stages}
    text = table(stages)
    print(text)
    if given.output:
        where = machine("av")
        given.output.write_text(
            json.dumps({"machine": where, "rounds": given.rounds, "stages": stages}, indent=1) + "\n"
        )
        title = f"`python -m benchmarks.media FOLDER`, {where['cores']} cores of {where['cpu']}, toy models"
        given.output.with_suffix(".md").write_text(f"{title}\n\n{text}\n")
    return 0 if all(map(well, stages.values())) else 1


if __name__ == "__main__":
    sys.exit(main())
