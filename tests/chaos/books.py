"""The books of a run: compares what went in with what came out. Each check is a promise of `docs/architecture.md`.

"As in the undisturbed run" compares whole records, except for the fields that say when and where a record was made (id,
times, attempts, revision, the folder in URIs, and of the source everything but name, size and metadata), for
`supersedes` and `same_content_as`, for the work that it took, and for the message of a failure that is not the input's
fault, which counts attempts and names the last error. Analyses are compared whole, with the work. If a clock passed the
deadline, a half may have been given up with `timeout`; such a half has nothing to compare with.
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
LEASE_SECONDS = 5  #: shorter than in production, where a killed worker's task would wait for most of a run


@dataclass
class Inventory:
    """Everything that exists after a run."""

    uploads: dict[str, str]  #: recording id -> object name, for every upload
    recordings: dict[str, Recording]
    partials: dict[Key, Partial]
    first: dict[Key, str]  #: digest of each partial when it was first observed
    leases: list[Lease]
    records: dict[tuple[str, int], Record]  #: by recording id and revision, from the results bucket
    files: dict[str, list[str]]  #: recording id -> its files in the results bucket
    analyses: dict[Key, Analysis]
    events: list[Completion]
    unfinished: int
    processes: list[str] = field(default_factory=list)  #: still running after the run
    litter: list[str] = field(default_factory=list)  #: temporary files that nobody will remove


@dataclass(frozen=True)
class Check:
    """One promise, and everything that breaks it."""

    promise: str
    counted: str
    broken: list[str]


def digest(partial: Partial) -> str:
    """A partial's digest, to find out later whether it has changed."""
    return hashlib.sha256(partial.model_dump_json().encode()).hexdigest()


class Baseline:
    """The results of an undisturbed run, by object name, because ids differ between backends."""

    def __init__(self, inventory: Inventory) -> None:
        name = inventory.uploads
        self.partials = {(name[key], stage): partial for (key, stage, _), partial in inventory.partials.items()}
        self.analyses = {(name[key], stage): analysis for (key, stage, _), analysis in inventory.analyses.items()}
        self.records = {name[key]: comparable(record) for (key, _), record in inventory.records.items()}


def balance(inventory: Inventory, baseline: Baseline, *, past_deadline: bool = False) -> list[Check]:
    """Make every check."""
    checks = [_every_upload(inventory), _outcomes(inventory), _announced(inventory), _partials(inventory)]
    checks += [_analyses(inventory, baseline, past_deadline), _records(inventory, baseline, past_deadline)]
    return [*checks, _erased(inventory), _left(inventory)]


def _every_upload(inventory: Inventory) -> Check:
    ended = {key: recording for key, recording in inventory.recordings.items() if recording.status.is_final}
    states = Counter(recording.status.value for recording in ended.values())
    broken = [f"{name} has no recording" for key, name in inventory.uploads.items() if key not in inventory.recordings]
    broken += [f"{key} is {r.status.value}" for key, r in inventory.recordings.items() if key not in ended]
    broken += [f"{key} is not an upload" for key in inventory.recordings if key not in inventory.uploads]
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return Check("every upload reached a final state", f"{len(inventory.uploads)} uploads: {counted}", broken)


def _outcomes(inventory: Inventory) -> Check:
    """One outcome per revision: the record in the bucket, the document and the events agree."""
    broken, revisions = [], 0
    announced = defaultdict(set)
    for event in inventory.events:
        announced[event.data.recording_id, event.data.revision].add(event.data.status)
    for key, recording in inventory.recordings.items():
        for revision in range(1, recording.revision + 1):
            revisions += 1
            statuses = announced.pop((key, revision), set())
            if recording.status is Status.ERASED:
                if len(statuses) > 1 or (revision == recording.revision and statuses != {Status.ERASED}):
                    broken.append(f"{key}, erased: revision {revision} was announced as {sorted(statuses)}")
                continue
            record = inventory.records.get((key, revision))
            if record is None or statuses != {record.status}:
                broken.append(f"{key} r{revision}: record {record and record.status}, announced {sorted(statuses)}")
            elif revision == recording.revision and recording.status is not record.status:
                broken.append(f"{key} r{revision}: document {recording.status}, record {record.status}")
            elif revision == recording.revision and recording.result and recording.result != record:
                broken.append(f"{key} r{revision}: the document's result differs from the bucket's record")
    broken += [f"{key} r{revision} was announced but does not exist" for key, revision in announced]
    return Check("exactly one outcome per revision", f"{revisions} revisions", broken)


def _announced(inventory: Inventory) -> Check:
    bodies = defaultdict(set)
    for event in inventory.events:
        bodies[event.id].add(event.model_copy(update={"traceparent": None}).model_dump_json())
    broken = [
        f"{event} was announced with {len(found)} different bodies" for event, found in bodies.items() if len(found) > 1
    ]
    for event in inventory.events:
        if event.id != f"{event.data.recording_id}.r{event.data.revision}.{event.data.status.value}":
            broken.append(f"{event.id} is not the id derived from the outcome")
    broken += [f"{key} is not marked as announced" for key, r in inventory.recordings.items() if r.announced_at is None]
    broken += [f"{inventory.unfinished} recordings are unfinished"] if inventory.unfinished else []
    counted = f"{len(bodies)} events, {len(inventory.events) - len(bodies)} repeats"
    return Check("every outcome announced, always with the same id and body", counted, broken)


def _partials(inventory: Inventory) -> Check:
    broken = []
    for key, first in inventory.first.items():
        now = inventory.partials.get(key)
        if now is None and inventory.recordings[key[0]].status is not Status.ERASED:
            broken.append(f"{key} is gone")
        elif now is not None and digest(now) != first:
            broken.append(f"{key} has changed")
    broken += [f"{key} was created unobserved" for key in inventory.partials if key not in inventory.first]
    return Check("no partial overwritten or lost", f"{len(inventory.first)} partials", broken)


def _analyses(inventory: Inventory, baseline: Baseline, past_deadline: bool) -> Check:
    """Each half has the same outcome as in the undisturbed run."""
    broken, given_up, same = [], 0, 0
    for key, partial in inventory.partials.items():
        file = inventory.uploads.get(key[0], ""), key[1]
        expected = baseline.partials.get(file)
        if expected is None:
            broken.append(f"{key} is missing from the undisturbed run")
        elif partial.failure and partial.failure.code is ErrorCode.TIMEOUT and past_deadline:
            given_up += 1
        elif partial.failure or expected.failure:
            if _failed(partial.failure) != _failed(expected.failure):
                broken.append(f"{key}: {_failed(partial.failure)}, undisturbed {_failed(expected.failure)}")
            else:
                same += 1
        elif past_deadline and inventory.analyses[key].missing:
            given_up += 1
        elif inventory.analyses[key] != baseline.analyses[file]:
            broken.append(f"{key} has a different analysis")
        else:
            same += 1
    counted = f"{same} the same" + (f", {given_up} given up at the deadline" if past_deadline else "")
    return Check("every half as in the undisturbed run", counted, broken)


def _failed(failure: Failure | None) -> tuple[str, str | None] | None:
    """The part of a failure that is the same in every run."""
    if failure is None:
        return None
    return failure.code.value, failure.message if failure.code.is_input else None


def _records(inventory: Inventory, baseline: Baseline, past_deadline: bool) -> Check:
    broken, same, other = [], 0, 0
    for (key, revision), record in inventory.records.items():
        if past_deadline and any(h.error and h.error.code is ErrorCode.TIMEOUT for h in record.halves.values()):
            other += 1
            continue
        if comparable(record) != baseline.records.get(inventory.uploads.get(key, "")):
            broken.append(f"{key} r{revision} differs")
        else:
            same += 1
    counted = f"{same} the same" + (f", {other} with a half given up at the deadline" if past_deadline else "")
    return Check("every record as in the undisturbed run", counted, broken)


def comparable(record: Record) -> dict[str, Any]:
    """The part of a record that is the same in every run.

    An upload that is repeated because its answer was lost may take over the first one's result, which takes no work.
    """
    own = {"recording_id", "revision", "supersedes", "same_content_as", "timing", "cost"}
    fields = record.model_dump(mode="json", exclude=own)
    fields["seconds"] = record.timing.audio_seconds
    fields["source"] = (record.source.name, record.source.size, record.source.metadata)
    fields["artifacts"] = {name: uri and uri.rpartition("/")[2] for name, uri in record.artifacts}
    for half in fields["halves"].values():
        for name in ("attempts", "queued_at", "started_at", "finished_at", "compute_seconds", "cost"):
            del half[name]
    for place in (fields, *fields["halves"].values()):
        place["error"] = place["error"] and (place["error"]["stage"], _failed(Failure(**place["error"])))
    plain: dict[str, Any] = json.loads(json.dumps(fields))
    return plain


def _erased(inventory: Inventory) -> Check:
    erased = {key for key, recording in inventory.recordings.items() if recording.status is Status.ERASED}
    broken = [f"{key} of an erased recording still exists" for key in inventory.partials if key[0] in erased]
    broken += [
        f"a lease of the erased {each.recording_id} still exists"
        for each in inventory.leases
        if each.recording_id in erased
    ]
    broken += [f"files of the erased {key} still exist" for key in erased if inventory.files.get(key)]
    return Check("nothing left of erased recordings", f"{len(erased)} erased", broken)


def _left(inventory: Inventory) -> Check:
    broken = [
        f"{each.stage} of {each.recording_id} is leased until {each.until}" for each in inventory.leases if held(each)
    ]
    broken += inventory.processes + inventory.litter
    counted = f"{len(inventory.leases)} leases, {len(inventory.files)} folders of results"
    return Check("no process, file or lease left over", counted, broken)


def held(lease: Lease) -> bool:
    """Whether claiming the lease now would fail."""
    now = datetime.now(UTC)
    try:
        leases.claimed(lease, holder="books", now=now, until=now + timedelta(seconds=LEASE_SECONDS))
    except Busy:
        return True
    return False


def show(checks: Iterable[Check], counts: Mapping[str, int], title: str) -> bool:
    """Print the faults and the books. Returns whether the books balance."""
    console = Console(width=118, highlight=False)
    happened = Table(title=title, title_justify="left", show_header=False)
    for name, count in counts.items():
        happened.add_row(name, str(count))
    console.print(happened)
    table = Table()
    for column in ("promise", "counted", "broken"):
        table.add_column(column)
    balanced = True
    for check in checks:
        balanced = balanced and not check.broken
        table.add_row(check.promise, check.counted, str(len(check.broken)))
    console.print(table)
    for check in checks:
        for example in check.broken[:EXAMPLES]:
            console.print(f"  {check.promise}: {example}", markup=False)
    console.print("the books balance" if balanced else "THE BOOKS DO NOT BALANCE")
    return balanced
