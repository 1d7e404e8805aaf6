"""Shows a snapshot of the local cloud: a panel with the metrics on a terminal, a line elsewhere."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group
from rich.table import Table
from rich.text import Text

from speechpipe.contract import Stage
from speechpipe.emulators.cloud import Snapshot
from speechpipe.observe.counters import Counters, Distribution


def line(snapshot: Snapshot) -> str:
    """The number of recordings by state, and the processes that are down."""
    down = [name for name, up in snapshot.processes.items() if not up]
    counts = ", ".join(f"{n} {status.value}" for status, n in snapshot.recordings.items() if n) or "no recordings"
    return counts + (f"; down: {', '.join(down)}" if down else "")


def panel(snapshot: Snapshot) -> Group:
    """Processes, recordings by state, and metrics."""
    processes = Text()
    for name, up in snapshot.processes.items():
        processes.append(f" {name} ", style="green" if up else "bold red reverse")
    counts = _table(status.value for status in snapshot.recordings)
    counts.add_row(*(str(n) for n in snapshot.recordings.values()))
    return Group(processes, counts, Text(), _stages(snapshot.counters), Text(), _totals(snapshot))


def _stages(counters: Counters) -> Table:
    """One row per stage."""
    grid = _table(("", "queue p50", "p95", "audio s / compute s", "batch fill", "row fill", "idle", "attempts"))
    for stage in Stage:
        name = stage.value
        queue = counters.distribution("queue_seconds", name)
        audio, compute = (counters.distribution(metric, name).total for metric in ("audio_seconds", "compute_seconds"))
        shares = (counters.distribution(metric, name).mean for metric in ("batch_fill", "row_fill", "gpu_idle_share"))
        attempts = {each: counters.count("attempts", name, each) for each in ("performed", "busy", "failed")}
        grid.add_row(
            name,
            _seconds(queue.p50),
            _seconds(queue.p95),
            f"{audio / compute:.1f}" if compute else "-",
            *(_share(share) for share in shares),
            ", ".join(f"{n} {action}" for action, n in attempts.items() if n) or "-",
        )
    return grid


def _totals(snapshot: Snapshot) -> Text:
    """The metrics that are not by stage, as one line."""
    counters = snapshot.counters
    turnaround = counters.distribution("turnaround_seconds")
    parts = [f"oldest waiting {_seconds(snapshot.queue_age)}"]
    parts.append(f"turnaround p50 {_seconds(turnaround.p50)} p95 {_seconds(turnaround.p95)}")
    outcomes = ", ".join(f"{n} {status}" for (status,), n in counters.counts("outcomes").items())
    parts.append(f"ended: {outcomes or '-'}")
    if given_up := sum(counters.counts("given_up").values()):
        parts.append(f"given up {given_up}")
    parts.append(f"cost per audio hour {_money(counters.distribution('cost_per_audio_hour'))}")
    return Text("   ".join(parts))


def _table(columns: Iterable[str]) -> Table:
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        grid.add_column(column, justify="right" if column else "left")
    return grid


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _money(cost: Distribution) -> str:
    return "-" if cost.mean is None else f"{cost.mean:.4f}"
