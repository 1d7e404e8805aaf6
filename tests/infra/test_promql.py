"""What alerts and dashboard ask is PromQL: read by a parser of the language, since nobody here answers it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import promql_parser
import pytest

from speechpipe.observe.metrics import METRICS
from tests.infra.terraform import Plan

pytestmark = pytest.mark.infra

#: Metrics that Cloud Run measures itself, beside those of the vocabulary
#: (https://cloud.google.com/monitoring/api/metrics_gcp_p_z#gcp-run).
CLOUD_RUN = ("run_googleapis_com:",)


def queries(plan: Plan) -> Iterator[str]:
    """Every PromQL expression, of alerts and of tiles."""
    for policy in plan.of("google_monitoring_alert_policy"):
        for condition in policy.values["conditions"]:
            for asked in condition.get("condition_prometheus_query_language") or ():
                yield asked["query"]
    (board,) = (each.values["dashboard_json"] for each in plan.of("google_monitoring_dashboard"))
    yield from (json.loads(f'"{text}"') for text in re.findall(r'"prometheusQuery": ?"((?:[^"\\]|\\.)*)"', board))


def test_every_query_is_promql(plan: Plan) -> None:
    asked = list(queries(plan))
    assert len(asked) > 20
    for query in asked:
        # Cloud Monitoring puts in what fits the chart; the language itself knows no variables.
        promql_parser.parse(query.replace("${__interval}", "5m"))  # raises ValueError with the place


def test_every_query_asks_for_a_metric_that_there_is(plan: Plan) -> None:
    ours = {f"logging_googleapis_com:user_speechpipe_{metric.name}" for metric in METRICS if not metric.platform}
    theirs = {metric.platform.replace("/", ":", 1) for metric in METRICS if metric.platform}
    known = ours | {re.sub(r"[./]", "_", name) for name in theirs}
    for query in queries(plan):
        names = re.findall(r"\b([a-z_]+_googleapis_com:\w+)", query)
        assert names
        for name in names:
            plain = re.sub(r"_(bucket|sum|count)$", "", name)
            assert {name, plain} & known or name.startswith(CLOUD_RUN), name
