"""Figures by metric and label, from log lines as they come: what log-based metrics do in the cloud."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from speechpipe.observe.metrics import METRICS, Kind, Metric

#: The percentiles are those of so many values: the latest.
WINDOW = 1000

Labels = tuple[str, ...]


@dataclass(frozen=True)
class Figure:
    """What lines add up to. A counter has no values, only a count."""

    count: int
    total: float = 0.0
    p50: float | None = None
    p95: float | None = None

    @property
    def mean(self) -> float | None:
        """Of all values; None where there is none."""
        return self.total / self.count if self.count else None


class Tally:
    """Takes parsed log lines; gives a metric's figure, by the values of its labels."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, Labels], int] = defaultdict(int)
        self._totals: dict[tuple[str, Labels], float] = defaultdict(float)
        self._latest: dict[tuple[str, Labels], deque[float]] = defaultdict(lambda: deque(maxlen=WINDOW))

    def add(self, line: Mapping[str, Any]) -> None:
        """Count one line; one that no metric is made of counts nowhere."""
        for metric in METRICS:
            if line.get("action") in metric.actions:
                self._count(metric, line)

    def _count(self, metric: Metric, line: Mapping[str, Any]) -> None:
        key = metric.name, tuple(str(line.get(label, "")) for label in metric.labels)
        if metric.kind is Kind.COUNTER:
            self._counts[key] += 1
        elif isinstance(value := line.get(metric.field or ""), int | float):
            self._counts[key] += 1
            self._totals[key] += value
            self._latest[key].append(value)

    def figure(self, name: str, *labels: str) -> Figure:
        """A metric's figure for these values of its labels, in the order of its definition; all zero before any."""
        key = name, labels
        latest = self._latest.get(key)
        cuts = _percentiles(latest) if latest else (None, None)
        return Figure(self._counts.get(key, 0), self._totals.get(key, 0.0), *cuts)

    def counts(self, name: str) -> dict[Labels, int]:
        """How many lines a metric has, by the values of its labels."""
        return {labels: count for (metric, labels), count in sorted(self._counts.items()) if metric == name}


def _percentiles(values: Iterable[float]) -> tuple[float, float]:
    values = sorted(values)
    if len(values) == 1:
        return values[0], values[0]
    cuts = quantiles(values, n=20, method="inclusive")
    return cuts[9], cuts[18]
