"""The ports: what the verbs need from the outside world, each method with its guarantee.

Two backends implement them: `local/` (SQLite and a folder; the tests use it as a fake) and `gcp/` (Firestore, Pub/Sub
and Cloud Storage, or their emulators). One test suite, `tests/backends/`, runs against both.
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
    Part,
    Partial,
    Plan,
    Recording,
    Requeued,
    Retained,
    Source,
    Stage,
    Status,
    Task,
    Totals,
)

#: An engine calls this with the share of its work that is done, 0 to 1.
Progress = Callable[[float], None]

#: Returns the current time; tests set their own.
Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Changes:
    """A page of recordings that changed, as they are now and without their `result`."""

    recordings: list[Recording]
    cursor: str  #: pass it to `changes` to get the next page


class Store(Protocol):
    """Recordings, partials and leases. A read sees every write that returned before it."""

    def create_recording(self, recording: Recording) -> bool:
        """Create a recording. Returns False and changes nothing if the id exists. Durable on return."""
        ...

    def recording(self, recording_id: str) -> Recording | None:
        """Read a recording; None if there is none."""
        ...

    def known(self, recording_ids: Collection[str]) -> set[str]:
        """Return those of these ids that have a recording, erased ones included. Reads nothing else of it."""
        ...

    def recordings(
        self,
        *,
        status: Status | None = None,
        uri: str | None = None,
        after: Recording | None = None,
        limit: int = 100,
    ) -> list[Recording]:
        """List recordings without their `result`, newest `queued_at` first.

        `after` continues behind a recording of an earlier page, even if that recording has changed since.
        """
        ...

    def unfinished(self, *, after: Recording | None = None, limit: int = 1000) -> list[Recording]:
        """List recordings that still need work, oldest `queued_at` first, without their `result`.

        A recording needs work until it is final and announced. A held recording needs none. `after` continues behind a
        recording of an earlier page.
        """
        ...

    def count_unfinished(self) -> int:
        """How many recordings `unfinished` would list."""
        ...

    def changes(self, after: str = "", *, limit: int = 1000) -> Changes:
        """List recordings in the order of their last change, starting after a cursor of an earlier page.

        Without a cursor, start with the first recording. A change of progress alone need not be listed. A page shorter
        than `limit` is the last one for now. A recording that changes while the pages are read may be on two of them;
        the later page has its later state.
        """
        ...

    def accepted_since(self, at: datetime) -> Totals:
        """Sum the quotes of recordings whose `accepted_at` is `at` or later.

        Recordings that are held, or that ingest rejected, have no `accepted_at`.
        """
        ...

    def accept(self, recording: Recording) -> bool:
        """Write a recording that was held and is now queued.

        Returns False and changes nothing if the stored one is no longer held. Durable on return. Compare-and-swap: one
        of several concurrent callers succeeds.
        """
        ...

    def revise(self, recording: Recording, *, after: int | None = None) -> bool:
        """Start a later revision than `after`, by default the next one: write the recording.

        Returns False and changes nothing unless the stored one is revision `after`, final, announced and not erased.
        Compare-and-swap: one of several concurrent callers succeeds.
        """
        ...

    def erase(self, tombstone: Recording) -> None:
        """Replace the recording with its tombstone, durably; then delete its partials and leases.

        A repeated call deletes partials and leases that were created meanwhile. A tombstone's revision is one more than
        the recording's, so late writes of earlier revisions do not change it. No partial is created under a tombstone.
        """
        ...

    def requeued(
        self, recording_id: str, stage: Stage, *, at: datetime, known: Requeued, part: int | None = None
    ) -> None:
        """Note when the task of a half, or of a part of one, was last published, and what is known of its copies.

        Never changes a final recording. Best effort: the note may be lost.
        """
        ...

    def begin(self, recording_id: str, stage: Stage, *, attempt: int, at: datetime) -> None:
        """Show that an attempt has started. Never changes a final recording; may be lost under contention."""
        ...

    def progress(self, recording_id: str, stage: Stage, share: float, expected_at: datetime | None = None) -> None:
        """Show how much of a half is done, and when it will be done. Best effort; never touches status or result."""
        ...

    def plan(self, recording_id: str, plan: Plan) -> None:
        """Decide how a recording is cut into parts, unless that has been decided, or it is final. Durable on return."""
        ...

    def claim(
        self,
        recording_id: str,
        stage: Stage,
        revision: int,
        part: int | None = None,
        *,
        holder: str,
        now: datetime,
        until: datetime,
    ) -> Lease:
        """Take the lease and start its next attempt. Raises Busy while another attempt holds it.

        Compare-and-swap: exactly one of several concurrent callers succeeds.
        """
        ...

    def extend(self, lease: Lease, until: datetime) -> Lease:
        """Extend a lease until `until`. Raises Busy if its attempt no longer holds it."""
        ...

    def release(self, lease: Lease, *, now: datetime, outcome: str, error: str | None = None) -> None:
        """Free a lease and note how its attempt ended. Does nothing if the attempt no longer holds it."""
        ...

    def lease(self, recording_id: str, stage: Stage, revision: int, part: int | None = None) -> Lease | None:
        """Read the lease of a stage, or of a part of it, with its attempts; None before the first attempt."""
        ...

    def create_partial(self, partial: Partial) -> bool:
        """Create a partial, which triggers the join unless it is that of a part.

        Returns False and changes nothing if that stage, revision and part has one, or if the recording is erased.
        """
        ...

    def partials(self, recording_id: str) -> list[Partial]:
        """Read all partials of a recording, of every revision, without those of parts."""
        ...

    def parts(self, recording_id: str, stage: Stage, revision: int) -> list[Partial]:
        """Read the partials of a stage's parts, in the order of the parts."""
        ...

    def part_numbers(self, recording_id: str, stage: Stage, revision: int) -> set[int]:
        """The numbers of the parts that have a partial. Reads nothing else of them."""
        ...

    def finish(self, recording: Recording) -> bool:
        """Write everything that `join` computed: status, halves, result and the rest. Keeps `announced_at`.

        Returns False and changes nothing if a later revision has started or the recording is gone. Idempotent.
        """
        ...

    def mark_announced(self, recording_id: str, revision: int, at: datetime) -> None:
        """Note that this revision's completion event was published. Does nothing once a later revision has started."""
        ...


class Bus(Protocol):
    """Topics with at-least-once delivery, in any order."""

    def publish_task(self, task: Task) -> None:
        """Publish a task to its stage's topic. Durable on return."""
        ...

    def publish_completion(self, completion: Completion) -> None:
        """Publish a completion event to its topic. Durable on return."""
        ...


class Uploads(Protocol):
    """The uploads bucket. Only clients write to it, with `upload`, `session` and `delete`."""

    def download(self, source: Source, into: Path) -> None:
        """Write exactly that generation's bytes to a file. Raises Rejected(object_gone) if it no longer exists."""
        ...

    def open(self, source: Source) -> AbstractContextManager[BinaryIO]:
        """Open exactly that generation for reading at any position, without fetching the rest.

        Raises Rejected(object_gone) if it no longer exists, on opening or on a read.
        """
        ...

    def upload(self, path: Path, name: str, metadata: dict[str, str]) -> Source:
        """Upload a file, as any user may. The source returned names the generation it became."""
        ...

    @property
    def sessions_at(self) -> str | None:
        """Origin of the URLs that `session` returns, such as https://storage.googleapis.com; None without sessions."""
        ...

    def session(self, name: str, metadata: dict[str, str], *, size: int, content_type: str, origin: str) -> str | None:
        """Return a URL that takes one PUT of the whole file, without credentials, from pages of `origin` only.

        None if the bucket has no such sessions, like a folder; use `upload` then.
        """
        ...

    def find(self, name: str) -> Source | None:
        """The live object of that name; None if there is none."""
        ...

    def current(self, source: Source) -> Source:
        """Exactly that generation with the metadata that it has now. Raises Rejected(object_gone) if it is gone."""
        ...

    def objects(self, prefix: str = "") -> Iterator[Source]:
        """Every live object whose name starts with `prefix`, in a fixed order."""
        ...

    def delete(self, source: Source) -> Retained | None:
        """Delete exactly that generation, and return None; also if it no longer exists.

        Returns what forbids it if the object is under retention or a hold.
        """
        ...


class Results(Protocol):
    """The results bucket, for artifacts. Objects never change once created, and go when their recording is erased."""

    def uri(self, path: str) -> str:
        """The URI of the object at that path, whether it exists or not."""
        ...

    def create(self, path: str, body: bytes, content_type: str) -> str:
        """Create an object and return its URI. An object that exists at that path stays as it is."""
        ...

    def read(self, uri: str) -> bytes:
        """Read an object. Raises NotFound."""
        ...

    def delete(self, folder: str) -> None:
        """Delete every object in a folder."""
        ...


class Analyse(Protocol):
    """An engine with its model loaded, which analyses one file for one stage."""

    @property
    def stage(self) -> Stage:
        """The stage it runs."""
        ...

    def __call__(self, path: Path, options: Options, progress: Progress, part: Part | None = None) -> Analysis:
        """Analyse a recording, or a part of it. Raises Rejected for input that can never work. Thread-safe."""
        ...


class Completions(Protocol):
    """The completion topic as a subscriber sees it."""

    def receive(self, timeout: float) -> Iterator[Completion]:
        """Acknowledge and yield events as they arrive, one by one, until none arrives for `timeout` seconds."""
        ...


class DeadLetters(Protocol):
    """The dead letters, kept for people to inspect. Recordings do not wait for that: `give_up` ends their stages."""

    def peek(self) -> list[Letter]:
        """List all, oldest first, without removing any. Some may be missing while somebody else lists them."""
        ...

    def acknowledge(self, ids: Collection[str]) -> None:
        """Remove letters for good. Ignores ids that do not exist."""
        ...


@dataclass(frozen=True)
class Backend:
    """The ports of one backend, as `local.connect` and `gcp.connect` return them."""

    store: Store
    bus: Bus
    uploads: Uploads
    results: Results
    completions: Completions
    dead_letters: DeadLetters
