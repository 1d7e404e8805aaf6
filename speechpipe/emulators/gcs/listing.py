"""Pages of a bucket's objects: https://cloud.google.com/storage/docs/json_api/v1/objects/list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from speechpipe.emulators.gcs.objects import Resource

PAGE = 1000  #: the most entries of a page, and the default


@dataclass(frozen=True)
class Wanted:
    """Objects whose name starts with `prefix`, is at least `start` and less than `end`.

    Names that have the delimiter after the prefix are folded into one entry, their common prefix; `trailing` lists an
    object that is named like such a prefix as well. `after` is the token of the page before, and `size` the most
    entries.
    """

    prefix: str = ""
    delimiter: str = ""
    start: str = ""
    end: str = ""
    trailing: bool = False
    after: str = ""
    size: int = PAGE


@dataclass(frozen=True)
class Page:
    """A page of a listing; `following` is the token of the next one."""

    items: list[Resource]
    prefixes: list[str]
    following: str | None


def page(objects: Mapping[str, Resource], wanted: Wanted) -> Page:
    """The page, by name: Cloud Storage sorts by UTF-8, which is the order of code points, as Python's."""
    items: list[Resource] = []
    prefixes: list[str] = []
    last = ""
    for name in sorted(objects):
        if not name.startswith(wanted.prefix) or name < wanted.start or (wanted.end and name >= wanted.end):
            continue
        entry = _entry(name, wanted)
        folded = entry is not None
        entry = name if entry is None else entry
        listed = not folded or (wanted.trailing and name == entry)
        if entry <= wanted.after or (entry == last and not listed):
            continue
        if len(items) + len(prefixes) >= wanted.size:
            return Page(items, prefixes, last)
        if folded and entry != last:
            prefixes.append(entry)
        if listed:
            items.append(objects[name])
        last = entry
    return Page(items, prefixes, None)


def _entry(name: str, wanted: Wanted) -> str | None:
    """The common prefix into which a name is folded, or None."""
    if not wanted.delimiter:
        return None
    head, found, _ = name[len(wanted.prefix) :].partition(wanted.delimiter)
    return wanted.prefix + head + wanted.delimiter if found else None
