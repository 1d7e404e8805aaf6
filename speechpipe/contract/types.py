"""The vocabulary of the whole system: every other module is written in these words.

Frozen pydantic types. Times are UTC, seconds are floats rounded to milliseconds, every list of scores is complete
and sorted from the highest. Unknown fields are ignored on reading, so that an old reader survives a new writer.
The JSON Schemas in `docs/schemas/` are generated from here (`make schemas`).
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from speechpipe.contract.errors import ErrorCode

SCHEMA_VERSION = "1.0"

Seconds = Annotated[float, AfterValidator(lambda seconds: round(seconds, 3)), Field(ge=0)]
Score = Annotated[float, AfterValidator(lambda score: round(score, 6)), Field(ge=0, le=1)]


def _utc(time: datetime) -> datetime:
    """Millisecond UTC: what every store keeps unharmed (Firestore keeps microseconds, JSON readers often less)."""
    try:
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError:  # the first and last hours of the calendar, elsewhere; pydantic expects a ValueError
        raise ValueError("not a time that UTC has") from None
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


Time = Annotated[datetime, AfterValidator(_utc)]


class Frozen(BaseModel):
    """Base of every contract type: immutable, tolerant of unknown fields."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="null")


class Stage(StrEnum):
    """The two analyses; each gives one half of the record."""

    STT = "stt"  #: speech to text: what was said
    SER = "ser"  #: speech emotion recognition: how it was said


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


# ---------------------------------------------------------------------------------------------- what comes in


class Options(Frozen):
    """What the uploader asked for, from the object's custom metadata (`x-goog-meta-*`); see `options.py`."""

    language: str | None = None  #: Whisper language code; None detects it
    task: Literal["transcribe", "translate"] = "transcribe"
    hotwords: str | None = None  #: words to expect, as a hint to the recogniser
    initial_prompt: str | None = None  #: text to continue from, as a hint of style and spelling
    channels: Literal["mix", "split"] = "mix"  #: split: each channel on its own (stereo calls)
    emotion: Literal["on", "off"] | tuple[int, ...] = "on"  #: or just these channels, counted from 0
    ref: str | None = None  #: the uploader's own reference, echoed in the record and the event

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The analyses asked for."""
        return (Stage.STT,) if self.emotion == "off" else (Stage.STT, Stage.SER)


class Source(Frozen):
    """The uploaded object: a name in a bucket at one generation."""

    uri: str  #: gs://bucket/name, or file:///... of the embedded backend
    bucket: str
    name: str
    generation: str
    size: int = Field(ge=0)  #: bytes
    content_type: str | None = None
    crc32c: str | None = None  #: base64, as Cloud Storage gives it
    metadata: dict[str, str] = {}  #: the object's custom metadata, as it came
    created_at: Time

    @property
    def recording_id(self) -> str:
        """The id of the recording that this object is."""
        return recording_id(self.bucket, self.name, self.generation)


def recording_id(bucket: str, name: str, generation: str) -> str:
    """Id of an object generation: `rec_` and 26 base32 digits of SHA-256 of `bucket/name#generation`.

    A repeated event gives the same id and an overwritten object a new one; a client that uploaded a file computes it
    from what the upload returned, without asking.
    """
    digest = hashlib.sha256(f"{bucket}/{name}#{generation}".encode()).digest()
    return "rec_" + base64.b32encode(digest).decode().lower()[:26]


class Cost(Frozen):
    """An amount of money: compute seconds times a price from the configuration, so always an estimate."""

    amount: Annotated[float, AfterValidator(lambda amount: round(amount, 6)), Field(ge=0)]
    currency: str = "USD"  #: ISO 4217


class Quote(Frozen):
    """What a recording will take, estimated from its header before anything runs."""

    audio_seconds: Seconds
    exact: bool  #: read from the file's header; False: guessed from its size
    compute_seconds: dict[Stage, Seconds] = {}  #: of the stages asked for, at the price table's speeds
    cost: Cost | None = None  #: None without a price table


Cap = Literal["max_cost", "max_duration", "max_cost_per_day", "max_duration_per_day"]


class Hold(Frozen):
    """Why a recording is held. `code` is the cap's name."""

    code: Cap
    message: str  #: for the user: what was found, what is allowed, how it goes on


class Totals(Frozen):
    """What the recordings of some time were quoted at, together."""

    audio_seconds: Seconds = 0.0
    cost: Annotated[float, Field(ge=0)] = 0.0  #: in the price table's currency


class Task(Frozen):
    """What a worker is told to do: one stage of one revision of one recording."""

    recording_id: str
    revision: int = Field(default=1, ge=1)
    stage: Stage
    source: Source
    options: Options
    queued_at: Time
    traceparent: str | None = None  #: W3C trace context of what published it (https://www.w3.org/TR/trace-context/)


class Letter(Frozen):
    """A dead letter: a task that was delivered, or failed, as often as is allowed."""

    id: str  #: of the message; the same whenever somebody looks
    task: Task
    deliveries: int = 0  #: 0 where the platform does not say
    at: Time  #: when it was given up


# ------------------------------------------------------------------------------------------- what comes out


class Model(Frozen):
    """Which model made a half, exactly enough to make it again."""

    name: str  #: a Hugging Face id, `demo`, or a local folder's name
    revision: str  #: commit hash on the hub, or a digest of the local files
    engine: str  #: library and version, e.g. `faster-whisper 1.2.1`
    device: str = "cpu"
    compute_type: str = "float32"


#: Peaks of a waveform at most: as many as fit on a screen.
WAVEFORM_PEAKS = 800


class Waveform(Frozen):
    """The outline of a channel, to be drawn: the loudest sample of each of equally long parts."""

    channel: int = 0
    #: 255 times the square root of the loudest magnitude (0 to 1): quiet speech keeps its shape in eight bits.
    peaks: Annotated[tuple[Annotated[int, Field(ge=0, le=255)], ...], Field(max_length=WAVEFORM_PEAKS)]


class Audio(Frozen):
    """What the decoder found in the object."""

    duration: Seconds
    channels: int = Field(ge=1)
    sample_rate: int = Field(ge=1)  #: of the source, Hz
    sha256: str  #: of the object's bytes
    format: str | None = None  #: container/codec, e.g. `mp3/mp3float`
    #: One of all channels mixed, or one a channel where they are split; empty where none was drawn.
    waveforms: Annotated[tuple[Waveform, ...], Field(max_length=64)] = ()


class Caution(Frozen):
    """A remark on a result that is there but wants care. `code` is stable."""

    code: str  #: no_speech, demo_models, damaged_audio, mono_split, language_mismatch, superseded ...
    message: str


class Failure(Frozen):
    """Why a half has no value. `message` is for the user."""

    code: ErrorCode
    message: str
    stage: Stage | None = None
    attempts: int = 0

    @property
    def retryable(self) -> bool:
        """Whether running it again could help."""
        return not self.code.is_input


class Word(Frozen):
    """One word, with its place in the recording."""

    word: str
    start: Seconds
    end: Seconds
    confidence: Score
    emotion: str | None = None  #: label of the nearest emotion window; derived, set by `align`


class Quality(Frozen):
    """The decoder's own figures for a segment (Radford et al. 2022, section 4.5)."""

    avg_logprob: float
    no_speech_prob: Score
    compression_ratio: float
    temperature: float = 0.0
    suspect: bool = False  #: fails a threshold: likely invented or looping


class LabelScore(Frozen):
    """A label with its score."""

    name: str
    score: Score


class SegmentEmotion(Frozen):
    """The emotion windows that overlap a segment, averaged by overlap."""

    top: str  #: highest of the vocabulary's primary labels
    confidence: Score  #: its score
    margin: Score  #: its lead over the next primary label
    coverage: Score  #: share of the segment that windows cover
    scores: tuple[LabelScore, ...]  #: all labels, highest first
    sentiment: tuple[LabelScore, ...] = ()  #: POSITIVE, NEGATIVE, NEUTRAL, highest first


class Segment(Frozen):
    """A stretch of speech by one channel: usually a sentence."""

    id: int
    start: Seconds
    end: Seconds
    channel: int = 0
    speaker: str | None = None  #: `channel 0` and so on when channels are split
    language: str | None = None
    text: str
    confidence: Score  #: mean word confidence
    quality: Quality
    words: tuple[Word, ...] = ()
    emotion: SegmentEmotion | None = None  #: set by `align`; None where no window overlaps


class Language(Frozen):
    """The language of the recording (of its channel with most words)."""

    code: str
    confidence: Score  #: 1.0 when the uploader gave it


class Transcript(Frozen):
    """The value of the stt half."""

    kind: Literal["transcript"] = "transcript"
    language: Language | None = None  #: None when nothing was said
    segments: tuple[Segment, ...] = ()
    speech_seconds: Seconds = 0.0  #: speech found by voice activity detection, all channels


class Vocabulary(Frozen):
    """What the emotion labels mean: never a bare label without one of these."""

    id: str  #: e.g. `CAiRE/SER-wav2vec2-large-xlsr-53-eng-zho-all-age`
    labels: tuple[str, ...]  #: in the model's order
    primary: tuple[str, ...]  #: the labels that may be called dominant
    activation: Literal["sigmoid", "softmax"]  #: sigmoid: independent scores; softmax: they sum to 1
    sentiment: dict[str, str] = {}  #: primary label -> POSITIVE | NEGATIVE | NEUTRAL, where known


class EmotionWindow(Frozen):
    """The scores of one stretch of audio."""

    start: Seconds
    end: Seconds
    channel: int = 0
    scores: tuple[LabelScore, ...]  #: all labels, highest first
    sentiment: tuple[LabelScore, ...] = ()


class Emotions(Frozen):
    """The value of the ser half."""

    kind: Literal["emotions"] = "emotions"
    vocabulary: Vocabulary
    windows: tuple[EmotionWindow, ...] = ()


Value = Annotated[Transcript | Emotions, Field(discriminator="kind")]


class Work(Frozen):
    """How well an engine's time was used. A row is what the model takes at once; rows go through it in batches."""

    engine_seconds: Seconds  #: of `compute_seconds`, the part in which the model ran
    rows: int = Field(ge=0)
    row_slots: int = Field(ge=0)  #: batches times the batch size: `rows` of them were filled
    filled_seconds: Seconds  #: audio in the rows
    padded_seconds: Seconds  #: what the model computed for them, padding included


class Analysis(Frozen):
    """What an engine gives back for one recording."""

    value: Value
    audio: Audio
    model: Model
    compute_seconds: Seconds  #: wall seconds of this machine spent on it: decoding and engine
    work: Work | None = None  #: None where an engine does not say
    cost: Cost | None = None  #: of `compute_seconds`; None without a price table
    cautions: tuple[Caution, ...] = ()


class Partial(Frozen):
    """One half's outcome, created once and never changed: exactly one of analysis, analysis_uri, failure is set."""

    recording_id: str
    revision: int = 1
    stage: Stage
    attempt: int = 1
    started_at: Time
    finished_at: Time
    analysis: Analysis | None = None
    analysis_uri: str | None = None  #: where a large analysis lies in the results bucket
    failure: Failure | None = None
    traceparent: str | None = None  #: trace context of its creation: the join goes on from there


# ----------------------------------------------------------------------------------------------- the record


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


RESULT_INLINE_BYTES = 256 * 1024  #: well under Firestore's 1 MiB document
PARTIAL_INLINE_BYTES = 128 * 1024  #: well under Eventarc's 512 KB event


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


class CompletionData(Frozen):
    """Body of the completion event: thin on purpose, under 20 kB."""

    recording_id: str
    revision: int
    status: Status
    uri: str
    generation: str
    ref: str | None = None
    summary: Summary = Summary()
    artifacts: Artifacts | None = None  #: None of an erased recording
    cost: Cost | None = None
    error: Failure | None = None


class Completion(Frozen):
    """The CloudEvent that announces an outcome. Delivered at least once; `id` is the same each time."""

    id: str
    type: str
    source: str
    subject: str
    time: Time
    data: CompletionData
    traceparent: str | None = None  #: root of the recording's trace, so the same each time
