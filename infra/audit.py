"""`make audit`: the pinned packages against known vulnerabilities. `make advisories` renews what is known.

Two halves, since CI has no network: `advisories.json` is a copy of the advisories of just our packages, in OSV's form
(https://ossf.github.io/osv-schema/), with the day it was made; the audit compares every pinned version with it and
needs nothing else. Why not pip-audit: docs/decisions/0014-the-audit.md.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
ADVISORIES = Path(__file__).with_name("advisories.json")
#: Everything that an image or CI installs; what goes into images has hashes.
HASHED = tuple(f"docker/requirements/{image}.txt" for image in ("functions", "stt", "ser", "console"))
PINNED = (*HASHED, "constraints.txt", "infra/tools.txt")
SERVICE = "https://api.osv.dev"  # https://google.github.io/osv.dev/post-v1-query/
TIMEOUT_SECONDS = 30
#: After so many days the audit says that its advisories are old.
OLD_DAYS = 30
Pins = dict[str, Version]


class Unpinned(Exception):
    """A file asks for something in no exact version, or without a hash where there has to be one."""


@dataclass(frozen=True)
class Finding:
    """A pinned version that an advisory is about."""

    file: str
    name: str
    version: Version
    advisory: Mapping[str, Any]

    def __str__(self) -> str:
        """One line for people."""
        fixed = sorted({event["fixed"] for event in _events(self.advisory, self.name) if "fixed" in event})
        names = " ".join([self.advisory["id"], *self.advisory.get("aliases", [])])
        return f"{self.file}: {self.name} {self.version}: {names}; fixed in: {', '.join(fixed) or 'no version'}"


def pins(text: str, *, hashed: bool = False) -> Pins:
    """Package to version of a requirements file. Raises Unpinned, naming every line that is not exact."""
    found: Pins = {}
    problems = []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        requirement = re.sub(r"(^|\s)#.*", "", line).strip()
        if not requirement:
            continue
        bare, *hashes = re.split(r"\s+--hash=", requirement)
        try:
            parsed = Requirement(bare)
        except InvalidRequirement:
            problems.append(f"{bare}: not a pinned package")
            continue
        exact = re.fullmatch(r"==([^*,]+)", str(parsed.specifier))
        if exact is None:
            problems.append(f"{bare}: in no exact version")
        elif hashed and not any(each.strip().startswith("sha256:") for each in hashes):
            problems.append(f"{bare}: without a hash")
        else:
            found[canonicalize_name(parsed.name)] = Version(exact[1])
    if problems:
        raise Unpinned("; ".join(problems))
    return found


def vulnerable(version: Version, advisory: Mapping[str, Any], name: str) -> bool:
    """Whether an advisory is about this version, as OSV's schema says it is to be evaluated."""
    if "withdrawn" in advisory:
        return False
    for affected in _affected(advisory, name):
        if any(Version(each) == version for each in affected.get("versions", []) if _is_version(each)):
            return True
        if any(_inside(version, each["events"]) for each in affected.get("ranges", []) if each["type"] == "ECOSYSTEM"):
            return True
    return False


def audit(files: Mapping[str, Pins], advisories: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """What is known of the pinned versions, by file."""
    known = list(advisories)
    return [
        Finding(file, name, version, advisory)
        for file, pinned in files.items()
        for name, version in pinned.items()
        for advisory in known
        if vulnerable(version, advisory, name)
    ]


def renewed(packages: Iterable[str], service: str, before: Mapping[str, Any]) -> dict[str, Any]:
    """Advisories of these packages, of whatever version, from OSV. Raises OSError if it cannot be asked for one."""
    asked = sorted(set(packages))
    found = {record["id"]: _short(record) for name in asked for record in _query(service, name)}
    return {
        "made": datetime.now(UTC).date().isoformat(),
        "source": service,
        "asked": asked,
        "accepted": before["accepted"],
        "advisories": [found[key] for key in sorted(found) if "withdrawn" not in found[key]],
    }


def _query(service: str, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    question: dict[str, Any] = {"package": {"name": name, "ecosystem": "PyPI"}}
    while True:
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"{service}/v1/query", json.dumps(question).encode(), headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            answer = json.load(response)
        found += answer.get("vulns", [])
        if not answer.get("next_page_token"):
            return found
        question["page_token"] = answer["next_page_token"]


def _short(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the audit reads of a record: whom it is about, not what it tells."""
    affected = []
    for each in record.get("affected", []):
        package = {key: each.get("package", {}).get(key) for key in ("ecosystem", "name")}
        ranges = [
            {"type": one["type"], "events": one["events"]}
            for one in each.get("ranges", [])
            if one["type"] == "ECOSYSTEM"
        ]
        # Ranges say it shorter, where there are any.
        affected.append(
            {"package": package} | ({"ranges": ranges} if ranges else {"versions": each.get("versions", [])})
        )
    kept = {key: record[key] for key in ("id", "aliases", "modified", "withdrawn") if key in record}
    return {**kept, "affected": affected}


def _affected(advisory: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    return [
        each
        for each in advisory["affected"]
        if each["package"]["ecosystem"] == "PyPI" and canonicalize_name(each["package"]["name"]) == name
    ]


def _events(advisory: Mapping[str, Any], name: str) -> list[Mapping[str, str]]:
    return [event for each in _affected(advisory, name) for one in each.get("ranges", []) for event in one["events"]]


def _inside(version: Version, events: Sequence[Mapping[str, str]]) -> bool:
    """Whether a version is after an `introduced` and not after the `fixed` or `last_affected` that follows it."""
    inside = False
    for kind, at in sorted(((kind, at) for event in events for kind, at in event.items()), key=_in_order):
        if kind == "introduced" and (at == "0" or version >= Version(at)):
            inside = True
        elif (kind == "fixed" and version >= Version(at)) or (kind == "last_affected" and version > Version(at)):
            inside = False
    return inside


def _in_order(event: tuple[str, str]) -> tuple[Version, bool]:
    kind, at = event
    return Version(at if at != "0" else "0.dev0"), kind == "introduced"


def _is_version(text: str) -> bool:
    return re.fullmatch(r"[\w.!+-]+", text) is not None and text[:1].isdigit()


def _read(names: Sequence[str], root: Path) -> dict[str, Pins]:
    return {name: pins((root / name).read_text(), hashed=name in HASHED) for name in names}


def report(known: Mapping[str, Any], files: Mapping[str, Pins], today: date) -> tuple[int, list[str]]:
    """Exit status, and what to print: findings first, then what was compared with what, and what was not."""
    accepted: Mapping[str, str] = known["accepted"]
    found = audit(files, known["advisories"])
    bad = [finding for finding in found if finding.advisory["id"] not in accepted]
    packages = {name for pinned in files.values() for name in pinned}
    lines = [f"VULNERABLE {finding}" for finding in bad]
    lines += [f"accepted   {each}: {accepted[each.advisory['id']]}" for each in found if each not in bad]
    lines.append(
        f"{len(packages)} packages of {len(files)} files against {len(known['advisories'])} advisories, "
        f"made {known['made']} from {known['source']}: {len(bad)} vulnerable pins"
    )
    unasked = packages - set(known["asked"])
    if unasked:
        lines.append(
            f"NOT ASKED  no service was asked about {len(unasked)} of them: `make advisories` does, on a network"
        )
    age = (today - date.fromisoformat(known["made"])).days
    if age > OLD_DAYS:
        lines.append(f"OLD        the advisories are {age} days old: `make advisories` renews them, on a network")
    return (1 if bad else 0), lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit, or renew first. 0: nothing known; 1: vulnerable or unpinned; 2: the service cannot be asked."""
    parser = argparse.ArgumentParser(prog="python -m infra.audit", description=__doc__)
    parser.add_argument("--renew", action="store_true", help="ask the service for advisories first")
    parser.add_argument("--service", default=SERVICE, help="address of OSV")
    parser.add_argument("--advisories", type=Path, default=ADVISORIES)
    parser.add_argument("--root", type=Path, default=ROOT, help="where the pinned files lie")
    parser.add_argument("files", nargs="*", default=PINNED, help="pinned files, by default all there are")
    given = parser.parse_args(arguments)
    try:
        files = _read(given.files, given.root)
    except Unpinned as error:
        print(f"UNPINNED   {error}", file=sys.stderr)
        return 1
    known = json.loads(given.advisories.read_text())
    if given.renew:
        try:
            known = renewed((name for pinned in files.values() for name in pinned), given.service, known)
        except (OSError, ValueError, http.client.HTTPException) as error:
            print(f"{given.service} cannot be asked, nothing was renewed: {error}", file=sys.stderr)
            return 2
        given.advisories.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")
    status, lines = report(known, files, datetime.now(UTC).date())
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
