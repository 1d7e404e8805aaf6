"""The document that people poll, and the leases of the attempts that work on it."""

from __future__ import annotations

from speechpipe.contract.analysis import Caution, Failure, Language
from speechpipe.contract.base import Frozen, Time
from speechpipe.contract.record import Artifacts, Half, Record, Status, Summary
from speechpipe.contract.task import Hold, Options, Quote, Source, Stage

RESULT_INLINE_BYTES = 256 * 1024  #: well under Firestore's 1 MiB document


class Recording(Frozen):
    """The document that people poll: `recordings/{id}`."""

    id: str
    revision: int = 1
    rerun: tuple[Stage, ...] = ()  #: stages that this revision runs again; the others keep their earlier outcome
    revised_at: Time | None = None  #: when this revision began; None for the first
    status: Status = Status.QUEUED
    source: Source
    options: Options = Options()
    supersedes: str | None = None
    results_uri: str  #: folder of this revision's artifacts
    queued_at: Time
    deadline_at: Time  #: past it, sweep gives up what is missing; a held recording has time
    expires_at: Time | None = None  #: for the store's time-to-live
    quote: Quote | None = None  #: None where nothing asks for one
    hold: Hold | None = None  #: why it is, or was, held
    accepted_at: Time | None = None  #: when its tasks could be published; counts towards that day's caps
    traceparent: str | None = None  #: root of its trace; None where nothing is traced
    halves: dict[Stage, Half]
    finished_at: Time | None = None
    result: Record | None = None  #: inline while its JSON is at most RESULT_INLINE_BYTES
    preview: str | None = None  #: the first words, for lists
    language: Language | None = None  #: as in the result
    summary: Summary | None = None
    artifacts: Artifacts | None = None
    warnings: tuple[Caution, ...] = ()
    error: Failure | None = None
    announced_at: Time | None = None

    @property
    def may_be_revised(self) -> bool:
        """Whether its next revision may begin: this one is at its end, and that was announced."""
        return self.status.is_final and self.status is not Status.ERASED and self.announced_at is not None


class Attempt(Frozen):
    """One try of a worker at a stage."""

    number: int
    holder: str  #: who: host, process and a random part
    started_at: Time
    ended_at: Time | None = None
    outcome: str | None = None  #: done, failed, released, expired
    error: str | None = None  #: class and first line, never content


class Lease(Frozen):
    """The claim of an attempt on a stage, with the attempts so far."""

    recording_id: str
    revision: int = 1
    stage: Stage
    holder: str | None = None  #: None: free
    until: Time | None = None
    attempts: tuple[Attempt, ...] = ()
