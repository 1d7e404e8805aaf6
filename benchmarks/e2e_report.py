"""Passages of recordings, and tables of them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
HOPS = ("arrive", "queue", "push", "work", "join", "hear")

#: Passages by how many were at once, then by way.
Found = dict[int, dict[str, list["Passage"]]]


@dataclass(frozen=True)
class Passage:
    """One recording's way through, in seconds; what is below `compute` only of ours."""

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
        """What came on top of the slower stage."""
        return self.total - self.compute

    @property
    def announced(self) -> float | None:
        """Overhead until the event was published, without the subscriber's wait for it."""
        return None if self.hear is None else self.overhead - self.hear

    @property
    def own(self) -> float | None:
        """Overhead without waiting for deliveries: of the task to a worker, of the event to the subscriber."""
        waited = self.queue if self.push is None else self.push
        return None if waited is None or self.announced is None else self.announced - waited


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of them does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """p50, p95 and maximum, in milliseconds."""
    found = {"p50": percentile(values, 0.5), "p95": percentile(values, 0.95), "max": max(values)}
    return {name: round(1000 * value, 1) for name, value in found.items()}


def figures(passages: Sequence[Passage], ours: Sequence[Passage]) -> dict[str, Any]:
    """What is told of a way, beside the passages that it is compared with."""
    told: dict[str, Any] = {"recordings": len(passages)}
    for name in ("total", "compute", "overhead", "announced", "own", *HOPS):
        values = [value for passage in passages if (value := getattr(passage, name)) is not None]
        told[f"{name}_ms"] = spread(values) if values else None
    for name in ("overhead", "total"):
        told[f"{name}_p50_to_emulators"] = _ratio(name, passages, ours)
    return told


def _ratio(what: str, passages: Sequence[Passage], ours: Sequence[Passage]) -> float | None:
    if not ours:
        return None
    its, own = (percentile([getattr(passage, what) for passage in some], 0.5) for some in (passages, ours))
    return round(its / own, 2)


def table(told: dict[int, dict[str, dict[str, Any]]]) -> str:
    """Markdown, milliseconds."""
    heads = ["at once", "way", "recordings", "total p50", "compute p50", "overhead p50 / p95 / max", "until announced"]
    rows = [_row([*heads, "without deliveries", "overhead / emulators'", "total / emulators'"]), "|" + "---|" * 10]
    hops = [_row(["at once", "way", *HOPS]), "|" + "---|" * 8]
    for at_once, ways in told.items():
        for way, each in ways.items():
            cells = [at_once, way, each["recordings"], f"{each['total_ms']['p50']:.0f}"]
            cells += [f"{each['compute_ms']['p50']:.0f}"]
            cells += [_spread(each[f"{name}_ms"]) for name in ("overhead", "announced", "own")]
            cells += [each["overhead_p50_to_emulators"], each["total_p50_to_emulators"]]
            rows.append(_row(cells))
            if each["queue_ms"]:
                middles = [each[f"{hop}_ms"] for hop in HOPS]
                hops.append(_row([at_once, way, *(middle and f"{middle['p50']:.0f}" for middle in middles)]))
    return "\n".join([*rows, "", "Where ours goes, p50 of each:", "", *hops])


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join("" if cell is None else str(cell) for cell in cells) + " |"


def _spread(each: dict[str, float] | None) -> str:
    return " / ".join(f"{value:.0f}" for value in each.values()) if each else ""


def write(where: dict[str, Any], found: Found, words: str, *, dry: bool) -> None:
    """Print the table; unless it is a rehearsal, write it and the JSON."""
    told = {
        at_once: {way: figures(passages, ways.get("emulators", [])) for way, passages in ways.items()}
        for at_once, ways in found.items()
    }
    made = table(told)
    print(made)
    if dry:
        return
    content = {"machine": where, "at_once": told}
    (RESULTS / "e2e.json").write_text(json.dumps(content, indent=1) + "\n")
    (RESULTS / "e2e.md").write_text(f"{words}\n\n{made}\n")
