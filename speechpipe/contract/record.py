"""The answer: what was said and how it was said, assembled from the partials of a recording."""

from __future__ import annotations

from enum import StrEnum

from speechpipe.contract.analysis import (
    Audio,
    Caution,
    EmotionWindow,
    Failure,
    LabelScore,
    Language,
    Model,
    Segment,
    Vocabulary,
)
from speechpipe.contract.base import Cost, Frozen, Score, Seconds, Time
from speechpipe.contract.task import Options, Source, Stage

SCHEMA_VERSION = "1.0"


class Status(StrEnum):
    """The states of a recording. The last five are final."""

    HELD = "held"  #: over a cap on cost or duration; nothing runs until somebody releases it
    QUEUED = "queued"  #: known, its tasks are published
    PROCESSING = "processing"  #: at least one worker has begun
    COMPLETED = "completed"  #: every half that was asked for has a value
    PARTIAL = "partial"  #: some halves have a value, the others failed
    FAILED = "failed"  #: no half has a value, and something of ours is a cause
    REJECTED = "rejected"  #: no half has a value, and the input or its options are the cause of all
    ERASED = "erased"  #: somebody had it erased: only its id is left

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen to this revision."""
        return self not in (Status.HELD, Status.QUEUED, Status.PROCESSING)


class HalfStatus(StrEnum):
    """The states of one half of a recording."""

    QUEUED = "queued"  #: its task is published
    PROCESSING = "processing"  #: a worker has begun
    COMPLETED = "completed"  #: it has a value
    FAILED = "failed"  #: it has a Failure
    SKIPPED = "skipped"  #: it was not asked for


class Half(Frozen):
    """How one half went."""

    status: HalfStatus
    attempts: int = 0
    progress: Score = 0.0  #: share of the work done, while it is processing
    expected_at: Time | None = None  #: when it will be done if it goes on so; None while that cannot be said
    model: Model | None = None
    queued_at: Time | None = None
    started_at: Time | None = None
    finished_at: Time | None = None
    audio_seconds: Seconds | None = None
    compute_seconds: Seconds | None = None
    cost: Cost | None = None
    error: Failure | None = None


class Timing(Frozen):
    """When things happened, and how much work it was."""

    queued_at: Time
    started_at: Time | None = None
    completed_at: Time | None = None
    audio_seconds: Seconds = 0.0
    compute_seconds: Seconds = 0.0


class TrendSlice(Frozen):
    """The mean emotion of one slice of the recording; slices are equally long."""

    start: Seconds
    end: Seconds
    emotion: str | None = None  #: None: nobody spoke
    scores: tuple[LabelScore, ...] = ()


class TurningPoint(Frozen):
    """A lasting change of the dominant emotion on one channel."""

    at: Seconds  #: the second to seek to
    channel: int = 0
    before: str
    after: str


class Summary(Frozen):
    """The recording at a glance."""

    speech_seconds: Seconds = 0.0
    words: int = 0
    dominant_emotion: str | None = None
    emotion_share: dict[str, Score] = {}  #: share of the scored time in which each label led, highest first
    trend: tuple[TrendSlice, ...] = ()
    turning_points: tuple[TurningPoint, ...] = ()


class Artifacts(Frozen):
    """Where the files of a record lie; None where there is nothing to show."""

    record: str
    vtt: str | None = None
    srt: str | None = None
    emotion_vtt: str | None = None
    report: str | None = None


class Record(Frozen):
    """What was said and how it was said: the answer."""

    schema_version: str = SCHEMA_VERSION
    recording_id: str
    revision: int = 1
    supersedes: str | None = None  #: recording id of the previous upload under the same name
    status: Status
    source: Source
    audio: Audio | None = None
    options: Options
    timing: Timing
    cost: Cost | None = None  #: sum of the halves'; of the attempts that made them, not of those that failed
    halves: dict[Stage, Half]
    language: Language | None = None
    text: str = ""
    segments: tuple[Segment, ...] = ()
    emotion_windows: tuple[EmotionWindow, ...] = ()
    emotion_vocabulary: Vocabulary | None = None
    summary: Summary = Summary()
    artifacts: Artifacts
    warnings: tuple[Caution, ...] = ()
    error: Failure | None = None
