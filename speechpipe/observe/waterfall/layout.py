"""The rows of a recording's waterfall, from the lines that `exporters` writes. Pure, except for `read`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Span:
    """One line of the file. Times are in seconds since 1970."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    service: str
    kind: str
    start: float
    end: float
    error: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def is_waiting(self) -> bool:
        """Whether the span is waiting, not work: an upload in transit or a task in its queue."""
        return self.name == "upload" or self.name.startswith("queue ")


class Row(NamedTuple):
    """A span with its place in the waterfall."""

    span: Span
    depth: int
    lost_parent: bool = False  #: its parent is not in the file, because the process died before it could write it


def read(path: Path, trace_id: str) -> list[Span]:
    """The spans of one trace. Skips lines that are not spans, such as one cut off by a full disk."""
    spans: dict[str, Span] = {}
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if trace_id in line and (span := _span(line)) and span.trace_id == trace_id:
                spans.setdefault(span.span_id, span)  # derived ids may be written twice; the first wins
    return list(spans.values())


def _span(line: str) -> Span | None:
    try:
        fields = json.loads(line)
        return Span(**{name: fields[name] for name in Span.__dataclass_fields__})
    except (ValueError, KeyError, TypeError):
        return None


def rows(spans: Iterable[Span]) -> list[Row]:
    """Parents before children, children by time; a span whose parent is missing goes under the root."""
    spans = sorted(spans, key=lambda span: (span.start, span.end))
    known = {span.span_id for span in spans}
    children: dict[str | None, list[Span]] = defaultdict(list)
    tops = [span for span in spans if span.parent_id is None]
    for span in spans:
        if span.parent_id is not None:
            missing = tops[0].span_id if tops else None
            children[span.parent_id if span.parent_id in known else missing].append(span)

    def below(span: Span, depth: int) -> Iterator[Row]:
        yield Row(span, depth, span.parent_id is not None and span.parent_id not in known)
        for child in children[span.span_id]:
            yield from below(child, depth + 1)

    return [row for top in tops or children[None] for row in below(top, 0)]


class Scale:
    """Maps times to fractions of the width; 0 is the start of the first span.

    Uploading often takes longer than everything else, and a linear scale would show little but that. `upload` limits
    the fraction of the width that the upload may take; the scale is linear from the end of the upload on.
    """

    def __init__(self, spans: Iterable[Span], *, upload: float = 0.15) -> None:
        spans = list(spans)
        self.start = min(span.start for span in spans)
        self.end = max(max(span.end for span in spans), self.start + 1e-6)
        uploads = [span.end for span in spans if span.parent_id is None]
        self.upload_end = min(uploads[0] if uploads else self.start, self.end)
        share = (self.upload_end - self.start) / (self.end - self.start)
        self.squeezed = share > upload
        self._share = min(share, upload)

    def __call__(self, moment: float) -> float:
        """The position of a moment, between 0 and 1."""
        if moment <= self.upload_end:
            length = self.upload_end - self.start
            return self._share * (moment - self.start) / length if length > 0 else 0.0
        return self._share + (1 - self._share) * (moment - self.upload_end) / max(self.end - self.upload_end, 1e-9)


def duration(seconds: float) -> str:
    """A duration as text, such as 0.4 ms, 12 ms, 1.23 s or 2:05."""
    if seconds >= 60:
        return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.0f} ms" if seconds >= 0.01 else f"{seconds * 1e3:.1f} ms"


def label(row: Row) -> str:
    """A row's label: the span's name, the attempt and the outcome."""
    span = row.span
    words = [span.name]
    number = span.attributes.get("speechpipe.attempt", 1)
    if number != 1:
        words.append(f"(attempt {number})")
    if artifact := span.attributes.get("speechpipe.artifact"):
        words.append(str(artifact))
    if outcome := span.error or span.attributes.get("speechpipe.outcome"):
        words.append(f"· {outcome}")
    if row.lost_parent:
        words.append("· parent lost")
    return " ".join(words)
