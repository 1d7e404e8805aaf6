"""The queries of alerts and dashboard are valid PromQL, by a parser, since no server here can run them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import promql_parser
import pytest

from speechpipe.observe.metrics import METRICS
from tests.infra.terraform import Plan

pytestmark = pytest.mark.infra

#: Cloud Run's own metrics, besides those in METRICS
#: (https://cloud.google.com/monitoring/api/metrics_gcp_p_z#gcp-run).
CLOUD_RUN = ("run_googleapis_com:",)


def queries(plan: Plan) -> Iterator[str]:
    """Yield every PromQL expression of the alerts and the dashboard."""
    for policy in plan.of("google_monitoring_alert_policy"):
        for condition in policy.values["conditions"]:
            for asked in condition.get("condition_prometheus_query_language") or ():
                yield asked["query"]
    (board,) = (each.values["dashboard_json"] for each in plan.of("google_monitoring_dashboard"))
    yield from (json.loads(f'"{text}"') for text in re.findall(r'"prometheusQuery": ?"((?:[^"\\]|\\.)*)"', board))


def test_every_query_is_valid_promql(plan: Plan) -> None:
    asked = list(queries(plan))
    assert len(asked) > 20
    for query in asked:
        # Cloud Monitoring replaces the variable with what fits the chart; PromQL itself has none.
        promql_parser.parse(query.replace("${__interval}", "5m"))  # raises ValueError with the position


def test_every_query_uses_an_existing_metric(plan: Plan) -> None:
    ours = {f"logging_googleapis_com:user_speechpipe_{metric.name}" for metric in METRICS if not metric.platform}
    theirs = {metric.platform.replace("/", ":", 1) for metric in METRICS if metric.platform}
    known = ours | {re.sub(r"[./]", "_", name) for name in theirs}
    for query in queries(plan):
        names = re.findall(r"\b([a-z_]+_googleapis_com:\w+)", query)
        assert names
        for name in names:
            plain = re.sub(r"_(bucket|sum|count)$", "", name)
            assert {name, plain} & known or name.startswith(CLOUD_RUN), name
