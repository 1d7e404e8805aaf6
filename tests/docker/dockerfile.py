"""Parse a Dockerfile, and list its build context: as much of both formats as `docker/` uses."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

KNOWN = {"ARG", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "LABEL", "RUN", "USER", "WORKDIR"}


@dataclass(frozen=True)
class Instruction:
    """One instruction; `value` excludes its flags."""

    name: str
    value: str
    flags: Mapping[str, str]

    @property
    def command(self) -> list[str]:
        """The command of RUN or ENTRYPOINT, in exec form or shell form."""
        return list(json.loads(self.value)) if self.value.startswith("[") else ["/bin/sh", "-c", self.value]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The variables of ENV, ARG or LABEL."""
        return [(key, value) for key, _, value in (word.partition("=") for word in shlex.split(self.value))]


def parse(path: Path) -> list[Instruction]:
    """Return the instructions in order. Raises ValueError if one is not in KNOWN."""
    lines = (line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#"))
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [_instruction(line) for line in text.splitlines()]


def _instruction(line: str) -> Instruction:
    name, _, value = line.partition(" ")
    if name not in KNOWN:
        raise ValueError(f"unknown instruction: {line}")
    flags = {}
    while match := re.match(r"--([a-z]+)=(\S+)\s+", value):
        flags[match[1]] = match[2]
        value = value[match.end() :]
    return Instruction(name, value.strip(), flags)


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$NAME` and `${NAME}`; unknown variables become empty."""
    return re.sub(r"\$\{?(\w+)\}?", lambda match: variables.get(match[1], ""), text)


def context(root: Path) -> Iterator[Path]:
    """Yield the files below `root` that `.dockerignore` lets into a build: the last matching pattern decides."""
    lines = (line.strip() for line in (root / ".dockerignore").read_text().splitlines())
    rules = [(line.startswith("!"), _pattern(line.lstrip("!"))) for line in lines if line and not line.startswith("#")]
    for path in sorted(root.rglob("*")):
        names = path.relative_to(root).parts
        if names[0].startswith(".venv") or names[0] == ".git" or not path.is_file():
            continue
        parents = ["/".join(names[: n + 1]) for n in range(len(names))]
        kept = True
        for keeps, pattern in rules:
            if any(pattern.fullmatch(each) for each in parents):
                kept = keeps
        if kept:
            yield path


def _pattern(text: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", text.strip("/"))
    kinds = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(kinds.get(part, re.escape(part)) for part in parts))
