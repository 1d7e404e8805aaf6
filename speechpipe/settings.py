"""One frozen settings type per service, read once at start. An error names every missing or invalid key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from speechpipe.contract import Stage
from speechpipe.contract.errors import SettingsMissing
from speechpipe.contract.prices import PriceTable
from speechpipe.contract.prices import read as read_prices
from speechpipe.contract.resources import COMPLETIONS_TOPIC, REQUEST_SECONDS, TASK_TOPICS, WAITING_ROOM


class Settings(BaseModel):
    """Base class: frozen, each field read from the environment variable in its alias."""

    model_config = ConfigDict(frozen=True, extra="ignore", validate_by_name=True, validate_by_alias=True)


S = TypeVar("S", bound=Settings)

#: The most audio that a report may embed, bytes: with more, the page opens slowly.
MAX_EMBEDDED_BYTES = 32 << 20
#: Shorter parts would be mostly what neighbours read twice to find the same cut.
LEAST_PART_SECONDS = 120


class Project(Settings):
    """What everything in the cloud or on the emulators needs."""

    project: str = Field(alias="GOOGLE_CLOUD_PROJECT", min_length=1)
    database: str = Field("(default)", alias="SPEECHPIPE_DATABASE")
    uploads_bucket: str = Field(alias="SPEECHPIPE_UPLOADS_BUCKET", min_length=1)
    results_bucket: str = Field(alias="SPEECHPIPE_RESULTS_BUCKET", min_length=1)


class Topics(Settings):
    """Names of the topics. `infra/` and `speechpipe up` create those of the defaults."""

    stt_topic: str = Field(TASK_TOPICS[Stage.STT], alias="SPEECHPIPE_STT_TOPIC")
    ser_topic: str = Field(TASK_TOPICS[Stage.SER], alias="SPEECHPIPE_SER_TOPIC")
    completions_topic: str = Field(COMPLETIONS_TOPIC, alias="SPEECHPIPE_COMPLETIONS_TOPIC")


def _parse_prices(given: object) -> object:
    try:
        return read_prices(given) if isinstance(given, str) else given
    except SettingsMissing as error:  # pydantic collects a ValueError with the other problems
        raise ValueError(str(error).removeprefix("SPEECHPIPE_PRICES: ")) from None


class Pricing(Settings):
    """What compute costs: a preset of `prices`, or a table as JSON. If unset, no costs are computed."""

    prices: Annotated[PriceTable | None, BeforeValidator(_parse_prices)] = Field(None, alias="SPEECHPIPE_PRICES")


class PartSettings(Settings):
    """How long recordings are cut into parts (decision 36)."""

    #: Seconds of audio; a recording of more than a part and a half is analysed in parts of about this length. 0: never.
    part_seconds: float = Field(600.0, alias="SPEECHPIPE_PART_SECONDS", ge=0)
    #: How many parts of a recording may be in a stage's queue at a time.
    parts_in_flight: int = Field(8, alias="SPEECHPIPE_PARTS_IN_FLIGHT", ge=1)

    @model_validator(mode="after")
    def _require_room(self) -> Self:
        if 0 < self.part_seconds < LEAST_PART_SECONDS:
            raise ValueError(
                f"SPEECHPIPE_PART_SECONDS: given {self.part_seconds:g}; allowed: 0, or {LEAST_PART_SECONDS} and more"
            )
        return self


class Limits(Pricing, PartSettings):
    """Caps and deadlines, with the prices that the cost caps need."""

    prefix: str = Field("", alias="SPEECHPIPE_UPLOADS_PREFIX")  #: objects outside it are ignored
    max_bytes: int = Field(5 * 1024**3, alias="SPEECHPIPE_MAX_BYTES", gt=0)
    deadline_seconds: int = Field(24 * 3600, alias="SPEECHPIPE_DEADLINE_SECONDS", gt=0)
    retention_days: int = Field(0, alias="SPEECHPIPE_RETENTION_DAYS", ge=0)  #: 0: kept for ever
    #: Recordings up to this size are embedded in their report, so it can play them; 0: none (decision 17).
    embed_bytes: int = Field(1_000_000, alias="SPEECHPIPE_EMBED_BYTES", ge=0, le=MAX_EMBEDDED_BYTES)
    # A recording that exceeds one of these is held. Days are in UTC. The daily caps are checked before a recording
    # counts, so simultaneous uploads may exceed them together.
    max_cost: float | None = Field(None, alias="SPEECHPIPE_MAX_COST", gt=0)
    max_duration: float | None = Field(None, alias="SPEECHPIPE_MAX_DURATION", gt=0)  #: seconds of audio
    max_cost_per_day: float | None = Field(None, alias="SPEECHPIPE_MAX_COST_PER_DAY", gt=0)
    max_duration_per_day: float | None = Field(None, alias="SPEECHPIPE_MAX_DURATION_PER_DAY", gt=0)

    @model_validator(mode="after")
    def _require_prices(self) -> Self:
        if self.prices is None and (self.max_cost or self.max_cost_per_day):
            raise ValueError("SPEECHPIPE_MAX_COST and SPEECHPIPE_MAX_COST_PER_DAY need SPEECHPIPE_PRICES")
        return self


class Telemetry(Settings):
    """Where traces go, and the format of log lines."""

    traces: str = Field("off", alias="SPEECHPIPE_TRACES")  #: off, cloud, otlp, console, or a file for JSON lines
    log_format: Literal["auto", "json", "text"] = Field("auto", alias="SPEECHPIPE_LOG_FORMAT")


def _split_list(given: object) -> object:
    return tuple(filter(None, (part.strip() for part in given.split(",")))) if isinstance(given, str) else given


class CallerSettings(Settings):
    """Who may call a service, checked by token (`oidc`). If unset, as in the local modes, tokens are not checked.

    Callers may be set without an audience, because Eventarc chooses its tokens' audience itself, and each caller's
    account calls one service only. An audience without callers is an error, because anybody with a Google account can
    get a token for it.
    """

    audience: str | None = Field(None, alias="SPEECHPIPE_PUSH_AUDIENCE")
    callers: Annotated[tuple[str, ...], BeforeValidator(_split_list)] = Field((), alias="SPEECHPIPE_PUSH_CALLERS")
    #: The service's name in Cloud Run, which sets it, and which then hands tokens on without their signatures.
    cloud_run_service: str | None = Field(None, alias="K_SERVICE")

    @model_validator(mode="after")
    def _require_callers(self) -> Self:
        if self.audience is not None and not self.callers:
            raise ValueError("SPEECHPIPE_PUSH_AUDIENCE needs SPEECHPIPE_PUSH_CALLERS")
        return self


class FunctionSettings(Project, Topics, Limits, Telemetry, CallerSettings):
    """The functions: ingest, join, give_up, sweep, reconcile."""


def _read_labels(given: object) -> object:
    if not isinstance(given, str):
        return given
    labels = tuple(label.strip() for label in given.split(","))
    if not all(labels):  # leaving one out would shift the others
        raise ValueError("a label has no name")
    return labels


class EngineSettings(Settings):
    """Which models run, and on which device. The command line's options end up here too."""

    models: str = Field("auto", alias="SPEECHPIPE_MODELS")  #: auto, demo, toy, or a name or folder
    stt_model: str | None = Field(None, alias="SPEECHPIPE_STT_MODEL")
    stt_revision: str | None = Field(None, alias="SPEECHPIPE_STT_REVISION")
    ser_model: str | None = Field(None, alias="SPEECHPIPE_SER_MODEL")
    ser_revision: str | None = Field(None, alias="SPEECHPIPE_SER_REVISION")
    #: The labels of a named emotion model, in the order of its outputs, for one whose files name them wrongly or not.
    ser_labels: Annotated[tuple[str, ...] | None, BeforeValidator(_read_labels)] = Field(
        None, alias="SPEECHPIPE_SER_LABELS"
    )
    #: With a lower score the emotion is `unsure`; by default the model's own value.
    sure_from: float | None = Field(None, alias="SPEECHPIPE_SURE_FROM", ge=0, le=1)
    device: Literal["auto", "cpu", "cuda"] = Field("auto", alias="SPEECHPIPE_DEVICE")
    compute_type: str = Field("auto", alias="SPEECHPIPE_COMPUTE_TYPE")
    threads: int = Field(0, alias="SPEECHPIPE_THREADS", ge=0)  #: CPU threads per engine; 0: all cores
    max_seconds: int = Field(10 * 3600, alias="SPEECHPIPE_MAX_SECONDS", gt=0)  #: of audio, counted while decoding


class WorkerSettings(Project, EngineSettings, Pricing, PartSettings, Telemetry, CallerSettings):
    """A GPU worker: one stage."""

    stage: Stage = Field(alias="SPEECHPIPE_STAGE")
    max_bytes: int = Field(5 * 1024**3, alias="SPEECHPIPE_MAX_BYTES", gt=0)
    #: The slots: recordings processed in parallel, sharing the model's batches.
    concurrency: int = Field(8, alias="SPEECHPIPE_CONCURRENCY", ge=1)
    #: Deliveries that may wait for a slot; further requests get 429.
    waiting_room: int = Field(WAITING_ROOM, alias="SPEECHPIPE_WAITING_ROOM", ge=0)
    #: How long a request may take, of which it may spend half waiting for a slot. An attempt's lease lasts at most
    #: twice as long.
    request_seconds: int = Field(REQUEST_SECONDS, alias="SPEECHPIPE_REQUEST_SECONDS", gt=0)
    #: Length of a lease, extended while an attempt runs; after a worker dies, the next attempt waits at most this long
    #: (decision 13).
    lease_seconds: float = Field(30.0, alias="SPEECHPIPE_LEASE_SECONDS", gt=0)
    port: int = Field(8080, alias="PORT")
    host: str = Field("127.0.0.1", alias="SPEECHPIPE_HOST")  #: the images set 0.0.0.0

    @property
    def waiting_seconds(self) -> float:
        """How long a delivery waits for a slot; the rest of its request is for the work."""
        return self.request_seconds / 2


class ConsoleSettings(Settings):
    """The console as a deployed service. On loopback it needs none of these."""

    #: /projects/NUMBER/locations/REGION/services/NAME: the audience required of Identity-Aware Proxy's assertions.
    audience: str = Field(alias="SPEECHPIPE_IAP_AUDIENCE", min_length=1)
    port: int = Field(8080, alias="PORT")
    host: str = Field("127.0.0.1", alias="SPEECHPIPE_HOST")  #: the image sets 0.0.0.0


class ClientSettings(Project, Topics):
    """The client and the command line against the cloud or the emulators."""

    completions_subscription: str = Field(COMPLETIONS_TOPIC, alias="SPEECHPIPE_COMPLETIONS_SUBSCRIPTION")


def read(kind: type[S], environ: Mapping[str, str] | None = None) -> S:
    """Read settings from the environment; an empty variable counts as unset.

    Raises SettingsMissing, which names every missing or invalid key and what is wrong with it.
    """
    environ = os.environ if environ is None else environ
    present: dict[str, Any] = {key: value for key, value in environ.items() if value != ""}
    try:
        return kind.model_validate(present)
    except ValidationError as error:
        problems = [
            ": ".join([*map(str, e["loc"][:1]), e["msg"].removeprefix("Value error, ")]) for e in error.errors()
        ]
        raise SettingsMissing(f"missing or invalid settings ({kind.__name__}):\n  " + "\n  ".join(problems)) from None
