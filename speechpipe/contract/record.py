"""The record: what was said and how it was said, assembled from the partials of a recording."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator

from speechpipe.contract.analysis import (
    UNSURE,
    Audio,
    Caution,
    EmotionWindow,
    Failure,
    LabelScore,
    Language,
    LanguageSeconds,
    Model,
    Segment,
    Vocabulary,
)
from speechpipe.contract.base import Cost, Frozen, Score, Seconds, Time
from speechpipe.contract.task import Options, Source, Stage

SCHEMA_VERSION = "1.1"


class Status(StrEnum):
    """The states of a recording. The last five are final."""

    HELD = "held"  #: over a cap on cost or duration; nothing runs until somebody releases it
    QUEUED = "queued"  #: accepted; its tasks are published
    PROCESSING = "processing"  #: at least one worker has started
    COMPLETED = "completed"  #: every requested half has a value
    PARTIAL = "partial"  #: some halves have a value, the others failed
    FAILED = "failed"  #: no half has a value, and at least one failed through no fault of the input
    REJECTED = "rejected"  #: no half has a value, and the input or its options are the only cause
    ERASED = "erased"  #: erased on request: only its id is left

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen to this revision."""
        return self not in (Status.HELD, Status.QUEUED, Status.PROCESSING)


class HalfStatus(StrEnum):
    """The states of one half of a recording."""

    QUEUED = "queued"  #: its task is published
    PROCESSING = "processing"  #: a worker has started
    COMPLETED = "completed"  #: it has a value
    FAILED = "failed"  #: it has a Failure
    SKIPPED = "skipped"  #: it was not requested


class Half(Frozen):
    """The state of one half, and how it went."""

    status: HalfStatus
    attempts: int = 0
    progress: Score = 0.0  #: share of the work done, while it is processing
    expected_at: Time | None = None  #: when it will finish at the current speed; None while that is unknown
    model: Model | None = None
    queued_at: Time | None = None
    started_at: Time | None = None
    finished_at: Time | None = None
    audio_seconds: Seconds | None = None
    compute_seconds: Seconds | None = None
    cost: Cost | None = None
    error: Failure | None = None


class Timing(Frozen):
    """When the recording was processed, and how much work it was."""

    queued_at: Time
    started_at: Time | None = None
    completed_at: Time | None = None
    audio_seconds: Seconds = 0.0
    compute_seconds: Seconds = 0.0


class TrendSlice(Frozen):
    """The mean emotion of one slice of the recording; slices are equally long."""

    start: Seconds
    end: Seconds
    emotion: str | None = None  #: None if nobody spoke, then there are no scores, or if unsure
    scores: tuple[LabelScore, ...] = ()


class TurningPoint(Frozen):
    """A lasting change of the dominant emotion on one channel, between two of which the model is sure."""

    at: Seconds  #: where to seek to
    channel: int = 0
    before: str
    after: str


def _highest_first(shares: dict[str, float]) -> dict[str, float]:
    """Restore the order that a store does not keep: Firestore returns a map sorted by key."""
    return dict(sorted(shares.items(), key=lambda share: -share[1]))


Shares = Annotated[dict[str, Score], AfterValidator(_highest_first)]


class Summary(Frozen):
    """The recording at a glance."""

    speech_seconds: Seconds = 0.0
    words: int = 0
    dominant_emotion: str | None = None  #: None without emotions, and if no label led for longer than none did
    emotion_share: Shares = {}  #: share of the scored time in which each label led, highest first
    unsure_share: Score = 0.0  #: share of the scored time in which none did; all shares sum to 1
    trend: tuple[TrendSlice, ...] = ()
    turning_points: tuple[TurningPoint, ...] = ()
    turning_points_omitted: int = 0  #: how many more there are in record.json; there it is 0

    def shortened(self, most: int) -> Summary:
        """The summary with the first turning points only, for places of limited size."""
        left_out = self.turning_points_omitted + max(0, len(self.turning_points) - most)
        return self.model_copy(
            update={"turning_points": self.turning_points[:most], "turning_points_omitted": left_out}
        )

    @property
    def shown_emotion(self) -> str | None:
        """What lists show: the dominant emotion, or `unsure`; None without emotions."""
        return self.dominant_emotion or (UNSURE if self.unsure_share or self.emotion_share else None)


class Artifacts(Frozen):
    """URIs of the files of a record; None where there is nothing to show."""

    record: str
    vtt: str | None = None
    srt: str | None = None
    emotion_vtt: str | None = None
    report: str | None = None


class Record(Frozen):
    """The result of a recording: what was said and how it was said."""

    schema_version: str = SCHEMA_VERSION
    recording_id: str
    revision: int = 1
    supersedes: str | None = None  #: recording id of the previous upload under the same name
    same_content_as: str | None = None  #: recording id of an upload of the same bytes whose result was taken over
    status: Status
    source: Source
    audio: Audio | None = None
    options: Options
    timing: Timing
    cost: Cost | None = None  #: sum over the halves; failed attempts do not count
    halves: dict[Stage, Half]
    language: Language | None = None
    languages: tuple[LanguageSeconds, ...] = ()  #: every language spoken, the longest first
    text: str = ""
    segments: tuple[Segment, ...] = ()
    omitted_segments: tuple[Segment, ...] = ()  #: text too short or unsure to be words, or the same on another channel
    emotion_windows: tuple[EmotionWindow, ...] = ()
    emotion_vocabulary: Vocabulary | None = None
    summary: Summary = Summary()
    artifacts: Artifacts
    warnings: tuple[Caution, ...] = ()
    error: Failure | None = None
