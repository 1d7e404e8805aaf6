"""The input: the uploaded object, the options its uploader set, and the tasks that workers get."""

from __future__ import annotations

import base64
import hashlib
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from speechpipe.contract.base import Cost, Frozen, Seconds, Time


class Stage(StrEnum):
    """The two analyses; each produces one half of the record."""

    STT = "stt"  #: speech to text: what was said
    SER = "ser"  #: speech emotion recognition: how it was said


class Options(Frozen):
    """The uploader's options, from the object's custom metadata (`x-goog-meta-*`); see `options.py`."""

    language: str | None = None  #: Whisper language code; None: detect it
    task: Literal["transcribe", "translate"] = "transcribe"
    hotwords: str | None = None  #: words to expect, as a hint to the recogniser
    initial_prompt: str | None = None  #: text to continue from, as a hint at style and spelling
    channels: Literal["mix", "split"] = "mix"  #: split: analyse each channel separately (stereo calls)
    emotion: Literal["on", "off"] | tuple[int, ...] = "on"  #: or only these channels, counted from 0
    track: int | None = Field(default=None, ge=1)  #: sound track to read, counted from 1; None: that with speech
    ref: str | None = None  #: the uploader's own reference, echoed in the record and the event

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The requested stages."""
        return (Stage.STT,) if self.emotion == "off" else (Stage.STT, Stage.SER)

    def of(self, stage: Stage) -> tuple[object, ...]:
        """The options that a stage's outcome depends on."""
        if stage is Stage.SER:
            return self.channels, self.emotion, self.track
        return self.language, self.task, self.hotwords, self.initial_prompt, self.channels, self.track


class Source(Frozen):
    """The uploaded object: a name in a bucket at one generation."""

    uri: str  #: gs://bucket/name, or file:///... of the embedded backend
    bucket: str
    name: str
    generation: str
    size: int = Field(ge=0)  #: bytes
    content_type: str | None = None
    crc32c: str | None = None  #: base64, as Cloud Storage gives it
    metadata: dict[str, str] = {}  #: the object's custom metadata, unchanged
    customer_key: bool = False  #: encrypted under a key of the uploader's own, which Cloud Storage does not keep
    created_at: Time

    @property
    def recording_id(self) -> str:
        """The id of this object's recording."""
        return recording_id(self.bucket, self.name, self.generation)


def recording_id(bucket: str, name: str, generation: str) -> str:
    """Id of an object generation: `rec_` and 26 base32 digits of SHA-256 of `bucket/name#generation`.

    A repeated event gives the same id, an overwritten object a new one. A client computes the id from what its upload
    returned, without a request.
    """
    digest = hashlib.sha256(f"{bucket}/{name}#{generation}".encode()).digest()
    return "rec_" + base64.b32encode(digest).decode().lower()[:26]


class Quote(Frozen):
    """The compute time and cost of a recording, estimated from its header before anything runs."""

    audio_seconds: Seconds
    exact: bool  #: the length was read from the file's header; False: estimated, and may be far off
    compute_seconds: dict[Stage, Seconds] = {}  #: of the requested stages, at the price table's speeds
    cost: Cost | None = None  #: None without a price table


Cap = Literal["max_cost", "max_duration", "max_cost_per_day", "max_duration_per_day"]


class Hold(Frozen):
    """Why a recording is held. `code` is the cap's name."""

    code: Cap
    message: str  #: for the user: what was found, what is allowed, how to release it


class Totals(Frozen):
    """The sum of the quotes of all recordings accepted in a period."""

    audio_seconds: Seconds = 0.0
    cost: Annotated[float, Field(ge=0)] = 0.0  #: in the price table's currency


class Part(Frozen):
    """A time range of a long recording that is analysed by itself.

    Its ends are where it is cut in the plan. The worker moves each to a pause nearby, by a rule that gives the part on
    the other side the same cut.
    """

    number: int = Field(ge=0)  #: counted from 0
    count: int = Field(ge=2)  #: of the recording's parts
    start: Seconds
    end: Seconds | None  #: None: the end of the recording, wherever that is


def work_key(stage: Stage, part: int | None) -> str:
    """What one task is about, for names of documents: `stt` for a stage, `stt.p3` for a part of one."""
    return stage.value if part is None else f"{stage.value}.p{part}"


class Plan(Frozen):
    """How a long recording is cut into parts of the same length; decided once."""

    seconds: Seconds  #: of the recording, as its header or a first look says
    count: int = Field(ge=2)
    in_flight: int = Field(default=8, ge=1)  #: parts of a stage that may be in its queue at a time

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts, in their order."""
        ends = [round(self.seconds * number / self.count, 3) for number in range(self.count + 1)]
        return tuple(
            Part(number=n, count=self.count, start=ends[n], end=ends[n + 1] if n + 1 < self.count else None)
            for n in range(self.count)
        )


def plan_for(seconds: float, part_seconds: float, in_flight: int = 8) -> Plan | None:
    """The plan for a recording of this length; None if it is no longer than a part and a half."""
    if seconds <= 1.5 * part_seconds:
        return None
    return Plan(seconds=seconds, count=round(seconds / part_seconds), in_flight=in_flight)


class Task(Frozen):
    """The work that a worker gets: one stage of one revision of a recording, or of one part of it."""

    recording_id: str
    revision: int = Field(default=1, ge=1)
    stage: Stage
    part: Part | None = None  #: None: the whole recording
    source: Source
    options: Options
    queued_at: Time
    traceparent: str | None = None  #: W3C trace context of its publisher (https://www.w3.org/TR/trace-context/)


class Letter(Frozen):
    """A dead letter: a task, or an upload's event, that was delivered, or failed, as often as allowed."""

    id: str  #: id of the message, the same each time it is listed
    task: Task | None = None  #: None for an upload's event
    upload: Source | None = None  #: the object, for an upload's event
    deliveries: int = 0  #: 0 if the platform does not report it
    at: Time  #: when it became a dead letter

    @property
    def source(self) -> Source:
        """The object that the letter is about."""
        source = self.task.source if self.task else self.upload
        assert source is not None
        return source

    @property
    def recording_id(self) -> str:
        """The recording that the letter is about; for an upload's event there may be none yet."""
        return self.task.recording_id if self.task else self.source.recording_id

    @model_validator(mode="after")
    def _require_one(self) -> Self:
        if (self.task is None) == (self.upload is None):
            raise ValueError("a dead letter is either a task or an upload's event")
        return self
