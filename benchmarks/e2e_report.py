"""Timings of recordings on their way through, and tables of them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
HOPS = ("arrive", "queue", "push", "work", "join", "hear")

#: Timings by how many recordings were concurrent, then by way.
Found = dict[int, dict[str, list["Timing"]]]


@dataclass(frozen=True)
class Timing:
    """One recording's way through, in seconds; the fields after `compute` are only known for speechpipe."""

    total: float
    compute: float  #: of the slower stage
    arrive: float | None = None
    queue: float | None = None
    work: float | None = None
    join: float | None = None
    hear: float | None = None
    push: float | None = None  #: only on the emulators
    recording_id: str | None = None
    last: str | None = None  #: the stage that ended last

    @property
    def overhead(self) -> float:
        """The total without the slower stage's compute."""
        return self.total - self.compute

    @property
    def announced(self) -> float | None:
        """Overhead until the event was published, without the subscriber's wait for it; None if not known."""
        return None if self.hear is None else self.overhead - self.hear

    @property
    def own(self) -> float | None:
        """Overhead without the waits for deliveries, of the task to a worker and of the event to the subscriber."""
        waited = self.queue if self.push is None else self.push
        return None if waited is None or self.announced is None else self.announced - waited


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the smallest value that at least this share of the values do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """p50, p95 and maximum, in milliseconds."""
    found = {"p50": percentile(values, 0.5), "p95": percentile(values, 0.95), "max": max(values)}
    return {name: round(1000 * value, 1) for name, value in found.items()}


def summarise(timings: Sequence[Timing], ours: Sequence[Timing]) -> dict[str, Any]:
    """Statistics of one way; `ours` are the timings that it is compared with."""
    summary: dict[str, Any] = {"recordings": len(timings)}
    for name in ("total", "compute", "overhead", "announced", "own", *HOPS):
        values = [value for timing in timings if (value := getattr(timing, name)) is not None]
        summary[f"{name}_ms"] = spread(values) if values else None
    for name in ("overhead", "total"):
        summary[f"{name}_p50_to_emulators"] = _ratio(name, timings, ours)
    return summary


def _ratio(what: str, timings: Sequence[Timing], ours: Sequence[Timing]) -> float | None:
    if not ours:
        return None
    its, own = (percentile([getattr(timing, what) for timing in some], 0.5) for some in (timings, ours))
    return round(its / own, 2)


def table(summary: dict[int, dict[str, dict[str, Any]]]) -> str:
    """The Markdown tables, in milliseconds."""
    heads = ["concurrent", "way", "recordings", "total p50", "compute p50", "overhead p50 / p95 / max"]
    rows = [
        _row([*heads, "until announced", "without deliveries", "overhead / emulators'", "total / emulators'"]),
        "|" + "---|" * 10,
    ]
    hops = [_row(["concurrent", "way", *HOPS]), "|" + "---|" * 8]
    for at_once, ways in summary.items():
        for way, each in ways.items():
            cells = [at_once, way, each["recordings"], f"{each['total_ms']['p50']:.0f}"]
            cells += [f"{each['compute_ms']['p50']:.0f}"]
            cells += [_spread(each[f"{name}_ms"]) for name in ("overhead", "announced", "own")]
            cells += [each["overhead_p50_to_emulators"], each["total_p50_to_emulators"]]
            rows.append(_row(cells))
            if each["queue_ms"]:
                middles = [each[f"{hop}_ms"] for hop in HOPS]
                hops.append(_row([at_once, way, *(middle and f"{middle['p50']:.0f}" for middle in middles)]))
    return "\n".join([*rows, "", "Where speechpipe's overhead goes, p50 of each hop:", "", *hops])


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join("" if cell is None else str(cell) for cell in cells) + " |"


def _spread(each: dict[str, float] | None) -> str:
    return " / ".join(f"{value:.0f}" for value in each.values()) if each else ""


def write(where: dict[str, Any], found: Found, words: str, *, dry: bool) -> None:
    """Print the table; write it and the JSON unless `dry`."""
    summary = {
        at_once: {way: summarise(timings, ways.get("emulators", [])) for way, timings in ways.items()}
        for at_once, ways in found.items()
    }
    made = table(summary)
    print(made)
    if dry:
        return
    content = {"machine": where, "at_once": summary}
    (RESULTS / "e2e.json").write_text(json.dumps(content, indent=1) + "\n")
    (RESULTS / "e2e.md").write_text(f"{words}\n\n{made}\n")
