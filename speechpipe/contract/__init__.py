"""The vocabulary of the whole system: every other room is written in these words.

In: nothing. Out: frozen types (exported here, whatever file they are in), error types, options, prices, wire formats,
the names of topics and triggers. Pure: no I/O, and no import from another room. The JSON Schemas in `docs/schemas/` are
generated from here (`make schemas`).

Times are UTC, seconds are floats rounded to milliseconds, and every list of scores is complete and sorted from the
highest. Readers ignore unknown fields, so an old reader survives a new writer.
"""

from __future__ import annotations

from speechpipe.contract.analysis import (
    PARTIAL_INLINE_BYTES,
    UNSURE,
    WAVEFORM_PEAKS,
    Analysis,
    Audio,
    Caution,
    Emotions,
    EmotionWindow,
    Failure,
    LabelScore,
    Language,
    LanguageSeconds,
    Model,
    Partial,
    Quality,
    Segment,
    SegmentEmotion,
    Transcript,
    Value,
    Vocabulary,
    Waveform,
    Word,
    Work,
)
from speechpipe.contract.base import Cost, Frozen, Score, Seconds, Time
from speechpipe.contract.completion import Completion, CompletionData
from speechpipe.contract.record import (
    SCHEMA_VERSION,
    Artifacts,
    Half,
    HalfStatus,
    Record,
    Status,
    Summary,
    Timing,
    TrendSlice,
    TurningPoint,
)
from speechpipe.contract.recording import RESULT_INLINE_BYTES, Attempt, Lease, Recording, Requeued, Retained
from speechpipe.contract.task import Cap, Hold, Letter, Options, Quote, Source, Stage, Task, Totals, recording_id

__all__ = [
    "PARTIAL_INLINE_BYTES",
    "RESULT_INLINE_BYTES",
    "SCHEMA_VERSION",
    "UNSURE",
    "WAVEFORM_PEAKS",
    "Analysis",
    "Artifacts",
    "Attempt",
    "Audio",
    "Cap",
    "Caution",
    "Completion",
    "CompletionData",
    "Cost",
    "EmotionWindow",
    "Emotions",
    "Failure",
    "Frozen",
    "Half",
    "HalfStatus",
    "Hold",
    "LabelScore",
    "Language",
    "LanguageSeconds",
    "Lease",
    "Letter",
    "Model",
    "Options",
    "Partial",
    "Quality",
    "Quote",
    "Record",
    "Recording",
    "Requeued",
    "Retained",
    "Score",
    "Seconds",
    "Segment",
    "SegmentEmotion",
    "Source",
    "Stage",
    "Status",
    "Summary",
    "Task",
    "Time",
    "Timing",
    "Totals",
    "Transcript",
    "TrendSlice",
    "TurningPoint",
    "Value",
    "Vocabulary",
    "Waveform",
    "Word",
    "Work",
    "recording_id",
]
