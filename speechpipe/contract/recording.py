"""The document that clients poll, and the leases of the attempts that work on it."""

from __future__ import annotations

from speechpipe.contract.analysis import Caution, Failure, Language
from speechpipe.contract.base import Frozen, Time
from speechpipe.contract.record import Artifacts, Half, Record, Status, Summary
from speechpipe.contract.task import Hold, Options, Plan, Quote, Source, Stage

RESULT_INLINE_BYTES = 256 * 1024  #: well under Firestore's limit of 1 MiB per document


class Requeued(Frozen):
    """What became of the task of a half, or of one of its parts, while it waited (decision 26)."""

    rounds: int = 0  #: how often it became a dead letter although no attempt had failed, and was published again
    older_at: Time | None = None  #: when the older of its two copies in the queue was published; None: there is one
    newest_at: Time | None = None  #: when a part's was last published again; for a half it is its `queued_at`


class Retained(Frozen):
    """Why an uploaded object could not be deleted. It has no name: that of an erased object is erased too."""

    hold: bool = False  #: somebody has to release its hold first
    until: Time | None = None  #: until then its retention forbids it

    @property
    def stays_until(self) -> str:
        """What has to happen before it can be deleted: `2027-01-31 12:00:00Z`, or `its hold is released`."""
        until = f"{self.until:%Y-%m-%d %H:%M:%SZ}" if self.until else ""
        if self.hold:
            return "its hold is released" + (f", at least until {until}" if until else "")
        return until


class Recording(Frozen):
    """The document that clients poll: `recordings/{id}`."""

    id: str
    revision: int = 1
    rerun: tuple[Stage, ...] = ()  #: stages that this revision runs again; the others keep their earlier outcome
    completes: tuple[Stage, ...] = ()  #: those of `rerun` of which only the missing parts run again
    revised_at: Time | None = None  #: when this revision started; None for the first
    status: Status = Status.QUEUED
    source: Source
    options: Options = Options()
    supersedes: str | None = None
    same_content_as: str | None = None  #: as in the result; while it is queued, the recording that it takes over from
    results_uri: str  #: folder of this revision's artifacts
    queued_at: Time
    deadline_at: Time  #: after it, sweep gives up the missing halves; does not apply while held
    expires_at: Time | None = None  #: for the store's time-to-live
    plan: Plan | None = None  #: of a recording that is analysed in parts
    quote: Quote | None = None  #: None without a price table or cap, and if the object was gone
    hold: Hold | None = None  #: why it is, or was, held
    accepted_at: Time | None = None  #: when its tasks were allowed to be published; counts towards that day's caps
    traceparent: str | None = None  #: root of its trace; None if it is not traced
    halves: dict[Stage, Half]
    requeued: dict[str, Requeued] = {}  #: by work key (`stt`, `stt.p3`): tasks published again in this revision
    finished_at: Time | None = None
    result: Record | None = None  #: inline while its JSON is at most RESULT_INLINE_BYTES
    preview: str | None = None  #: the first words, for lists
    language: Language | None = None  #: as in the result
    summary: Summary | None = None
    artifacts: Artifacts | None = None
    warnings: tuple[Caution, ...] = ()
    error: Failure | None = None
    announced_at: Time | None = None
    retained: Retained | None = None  #: of an erased recording: what kept its upload from being deleted with it

    @property
    def may_be_revised(self) -> bool:
        """Whether the next revision may start: this one is final, announced and not erased."""
        return self.status.is_final and self.status is not Status.ERASED and self.announced_at is not None


class Attempt(Frozen):
    """One attempt of a worker at a stage."""

    number: int
    holder: str  #: host, process and a random part
    started_at: Time
    ended_at: Time | None = None
    outcome: str | None = None  #: done, failed, superseded, expired (its worker died), busy, interrupted
    error: str | None = None  #: class and first line, never content


class Lease(Frozen):
    """An attempt's exclusive claim on a stage, with the attempts so far."""

    recording_id: str
    revision: int = 1
    stage: Stage
    part: int | None = None  #: number of the part; None: the whole recording
    holder: str | None = None  #: None if the lease is free
    until: Time | None = None
    attempts: tuple[Attempt, ...] = ()
