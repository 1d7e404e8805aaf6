"""One frozen settings type a service, read once at start; every missing or unusable key is named at the same time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from speechpipe.contract import Stage
from speechpipe.contract.errors import SettingsMissing
from speechpipe.contract.prices import PriceTable
from speechpipe.contract.prices import read as read_prices
from speechpipe.contract.resources import COMPLETIONS_TOPIC, REQUEST_SECONDS, TASK_TOPICS


class Settings(BaseModel):
    """Base: frozen, each field read from the environment variable that is its alias."""

    model_config = ConfigDict(frozen=True, extra="ignore", validate_by_name=True, validate_by_alias=True)


S = TypeVar("S", bound=Settings)

#: The most sound that a report may hold, bytes: with more, a page is slow to open.
MOST_EMBEDDED_BYTES = 32 << 20


class Project(Settings):
    """What every part in the cloud or on the emulators needs."""

    project: str = Field(alias="GOOGLE_CLOUD_PROJECT", min_length=1)
    database: str = Field("(default)", alias="SPEECHPIPE_DATABASE")
    uploads_bucket: str = Field(alias="SPEECHPIPE_UPLOADS_BUCKET", min_length=1)
    results_bucket: str = Field(alias="SPEECHPIPE_RESULTS_BUCKET", min_length=1)


class Topics(Settings):
    """Names of the topics; `infra/` and `speechpipe up` create these."""

    stt_topic: str = Field(TASK_TOPICS[Stage.STT], alias="SPEECHPIPE_STT_TOPIC")
    ser_topic: str = Field(TASK_TOPICS[Stage.SER], alias="SPEECHPIPE_SER_TOPIC")
    completions_topic: str = Field(COMPLETIONS_TOPIC, alias="SPEECHPIPE_COMPLETIONS_TOPIC")


def _prices(given: object) -> object:
    try:
        return read_prices(given) if isinstance(given, str) else given
    except SettingsMissing as error:  # pydantic collects a ValueError with the other problems
        raise ValueError(str(error).removeprefix("SPEECHPIPE_PRICES: ")) from None


class Pricing(Settings):
    """What compute costs: a preset of `prices`, or a table as JSON; without one there are no costs."""

    prices: Annotated[PriceTable | None, BeforeValidator(_prices)] = Field(None, alias="SPEECHPIPE_PRICES")


class Limits(Pricing):
    """Caps and deadlines, with the prices that costs are counted in."""

    prefix: str = Field("", alias="SPEECHPIPE_UPLOADS_PREFIX")  #: objects outside it are none of ours
    max_bytes: int = Field(5 * 1024**3, alias="SPEECHPIPE_MAX_BYTES", gt=0)
    deadline_seconds: int = Field(24 * 3600, alias="SPEECHPIPE_DEADLINE_SECONDS", gt=0)
    retention_days: int = Field(0, alias="SPEECHPIPE_RETENTION_DAYS", ge=0)  #: 0: kept for ever
    #: Recordings up to this size are heard in their report, which holds a copy; 0: none is (decision 17).
    embed_bytes: int = Field(1_000_000, alias="SPEECHPIPE_EMBED_BYTES", ge=0, le=MOST_EMBEDDED_BYTES)
    # Over one of these a recording is held. A day is one of UTC; its caps are checked before they are counted, so
    # uploads of the same moment may overshoot them.
    max_cost: float | None = Field(None, alias="SPEECHPIPE_MAX_COST", gt=0)
    max_duration: float | None = Field(None, alias="SPEECHPIPE_MAX_DURATION", gt=0)  #: seconds of audio
    max_cost_per_day: float | None = Field(None, alias="SPEECHPIPE_MAX_COST_PER_DAY", gt=0)
    max_duration_per_day: float | None = Field(None, alias="SPEECHPIPE_MAX_DURATION_PER_DAY", gt=0)

    @model_validator(mode="after")
    def _priced(self) -> Self:
        if self.prices is None and (self.max_cost or self.max_cost_per_day):
            raise ValueError("SPEECHPIPE_MAX_COST and SPEECHPIPE_MAX_COST_PER_DAY need SPEECHPIPE_PRICES")
        return self


class Telemetry(Settings):
    """Where traces go, and the form of log lines."""

    traces: str = Field("off", alias="SPEECHPIPE_TRACES")  #: off, cloud, otlp, console, or a file for JSON lines
    log_format: Literal["auto", "json", "text"] = Field("auto", alias="SPEECHPIPE_LOG_FORMAT")


def _listed(given: object) -> object:
    return tuple(filter(None, (part.strip() for part in given.split(",")))) if isinstance(given, str) else given


class CallerSettings(Settings):
    """Who may call a service, by their tokens (`oidc`). Unset, as in the local modes: tokens are not looked at.

    Callers without an audience are allowed: Eventarc chooses its tokens' audience itself, and each caller's account
    calls one service only. An audience without callers is not: anybody with a Google account gets a token for it.
    """

    audience: str | None = Field(None, alias="SPEECHPIPE_PUSH_AUDIENCE")
    callers: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field((), alias="SPEECHPIPE_PUSH_CALLERS")

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.audience is not None and not self.callers:
            raise ValueError("SPEECHPIPE_PUSH_AUDIENCE needs SPEECHPIPE_PUSH_CALLERS")
        return self


class FunctionSettings(Project, Topics, Limits, Telemetry, CallerSettings):
    """The functions: ingest, join, give_up, sweep."""


class EngineSettings(Settings):
    """Which models run, and on what. Also what the command line's options become."""

    models: str = Field("auto", alias="SPEECHPIPE_MODELS")  #: auto, demo, or (a worker's) model name or folder
    stt_model: str | None = Field(None, alias="SPEECHPIPE_STT_MODEL")
    stt_revision: str | None = Field(None, alias="SPEECHPIPE_STT_REVISION")
    ser_model: str | None = Field(None, alias="SPEECHPIPE_SER_MODEL")
    ser_revision: str | None = Field(None, alias="SPEECHPIPE_SER_REVISION")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", alias="SPEECHPIPE_DEVICE")
    compute_type: str = Field("auto", alias="SPEECHPIPE_COMPUTE_TYPE")
    threads: int = Field(0, alias="SPEECHPIPE_THREADS", ge=0)  #: CPU threads an engine; 0: all cores
    max_seconds: int = Field(10 * 3600, alias="SPEECHPIPE_MAX_SECONDS", gt=0)  #: audio, counted while decoding


class WorkerSettings(Project, EngineSettings, Pricing, Telemetry, CallerSettings):
    """A GPU worker: one stage."""

    stage: Stage = Field(alias="SPEECHPIPE_STAGE")
    max_bytes: int = Field(5 * 1024**3, alias="SPEECHPIPE_MAX_BYTES", gt=0)
    #: Recordings at a time, which share the model's batches; more get 429.
    concurrency: int = Field(8, alias="SPEECHPIPE_CONCURRENCY", ge=1)
    #: How long a request may take: an attempt's lease is not extended past it.
    request_seconds: int = Field(REQUEST_SECONDS, alias="SPEECHPIPE_REQUEST_SECONDS", gt=0)
    #: Length of a lease, extended while an attempt runs: what the next one waits after a worker died (decision 13).
    lease_seconds: float = Field(30.0, alias="SPEECHPIPE_LEASE_SECONDS", gt=0)
    port: int = Field(8080, alias="PORT")
    host: str = Field("127.0.0.1", alias="SPEECHPIPE_HOST")  #: the images set 0.0.0.0


class ConsoleSettings(Settings):
    """The console as a service of its own. On loopback it needs none of these."""

    #: /projects/NUMBER/locations/REGION/services/NAME: whose assertions of Identity-Aware Proxy let somebody in.
    audience: str = Field(alias="SPEECHPIPE_IAP_AUDIENCE", min_length=1)
    port: int = Field(8080, alias="PORT")
    host: str = Field("127.0.0.1", alias="SPEECHPIPE_HOST")  #: the image sets 0.0.0.0


class ClientSettings(Project, Topics):
    """The client and the command line against the cloud or the emulators."""

    completions_subscription: str = Field(COMPLETIONS_TOPIC, alias="SPEECHPIPE_COMPLETIONS_SUBSCRIPTION")


def read(kind: type[S], environ: Mapping[str, str] | None = None) -> S:
    """Read settings from the environment. Raises SettingsMissing, which names every bad key and what it wants.

    An empty variable counts as unset.
    """
    environ = os.environ if environ is None else environ
    present: dict[str, Any] = {key: value for key, value in environ.items() if value != ""}
    try:
        return kind.model_validate(present)
    except ValidationError as error:
        problems = [
            ": ".join([*map(str, e["loc"][:1]), e["msg"].removeprefix("Value error, ")]) for e in error.errors()
        ]
        raise SettingsMissing(f"{kind.__name__} needs:\n  " + "\n  ".join(problems)) from None
