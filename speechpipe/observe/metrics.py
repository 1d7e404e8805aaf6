"""The metrics: a closed vocabulary, each with a sentence that says what it measures.

Every metric of ours is made of one structured log line. In the cloud Terraform defines a log-based metric for each
(https://cloud.google.com/logging/docs/logs-based-metrics), so a process that is killed loses no values and no process
needs permission to write metrics. `speechpipe up` reads the same lines. Metrics that the platform itself measures are
listed with their type in Cloud Monitoring.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How a metric's values are aggregated."""

    COUNTER = "counter"  #: the number of log lines
    DISTRIBUTION = "distribution"  #: one value per log line
    GAUGE = "gauge"  #: sampled by the platform


@dataclass(frozen=True)
class Metric:
    """One metric, made of log lines with these `actions` or measured by the platform."""

    name: str
    kind: Kind
    unit: str  #: as in https://ucum.org
    meaning: str
    actions: tuple[str, ...] = ()
    field: str | None = None  #: the log field with the value; None for a counter
    labels: tuple[str, ...] = ()  #: log fields
    platform: str | None = None  #: metric type in Cloud Monitoring


_PERFORMED = ("performed",)
_ANNOUNCED = ("announced",)
_STAGE = ("stage",)

METRICS = (
    Metric(
        "queue_age",
        Kind.GAUGE,
        "s",
        "Age of the oldest unacknowledged task, which is how far behind the workers are.",
        platform="pubsub.googleapis.com/subscription/oldest_unacked_message_age",
    ),
    Metric(
        "event_age",
        Kind.GAUGE,
        "s",
        "Age of the oldest event of an upload or of a finished half that ingest or join has not taken.",
        platform="pubsub.googleapis.com/subscription/oldest_unacked_message_age",
    ),
    Metric(
        "dead_letters",
        Kind.GAUGE,
        "1",
        "Tasks and upload events sent to a dead-letter topic after the last delivery attempt.",
        platform="pubsub.googleapis.com/subscription/dead_letter_message_count",
    ),
    Metric(
        "gpu_utilization",
        Kind.GAUGE,
        "1",
        "Share of time that an instance's GPU was busy.",
        platform="run.googleapis.com/container/gpu/utilizations",
    ),
    Metric(
        "queue_seconds",
        Kind.DISTRIBUTION,
        "s",
        "Time from the publication of a task to the start of the attempt that performed it.",
        _PERFORMED,
        "queue_seconds",
        _STAGE,
    ),
    Metric("audio_seconds", Kind.DISTRIBUTION, "s", "Audio analysed by a stage.", _PERFORMED, "audio_seconds", _STAGE),
    Metric(
        "compute_seconds",
        Kind.DISTRIBUTION,
        "s",
        "Time that an instance spent on one stage of a recording, including audio decoding.",
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
        "Share of rows in the engine's batches that contained audio.",
        _PERFORMED,
        "batch_fill",
        _STAGE,
    ),
    Metric(
        "row_fill",
        Kind.DISTRIBUTION,
        "1",
        "Share of the engine's input that was audio, not padding.",
        _PERFORMED,
        "row_fill",
        _STAGE,
    ),
    Metric(
        "gpu_idle_share",
        Kind.DISTRIBUTION,
        "1",
        "Share of an attempt's compute seconds during which the model was waiting, mostly for audio to be decoded.",
        _PERFORMED,
        "gpu_idle_share",
        _STAGE,
    ),
    Metric(
        "attempts",
        Kind.COUNTER,
        "1",
        "Attempts at a stage, by outcome: performed, busy (another attempt held the lease) or failed.",
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
    Metric(
        "missed_uploads",
        Kind.COUNTER,
        "1",
        "Uploads that reconcile found without a document: their event was lost, or had waited for an hour.",
        ("missed",),
    ),
    Metric(
        "listed_objects",
        Kind.DISTRIBUTION,
        "1",
        "Objects in the uploads bucket that one reconciliation listed.",
        ("reconciled",),
        "listed",
    ),
    Metric("held", Kind.COUNTER, "1", "Recordings held because they exceed a cap.", ("held",), labels=("cap",)),
    Metric(
        "outcomes",
        Kind.COUNTER,
        "1",
        "Recordings that became final, by status.",
        _ANNOUNCED,
        labels=("status",),
    ),
    Metric(
        "turnaround_seconds",
        Kind.DISTRIBUTION,
        "s",
        "Time from the upload, or from the release of a held recording, to the completion event.",
        _ANNOUNCED,
        "turnaround_seconds",
    ),
    Metric(
        "cost_per_audio_hour",
        Kind.DISTRIBUTION,
        "1",
        "Estimated cost of a recording's compute seconds per hour of audio, in the price table's currency.",
        _ANNOUNCED,
        "cost_per_audio_hour",
    ),
)
