"""What is measured: a closed vocabulary, a sentence each.

Every figure of ours is a field of one structured log line. In the cloud Terraform makes a log-based metric of each
(https://cloud.google.com/logging/docs/logs-based-metrics), so that a process which is stopped at any moment loses
none and needs no right to write metrics; `speechpipe up` reads the same lines. What the platform measures itself
stands here with its name in Cloud Monitoring.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How values of a metric add up."""

    COUNTER = "counter"  #: lines are counted
    DISTRIBUTION = "distribution"  #: each line has a value
    GAUGE = "gauge"  #: the platform reads it now and then


@dataclass(frozen=True)
class Metric:
    """One metric: of log lines with these `actions`, or of the platform."""

    name: str
    kind: Kind
    unit: str  #: as in https://ucum.org
    meaning: str
    actions: tuple[str, ...] = ()
    field: str | None = None  #: of the log line; a counter has none
    labels: tuple[str, ...] = ()  #: fields of the log line
    platform: str | None = None  #: metric type in Cloud Monitoring


_PERFORMED = ("performed",)
_ANNOUNCED = ("announced",)
_STAGE = ("stage",)

METRICS = (
    Metric(
        "queue_age",
        Kind.GAUGE,
        "s",
        "Age of the oldest task that no worker has finished: how far behind the workers are.",
        platform="pubsub.googleapis.com/subscription/oldest_unacked_message_age",
    ),
    Metric(
        "dead_letters",
        Kind.GAUGE,
        "1",
        "Tasks that were delivered as often as allowed and went to the dead-letter topic.",
        platform="pubsub.googleapis.com/subscription/dead_letter_message_count",
    ),
    Metric(
        "gpu_utilization",
        Kind.GAUGE,
        "1",
        "Share of the time in which the GPU of an instance did anything.",
        platform="run.googleapis.com/container/gpu/utilizations",
    ),
    Metric(
        "queue_seconds",
        Kind.DISTRIBUTION,
        "s",
        "From the publication of a task to the beginning of the attempt that performed it.",
        _PERFORMED,
        "queue_seconds",
        _STAGE,
    ),
    Metric("audio_seconds", Kind.DISTRIBUTION, "s", "Audio analysed by a stage.", _PERFORMED, "audio_seconds", _STAGE),
    Metric(
        "compute_seconds",
        Kind.DISTRIBUTION,
        "s",
        "Time of an instance that a stage took for it, decoding included.",
        _PERFORMED,
        "compute_seconds",
        _STAGE,
    ),
    Metric(
        "rtfx",
        Kind.DISTRIBUTION,
        "1",
        "Audio seconds per compute second: the inverse real-time factor, as on the Open ASR Leaderboard.",
        _PERFORMED,
        "rtfx",
        _STAGE,
    ),
    Metric(
        "batch_fill",
        Kind.DISTRIBUTION,
        "1",
        "Share of the rows of the engine's batches that held audio.",
        _PERFORMED,
        "batch_fill",
        _STAGE,
    ),
    Metric(
        "row_fill",
        Kind.DISTRIBUTION,
        "1",
        "Share of the audio that the engine computed that was audio and not padding.",
        _PERFORMED,
        "row_fill",
        _STAGE,
    ),
    Metric(
        "gpu_idle_share",
        Kind.DISTRIBUTION,
        "1",
        "Share of an attempt's compute seconds in which the model waited: for decoding, mostly.",
        _PERFORMED,
        "gpu_idle_share",
        _STAGE,
    ),
    Metric(
        "attempts",
        Kind.COUNTER,
        "1",
        "Attempts at a stage, by how they ended: performed, busy (another attempt held it), failed.",
        ("performed", "busy", "failed"),
        labels=("stage", "action"),
    ),
    Metric(
        "given_up",
        Kind.COUNTER,
        "1",
        "Stages that ended as a Failure after their last attempt or past the deadline.",
        ("gave_up",),
        labels=_STAGE,
    ),
    Metric("held", Kind.COUNTER, "1", "Recordings that were held over a cap.", ("held",), labels=("cap",)),
    Metric(
        "outcomes",
        Kind.COUNTER,
        "1",
        "Recordings that reached an end, by status.",
        _ANNOUNCED,
        labels=("status",),
    ),
    Metric(
        "turnaround_seconds",
        Kind.DISTRIBUTION,
        "s",
        "From the upload, or the release of what was held, to the completion event.",
        _ANNOUNCED,
        "turnaround_seconds",
    ),
    Metric(
        "cost_per_audio_hour",
        Kind.DISTRIBUTION,
        "1",
        "Estimated cost of a recording by its compute seconds, in the price table's currency per hour of audio.",
        _ANNOUNCED,
        "cost_per_audio_hour",
    ),
)
