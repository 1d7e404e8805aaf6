"""What the verbs need from the world, each method with its guarantee.

Backends: `local/` (SQLite and a folder; also the fake of the tests) and `gcp/` (Firestore, Pub/Sub, Cloud Storage, and
their emulators). One suite, `tests/contract/`, runs against all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from speechpipe.contract import (
    Analysis,
    Completion,
    Lease,
    Letter,
    Options,
    Partial,
    Recording,
    Source,
    Stage,
    Status,
    Task,
    Totals,
)

#: Called by an engine with the share of the work that is done, 0 to 1.
Progress = Callable[[float], None]

#: The time, so that tests can choose it.
Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Changes:
    """A page of what changed in a store: recordings as they are now, without their `result`."""

    recordings: list[Recording]
    cursor: str  #: goes on behind the last of them


class Store(Protocol):
    """Recordings, partials and leases. Reads see every write that returned before them."""

    def create_recording(self, recording: Recording) -> bool:
        """Create; False, changing nothing, if the id exists. Durable on return."""
        ...

    def recording(self, recording_id: str) -> Recording | None:
        """Read one; None if there is none."""
        ...

    def recordings(
        self,
        *,
        status: Status | None = None,
        uri: str | None = None,
        after: Recording | None = None,
        limit: int = 100,
    ) -> list[Recording]:
        """Read many, newest `queued_at` first, without their `result`.

        `after` goes on behind a recording of an earlier answer, whatever has become of that one since.
        """
        ...

    def unfinished(self, *, after: Recording | None = None, limit: int = 1000) -> list[Recording]:
        """Recordings that want attention: not final, or final and not announced; oldest first, without `result`.

        A held recording wants none. `after` goes on behind a recording of an earlier answer.
        """
        ...

    def changes(self, after: str = "", *, limit: int = 1000) -> Changes:
        """Every recording that changed since an earlier answer's cursor, or at all, by the time of its last change.

        Progress alone need not count. A page shorter than `limit` is the last for now. A recording that changes while
        the pages are read may be in two of them, and is in the later one as it is then.
        """
        ...

    def accepted_since(self, at: datetime) -> Totals:
        """What the recordings whose `accepted_at` is that or later were quoted at: neither held nor rejected ones."""
        ...

    def accept(self, recording: Recording) -> bool:
        """Write a recording that was held and is queued now; False, changing nothing, if it is no longer held.

        Durable on return. Compare-and-swap: of any number of callers at once, one succeeds.
        """
        ...

    def revise(self, recording: Recording) -> bool:
        """Begin the next revision: write a recording whose revision is one more than that which is stored.

        False, changing nothing, unless that one is final, announced and not erased. Compare-and-swap: of any number of
        callers at once, one succeeds.
        """
        ...

    def erase(self, tombstone: Recording) -> None:
        """Put the tombstone in the recording's place, durably; then delete its partials and leases.

        Again, it deletes what came after. A tombstone's revision is one more than the recording's, so that nothing of
        before changes it. Nothing is created under a tombstone.
        """
        ...

    def requeued(self, recording_id: str, stage: Stage, *, at: datetime) -> None:
        """Note when a half's task was last published. Never changes a recording that is final."""
        ...

    def begin(self, recording_id: str, stage: Stage, *, attempt: int, at: datetime) -> None:
        """Show that an attempt has begun. Never changes a recording that is final; may be lost under contention."""
        ...

    def progress(self, recording_id: str, stage: Stage, share: float, expected_at: datetime | None = None) -> None:
        """Show the share done of a half, and when it will be done. Best effort; never touches status or result."""
        ...

    def claim(
        self, recording_id: str, stage: Stage, revision: int, *, holder: str, now: datetime, until: datetime
    ) -> Lease:
        """Take the lease and start its next attempt. Raises Busy while another holder's lease runs.

        Compare-and-swap: of any number of callers at once, exactly one succeeds.
        """
        ...

    def extend(self, lease: Lease, until: datetime) -> Lease:
        """Hold it longer. Raises Busy if it was lost to somebody else."""
        ...

    def release(self, lease: Lease, *, now: datetime, outcome: str, error: str | None = None) -> None:
        """Free it and note how the attempt ended. Does nothing if it was lost."""
        ...

    def lease(self, recording_id: str, stage: Stage, revision: int) -> Lease | None:
        """Read a stage's lease and its attempts; None before the first."""
        ...

    def create_partial(self, partial: Partial) -> bool:
        """Create; False, changing nothing, if that stage and revision has one, or the recording is erased.

        On True the join is triggered.
        """
        ...

    def partials(self, recording_id: str) -> list[Partial]:
        """All partials of a recording, of every revision."""
        ...

    def finish(self, recording: Recording) -> bool:
        """Write status, halves, result and everything else that `join` computed. Same input, same document.

        False, changing nothing, when a later revision has begun or the recording is gone.
        """
        ...

    def mark_announced(self, recording_id: str, revision: int, at: datetime) -> None:
        """Note that the completion event of this revision was published."""
        ...


class Bus(Protocol):
    """Topics. Delivery is at least once and in any order."""

    def publish_task(self, task: Task) -> None:
        """Publish to the stage's topic. Durable on return."""
        ...

    def publish_completion(self, completion: Completion) -> None:
        """Publish to the completion topic. Durable on return."""
        ...


class Uploads(Protocol):
    """The bucket that people drop recordings into. Read only, but for the client's `upload` and `delete`."""

    def download(self, source: Source, into: Path) -> None:
        """Write exactly that generation's bytes to a file. Raises Rejected(object_gone) if it is no longer there."""
        ...

    def open(self, source: Source) -> AbstractContextManager[BinaryIO]:
        """Read exactly that generation's bytes, from any place in them, without fetching the rest.

        Raises Rejected(object_gone) at opening or at a read.
        """
        ...

    def upload(self, path: Path, name: str, metadata: dict[str, str]) -> Source:
        """Put a file there, as any user may, and say which generation it became."""
        ...

    @property
    def sessions_at(self) -> str | None:
        """The origin of all addresses that `session` gives, such as https://storage.googleapis.com."""
        ...

    def session(self, name: str, metadata: dict[str, str], *, size: int, content_type: str, origin: str) -> str | None:
        """An address that takes one PUT of the whole file, from pages of that origin alone, without any credentials.

        None where a bucket has no such thing, as a folder: then `upload` does it.
        """
        ...

    def find(self, name: str) -> Source | None:
        """The live object of that name."""
        ...

    def objects(self, prefix: str = "") -> Iterator[Source]:
        """Every live object whose name begins so, by name."""
        ...

    def delete(self, source: Source) -> None:
        """Delete exactly that generation. Does nothing if it is no longer there."""
        ...


class Results(Protocol):
    """The bucket that artifacts go to. Objects are created once and never change, until their recording is erased."""

    def uri(self, path: str) -> str:
        """Where an object of that path lies or would lie."""
        ...

    def create(self, path: str, body: bytes, content_type: str) -> str:
        """Write it unless it is there already; its URI."""
        ...

    def read(self, uri: str) -> bytes:
        """Read an object. Raises NotFound."""
        ...

    def delete(self, folder: str) -> None:
        """Delete every object under a folder's path."""
        ...


class Analyse(Protocol):
    """An engine with its model loaded: one stage's work on one file."""

    @property
    def stage(self) -> Stage:
        """Which half it makes."""
        ...

    def __call__(self, path: Path, options: Options, progress: Progress) -> Analysis:
        """Analyse a whole recording. Raises Rejected for input that can never work; may be called from threads."""
        ...


class Completions(Protocol):
    """The completion topic as a subscriber sees it."""

    def receive(self, timeout: float) -> Iterator[Completion]:
        """Yield events as they come until none has come for `timeout` seconds. Each is acknowledged when taken."""
        ...


class DeadLetters(Protocol):
    """The dead letters as people see them. Recordings do not wait for that: `give_up` ends their stages."""

    def peek(self) -> list[Letter]:
        """Look at all, oldest first, without taking any away. One may be missing while somebody else looks."""
        ...

    def acknowledge(self, ids: Collection[str]) -> None:
        """Take letters away for good. Does nothing about one that is not there."""
        ...


@dataclass(frozen=True)
class Backend:
    """Everything of one backend, as `local.connect` and `gcp.connect` give it."""

    store: Store
    bus: Bus
    uploads: Uploads
    results: Results
    completions: Completions
    dead_letters: DeadLetters
