"""Counters and distributions, updated from log lines as they arrive, as log-based metrics do in the cloud."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from speechpipe.observe.metrics import METRICS, Kind, Metric

#: Percentiles are computed over this many of the latest values.
WINDOW = 1000

Labels = tuple[str, ...]


@dataclass(frozen=True)
class Distribution:
    """The values of a metric's field: their number, sum and percentiles."""

    count: int
    total: float = 0.0
    p50: float | None = None
    p95: float | None = None

    @property
    def mean(self) -> float | None:
        """The mean of all values; None if there are none."""
        return self.total / self.count if self.count else None


class Counters:
    """Live values of the log-based metrics, by metric and label values, from parsed log lines."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, Labels], int] = defaultdict(int)
        self._totals: dict[tuple[str, Labels], float] = defaultdict(float)
        self._latest: dict[tuple[str, Labels], deque[float]] = defaultdict(lambda: deque(maxlen=WINDOW))

    def add(self, line: Mapping[str, Any]) -> None:
        """Add one line to each metric that counts its action; ignore it if there is none."""
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

    def count(self, name: str, *labels: str) -> int:
        """A metric's number of lines with these label values, in the order in which the metric defines its labels."""
        return self._counts.get((name, labels), 0)

    def counts(self, name: str) -> dict[Labels, int]:
        """A metric's number of lines for each combination of label values."""
        return {labels: count for (metric, labels), count in sorted(self._counts.items()) if metric == name}

    def distribution(self, name: str, *labels: str) -> Distribution:
        """A metric's values for these label values; empty before the first line."""
        key = name, labels
        latest = self._latest.get(key)
        cuts = _percentiles(latest) if latest else (None, None)
        return Distribution(self._counts.get(key, 0), self._totals.get(key, 0.0), *cuts)


def _percentiles(values: Iterable[float]) -> tuple[float, float]:
    values = sorted(values)
    if len(values) == 1:
        return values[0], values[0]
    cuts = quantiles(values, n=20, method="inclusive")
    return cuts[9], cuts[18]
