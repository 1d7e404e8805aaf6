"""The books of a run: what went in against what came out. Each line is a promise of `docs/architecture.md`.

What "the same as in a quiet run" means: a record is compared whole, except for what says when and where it was made
(its id, times, attempts, the revision, what a bucket says of the source besides name, size and metadata, the folder in
URIs), for `supersedes`, and for the words of a failure of ours, which count attempts and name the last error. Analyses
are compared whole. Where a clock passed the deadline a half may have been given up as `timeout`, and then has no quiet
equal.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table

from speechpipe.contract import Analysis, Completion, Failure, Lease, Partial, Record, Recording, Stage, Status, leases
from speechpipe.contract.errors import Busy, ErrorCode

Key = tuple[str, Stage, int]  #: recording, stage, revision
EXAMPLES = 5
LEASE_SECONDS = 5  #: of the runs; with those of production a killed worker's work would wait for most of a run


@dataclass
class Made:
    """Everything that a run left."""

    uploads: dict[str, str]  #: recording's id -> its name, of every upload
    recordings: dict[str, Recording]
    partials: dict[Key, Partial]
    first: dict[Key, str]  #: digest of each partial when it was first seen
    leases: list[Lease]
    records: dict[tuple[str, int], Record]  #: as they lie in the results bucket
    files: dict[str, list[str]]  #: recording's id -> what lies in the results bucket
    analyses: dict[Key, Analysis]
    events: list[Completion]
    unfinished: int
    processes: list[str] = field(default_factory=list)  #: that outlived the run
    litter: list[str] = field(default_factory=list)  #: files that nobody will need or remove


@dataclass(frozen=True)
class Line:
    """One promise, with what breaks it."""

    promise: str
    counted: str
    broken: list[str]


def digest(partial: Partial) -> str:
    """Of a partial, to compare it with itself later."""
    return hashlib.sha256(partial.model_dump_json().encode()).hexdigest()


class Quiet:
    """An undisturbed run of the same files, by their names: on another backend they have other ids."""

    def __init__(self, made: Made) -> None:
        name = made.uploads
        self.partials = {(name[key], stage): partial for (key, stage, _), partial in made.partials.items()}
        self.analyses = {(name[key], stage): analysis for (key, stage, _), analysis in made.analyses.items()}
        self.records = {name[key]: comparable(record) for (key, _), record in made.records.items()}


def balance(made: Made, quiet: Quiet, *, past_deadline: bool = False) -> list[Line]:
    """All lines."""
    lines = [_every_upload(made), _outcomes(made), _announced(made), _partials(made)]
    lines += [_analyses(made, quiet, past_deadline), _records(made, quiet, past_deadline)]
    return [*lines, _erased(made), _left(made)]


def _every_upload(made: Made) -> Line:
    ended = {key: recording for key, recording in made.recordings.items() if recording.status.is_final}
    states = Counter(recording.status.value for recording in ended.values())
    broken = [f"{name} has no recording" for key, name in made.uploads.items() if key not in made.recordings]
    broken += [f"{key} is {r.status.value}" for key, r in made.recordings.items() if key not in ended]
    broken += [f"{key} is no upload" for key in made.recordings if key not in made.uploads]
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return Line("every upload ended", f"{len(made.uploads)} uploads: {counted}", broken)


def _outcomes(made: Made) -> Line:
    """One outcome a revision: the record in the bucket, the document and the events say the same."""
    broken, revisions = [], 0
    told = defaultdict(set)
    for event in made.events:
        told[event.data.recording_id, event.data.revision].add(event.data.status)
    for key, recording in made.recordings.items():
        for revision in range(1, recording.revision + 1):
            revisions += 1
            said = told.pop((key, revision), set())
            if recording.status is Status.ERASED:
                if len(said) > 1 or (revision == recording.revision and said != {Status.ERASED}):
                    broken.append(f"{key}, erased: revision {revision} was announced as {sorted(said)}")
                continue
            record = made.records.get((key, revision))
            if record is None or said != {record.status}:
                broken.append(f"{key} r{revision}: record {record and record.status}, announced {sorted(said)}")
            elif revision == recording.revision and recording.status is not record.status:
                broken.append(f"{key} r{revision}: document {recording.status}, record {record.status}")
            elif revision == recording.revision and recording.result and recording.result != record:
                broken.append(f"{key} r{revision}: the document's result is another than the bucket's record")
    broken += [f"{key} r{revision} was announced, and there is none" for key, revision in told]
    return Line("exactly one outcome a revision", f"{revisions} revisions", broken)


def _announced(made: Made) -> Line:
    bodies = defaultdict(set)
    for event in made.events:
        bodies[event.id].add(event.model_copy(update={"traceparent": None}).model_dump_json())
    broken = [f"{event} was announced with {len(found)} bodies" for event, found in bodies.items() if len(found) > 1]
    for event in made.events:
        if event.id != f"{event.data.recording_id}.r{event.data.revision}.{event.data.status.value}":
            broken.append(f"{event.id} is not the id that follows from the outcome")
    broken += [f"{key} is not marked" for key, r in made.recordings.items() if r.announced_at is None]
    broken += [f"{made.unfinished} recordings are unfinished"] if made.unfinished else []
    counted = f"{len(bodies)} events, {len(made.events) - len(bodies)} repeats"
    return Line("every outcome announced, by its one id and body", counted, broken)


def _partials(made: Made) -> Line:
    broken = []
    for key, first in made.first.items():
        now = made.partials.get(key)
        if now is None and made.recordings[key[0]].status is not Status.ERASED:
            broken.append(f"{key} is gone")
        elif now is not None and digest(now) != first:
            broken.append(f"{key} has changed")
    broken += [f"{key} came from nowhere" for key in made.partials if key not in made.first]
    return Line("no partial overwritten or lost", f"{len(made.first)} partials", broken)


def _analyses(made: Made, quiet: Quiet, past_deadline: bool) -> Line:
    """Each half's outcome is that of the quiet run."""
    broken, given_up, same = [], 0, 0
    for key, partial in made.partials.items():
        file = made.uploads.get(key[0], ""), key[1]
        expected = quiet.partials.get(file)
        if expected is None:
            broken.append(f"{key} has no quiet equal")
        elif partial.failure and partial.failure.code is ErrorCode.TIMEOUT and past_deadline:
            given_up += 1
        elif partial.failure or expected.failure:
            if _failed(partial.failure) != _failed(expected.failure):
                broken.append(f"{key}: {_failed(partial.failure)}, quiet {_failed(expected.failure)}")
            else:
                same += 1
        elif made.analyses[key] != quiet.analyses[file]:
            broken.append(f"{key} has another analysis")
        else:
            same += 1
    counted = f"{same} the same" + (f", {given_up} given up at the deadline" if past_deadline else "")
    return Line("every half as in the quiet run", counted, broken)


def _failed(failure: Failure | None) -> tuple[str, str | None] | None:
    """What of a failure is the same in every run."""
    if failure is None:
        return None
    return failure.code.value, failure.message if failure.code.is_input else None


def _records(made: Made, quiet: Quiet, past_deadline: bool) -> Line:
    broken, same, other = [], 0, 0
    for (key, revision), record in made.records.items():
        if past_deadline and any(h.error and h.error.code is ErrorCode.TIMEOUT for h in record.halves.values()):
            other += 1
            continue
        if comparable(record) != quiet.records.get(made.uploads.get(key, "")):
            broken.append(f"{key} r{revision} differs")
        else:
            same += 1
    counted = f"{same} the same" + (f", {other} with a half given up at the deadline" if past_deadline else "")
    return Line("every record as in the quiet run", counted, broken)


def comparable(record: Record) -> dict[str, Any]:
    """What of a record is the same in every run."""
    fields = record.model_dump(mode="json", exclude={"recording_id", "revision", "supersedes", "timing"})
    fields["seconds"] = (record.timing.audio_seconds, record.timing.compute_seconds)
    fields["source"] = (record.source.name, record.source.size, record.source.metadata)
    fields["artifacts"] = {name: uri and uri.rpartition("/")[2] for name, uri in record.artifacts}
    for half in fields["halves"].values():
        for name in ("attempts", "queued_at", "started_at", "finished_at"):
            del half[name]
    for place in (fields, *fields["halves"].values()):
        place["error"] = place["error"] and (place["error"]["stage"], _failed(Failure(**place["error"])))
    plain: dict[str, Any] = json.loads(json.dumps(fields))
    return plain


def _erased(made: Made) -> Line:
    erased = {key for key, recording in made.recordings.items() if recording.status is Status.ERASED}
    broken = [f"{key} of an erased recording is there" for key in made.partials if key[0] in erased]
    broken += [
        f"a lease of the erased {each.recording_id} is there" for each in made.leases if each.recording_id in erased
    ]
    broken += [f"files of the erased {key} are there" for key in erased if made.files.get(key)]
    return Line("nothing left of what was erased", f"{len(erased)} erased", broken)


def _left(made: Made) -> Line:
    broken = [f"{each.stage} of {each.recording_id} is held until {each.until}" for each in made.leases if held(each)]
    broken += made.processes + made.litter
    counted = f"{len(made.leases)} leases, {len(made.files)} folders of results"
    return Line("no process, file or lease left over", counted, broken)


def held(lease: Lease) -> bool:
    """Whether somebody who wants it is refused."""
    now = datetime.now(UTC)
    try:
        leases.claimed(lease, holder="books", now=now, until=now + timedelta(seconds=LEASE_SECONDS))
    except Busy:
        return True
    return False


def show(lines: Iterable[Line], counts: Mapping[str, int], title: str) -> bool:
    """Print the books and what happened; whether they balance."""
    console = Console(width=118, highlight=False)
    happened = Table(title=title, title_justify="left", show_header=False)
    for name, count in counts.items():
        happened.add_row(name, str(count))
    console.print(happened)
    table = Table()
    for column in ("promise", "counted", "broken"):
        table.add_column(column)
    balanced = True
    for line in lines:
        balanced = balanced and not line.broken
        table.add_row(line.promise, line.counted, str(len(line.broken)))
    console.print(table)
    for line in lines:
        for example in line.broken[:EXAMPLES]:
            console.print(f"  {line.promise}: {example}", markup=False)
    console.print("the books balance" if balanced else "THE BOOKS DO NOT BALANCE")
    return balanced
