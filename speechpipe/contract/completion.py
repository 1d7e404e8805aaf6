"""The event that announces an outcome."""

from __future__ import annotations

from speechpipe.contract.analysis import Failure
from speechpipe.contract.base import Cost, Frozen, Time
from speechpipe.contract.record import Artifacts, Status, Summary


class CompletionData(Frozen):
    """Body of the completion event, kept small on purpose: under 20 kB."""

    recording_id: str
    revision: int
    status: Status
    uri: str
    generation: str
    ref: str | None = None
    same_content_as: str | None = None  #: as in the record: nothing was computed, the result is that recording's
    summary: Summary = Summary()
    artifacts: Artifacts | None = None  #: None if the recording was erased
    cost: Cost | None = None
    error: Failure | None = None


class Completion(Frozen):
    """The CloudEvent that announces an outcome. Delivered at least once, each time with the same `id`."""

    id: str
    type: str
    source: str
    subject: str
    time: Time
    data: CompletionData
    traceparent: str | None = None  #: root of the recording's trace, so the same each time
