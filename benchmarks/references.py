"""Read the references of a folder of real speech: which file, what is said in it, and in which language.

`refs.csv` in the folder has a header and a row for each recording. Columns are found by name, others are ignored:

    file or path                   the recording, relative to the folder
    transcript, text or reference  what is said in it
    lang or language               its language: a code that Whisper knows, such as en; a region (en-GB) is ignored
    set                            optional: results are listed by set; default: the folder that the file is in
    ref_kind                       optional: only rows with `full` (or nothing) have a transcript of the whole recording

If a file has several columns with the same role, the first name in this list counts. Rows without a usable transcript,
language or file are skipped and counted.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from speechpipe.contract.languages import LANGUAGES

LIST = "refs.csv"
#: Names of each role's column.
_FILE, _TEXT, _LANGUAGE = ("file", "path"), ("transcript", "text", "reference"), ("lang", "language")
_SET, _KIND = ("set",), ("ref_kind",)
_WHOLE = ("", "full")  #: values of ref_kind


@dataclass(frozen=True)
class Reference:
    """A recording and its transcript."""

    file: str  #: relative to the folder
    text: str
    language: str
    set: str


class NoReferences(ValueError):
    """The folder has no list, or the list lacks a column."""


def read(folder: Path) -> tuple[list[Reference], Counter[str]]:
    """The references of a folder, and how many rows were skipped, by reason. Raises NoReferences."""
    try:
        with (folder / LIST).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            found, skipped = usable(reader.fieldnames or (), reader)
    except FileNotFoundError:
        raise NoReferences(f"{folder} has no {LIST}") from None
    existing = [reference for reference in found if (folder / reference.file).is_file()]
    if len(existing) < len(found):
        skipped["no such file"] = len(found) - len(existing)
    return existing, skipped


def usable(header: Sequence[str], rows: Iterable[dict[str, str]]) -> tuple[list[Reference], Counter[str]]:
    """The rows fit for a word error rate, and how many are not, by reason. Raises NoReferences for a missing column."""
    file, text, language = (_required(header, names) for names in (_FILE, _TEXT, _LANGUAGE))
    group, kind = _column(header, _SET), _column(header, _KIND)
    found, skipped = [], Counter[str]()
    for row in rows:
        name, said = (row[file] or "").strip(), (row[text] or "").strip()
        code = re.split(r"[-_]", (row[language] or "").strip().lower())[0]
        if kind and (row[kind] or "").strip().lower() not in _WHOLE:
            skipped["transcript is not of the whole recording"] += 1
        elif not name or not said:
            skipped["no file or no transcript"] += 1
        elif code not in LANGUAGES:
            skipped["not one language that Whisper knows"] += 1
        else:
            parent = PurePosixPath(name).parent.as_posix()
            named = (row[group] or "").strip() if group else ""
            found.append(Reference(name, said, code, named or ("" if parent == "." else parent)))
    return found, skipped


def spread(references: Sequence[Reference], count: int) -> list[Reference]:
    """The first `count` references, taken from all sets and languages alternately, in their original order."""
    rank: Counter[tuple[str, str]] = Counter()
    ranks = []
    for position, reference in enumerate(references):
        key = (reference.language, reference.set)
        ranks.append((rank[key], position))
        rank[key] += 1
    return [references[position] for position in sorted(position for _, position in sorted(ranks)[:count])]


def _column(header: Sequence[str], names: Sequence[str]) -> str | None:
    columns = {column.strip().lower(): column for column in header}
    return next((columns[name] for name in names if name in columns), None)


def _required(header: Sequence[str], names: Sequence[str]) -> str:
    column = _column(header, names)
    if column is None:
        raise NoReferences(f"{LIST} has no column {' or '.join(names)}; it has: {', '.join(header) or 'none'}")
    return column
