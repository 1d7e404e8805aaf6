"""Metrics: a real run logs every field, the counters aggregate them, and the table in the docs explains them."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import time
from datetime import timedelta
from typing import Any

import pytest

from speechpipe.backends.local import connect
from speechpipe.contract import Status
from speechpipe.embedded.engines import find_engines
from speechpipe.embedded.runner import Runner
from speechpipe.observe import log
from speechpipe.observe.counters import Counters
from speechpipe.observe.metrics import METRICS, Kind, Metric
from speechpipe.pipeline.reconcile import reconcile
from speechpipe.pipeline.world import World, utc_now
from speechpipe.settings import EngineSettings, Limits, read
from tests.embedded.test_runner import until
from tests.media import SAMPLES, samples, spoken
from tests.test_docs import OPERATE

OURS = [metric for metric in METRICS if metric.actions]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], str]:
    """The log lines of a run of three recordings with real engines and prices, and of a reconciliation that finds a
    fourth; and the whole log and traces as text.
    """
    folder = tmp_path_factory.mktemp("metrics")
    for sample in samples()[:2]:
        shutil.copy(SAMPLES / sample["file"], folder)
    shutil.copy(SAMPLES / samples()[0]["file"], folder / "Zebrafink.m4a")
    (folder / "Zebrafink.m4a.meta.json").write_text('{"hotwords": "Quittengelee", "ref": "Kaltblut"}')
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    log.configure("json", stream=stream)
    try:
        settings = read(EngineSettings, {"SPEECHPIPE_MODELS": "toy", "SPEECHPIPE_DEVICE": "cpu"})
        limits = read(Limits, {"SPEECHPIPE_PRICES": "l4"})
        with Runner(folder, lambda: find_engines(settings), limits) as work:
            until(work.idle, 240)
        assert {r.status for r in connect(folder).store.recordings()} == {Status.COMPLETED}
        (folder / "Zebrafink, lost.m4a").write_bytes(b"sound")
        os.utime(folder / "Zebrafink, lost.m4a", (time.time() - 7200,) * 2)
        assert reconcile(World.over(connect(folder), limits), utc_now() - timedelta(days=1)).new == 1
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    return lines, stream.getvalue() + (folder / ".speechpipe" / "traces.jsonl").read_text()


@pytest.mark.engines
@pytest.mark.parametrize("metric", [m for m in OURS if m.kind is Kind.DISTRIBUTION], ids=lambda metric: metric.name)
def test_every_field_is_in_the_lines_of_a_real_run(metric: Metric, written: tuple[list[dict[str, Any]], str]) -> None:
    lines = [line for line in written[0] if line.get("action") in metric.actions]
    assert lines
    assert metric.field
    for line in lines:
        assert line[metric.field] >= 0, line
        assert set(metric.labels) <= set(line)
        if metric.name in ("batch_fill", "row_fill", "gpu_idle_share"):
            assert line[metric.field] <= 1


@pytest.mark.engines
def test_no_word_of_a_transcript_an_option_or_a_name_is_in_logs_or_traces(
    written: tuple[list[dict[str, Any]], str],
) -> None:
    lines = [line for line in written[0] if line.get("action") not in ("demo_models", "ready", "download")]
    text = json.dumps(lines).lower() + written[1][written[1].index('{"trace_id"') :].lower()
    words = {word for sample in samples()[:2] for word in spoken(sample).lower().split() if len(word) > 5}
    words -= {"service"}  # the name of a field
    assert words
    names = {sample["file"].lower() for sample in samples()[:2]} | {"zebrafink", "quittengelee", "kaltblut"}
    assert not [word for word in words | names if word in text]


def test_every_action_that_a_metric_counts_is_explained() -> None:
    for metric in OURS:
        for action in metric.actions:
            assert f"\n| `{action}` | " in OPERATE


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_the_table_has_the_metric_its_unit_and_its_sentence(metric: Metric) -> None:
    (row,) = [line for line in OPERATE.splitlines() if line.startswith(f"| `{metric.name}` | {metric.unit} | ")]
    assert row.endswith(f"| {metric.meaning} |")
    assert all(
        f"`{source}`" in row for source in (*metric.actions, metric.field or "", metric.platform or "") if source
    )


def test_counters_count_by_label_and_know_percentiles() -> None:
    counters = Counters()
    for number in range(1, 101):
        counters.add({"action": "performed", "stage": "stt", "queue_seconds": number})
    counters.add({"action": "busy", "stage": "ser"})
    counters.add({"action": "ready", "stage": "ser"})
    counters.add({"severity": "INFO"})
    queue = counters.distribution("queue_seconds", "stt")
    assert (queue.count, queue.total, queue.mean) == (100, 5050, 50.5)
    assert queue.p50 == pytest.approx(50.5)
    assert queue.p95 == pytest.approx(95.05)
    assert counters.counts("attempts") == {("ser", "busy"): 1, ("stt", "performed"): 100}
    assert counters.distribution("rtfx", "stt").mean is None
