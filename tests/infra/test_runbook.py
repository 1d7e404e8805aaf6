"""Each alert has its section in the runbook, and each metric its tile on the dashboard."""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

import pytest

from speechpipe.contract import resources
from speechpipe.contract.resources import Service
from speechpipe.observe.metrics import METRICS
from tests.infra.terraform import INFRA, Plan, Resource
from tests.infra.test_system import get_paths, only, services
from tests.infra.variables import EVERYTHING

pytestmark = pytest.mark.infra

RUNBOOK = INFRA.parent / "docs" / "runbook.md"


def sections() -> dict[str, str]:
    """Map each section's title to its text."""
    _, *parts = RUNBOOK.read_text().split("\n## ")
    return {part.splitlines()[0]: part for part in parts}


def alerts(plan: Plan) -> dict[str, str]:
    """Map the name of each alert and budget to its documentation."""
    found = {
        policy.values["display_name"]: only(policy.values["documentation"])["content"]
        for policy in plan.of("google_monitoring_alert_policy")
    }
    return found | {budget.values["display_name"]: "" for budget in plan.of("google_billing_budget")}


def anchor(title: str) -> str:
    """Return a heading's anchor (https://docs.github.com/en/get-started/writing-on-github)."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def test_every_alert_has_a_section_and_every_section_an_alert(plans: dict[str, Plan]) -> None:
    assert set(alerts(plans["everything"])) == set(sections())


def test_a_section_says_what_the_alert_means_where_to_look_and_what_to_do() -> None:
    order = r"\*\*Meaning\.\*\*\s.*\*\*Look\.\*\*\s.*\*\*Do\.\*\*\s"
    assert [title for title, text in sections().items() if not re.search(order, text, re.DOTALL)] == []


def test_an_alert_links_to_its_section(plans: dict[str, Plan]) -> None:
    for title, content in alerts(plans["everything"]).items():
        if content:
            assert content.rstrip().endswith(f"[Runbook]({EVERYTHING['runbook_url']}#{anchor(title)})")
            assert "**Look:**" in content
            assert "**Do:**" in content


def test_alerts_are_mailed(plans: dict[str, Plan]) -> None:
    for policy in plans["everything"].of("google_monitoring_alert_policy"):
        assert policy.values["notification_channels"], policy.address


def test_every_metric_has_a_tile_with_its_meaning(plan: Plan) -> None:
    (dashboard,) = plan.of("google_monitoring_dashboard")
    tiles = json.loads(dashboard.values["dashboard_json"])["mosaicLayout"]["tiles"]
    titles = [tile["widget"]["title"] for tile in tiles]
    for metric in METRICS:
        assert sum(title.startswith(metric.name.replace("_", " ")) and metric.meaning in title for title in titles) == 1


def test_tiles_do_not_overlap(plan: Plan) -> None:
    (dashboard,) = plan.of("google_monitoring_dashboard")
    layout = json.loads(dashboard.values["dashboard_json"])["mosaicLayout"]
    taken = [
        (x, y)
        for tile in layout["tiles"]
        for x in range(tile["xPos"], tile["xPos"] + tile["width"])
        for y in range(tile["yPos"], tile["yPos"] + tile["height"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < layout["columns"]


def test_queries_use_existing_metrics_and_labels(plan: Plan) -> None:
    """A query for a missing metric is no error anywhere: its tile stays empty and its alert silent."""
    ours = {f"logging_googleapis_com:user_{each.values['name'].replace('/', '_')}": each for each in made(plan)}
    queried = set()
    for query in queries(plan):
        for name, suffix in re.findall(r"(logging_googleapis_com:user_\w+?)(_bucket|_sum|_count|)\{", query):
            queried.add(name)
            kind = only(ours[name].values["metric_descriptor"])["value_type"]
            assert (kind == "DISTRIBUTION") == bool(suffix), query
            labels = {label["key"] for label in only(ours[name].values["metric_descriptor"])["labels"]}
            for grouped in re.findall(r"sum by \(([\w, ]*)\) \(increase\(" + name, query):
                assert set(filter(None, grouped.split(", "))) - {"le"} <= labels, query
    assert queried == set(ours)


def test_old_events_and_dead_letters_are_noticed_in_every_subscription_that_may_have_them(plan: Plan) -> None:
    """Eventarc names its subscription after its trigger; PromQL matches the whole of a label."""
    of_eventarc = {f"eventarc-europe-west4-{resources.FIRESTORE_TRIGGER.name}-sub-123"}
    with_dead_letters = {each.name for each in resources.SUBSCRIPTIONS if each.dead_letter_topic}
    tasks = set(resources.TASK_TOPICS.values())
    watched = {
        "Upload events are old": {resources.UPLOADS_TOPIC} | of_eventarc,
        "Queue is old": tasks,
        "Dead letters": with_dead_letters,
    }
    everything = of_eventarc | {each.name for each in resources.SUBSCRIPTIONS}
    for policy in plan.of("google_monitoring_alert_policy"):
        if expected := watched.pop(policy.values["display_name"], None):
            query = only(only(policy.values["conditions"])["condition_prometheus_query_language"])["query"]
            (pattern,) = re.findall(r'subscription_id=~"([^"]+)"', query)
            assert {name for name in everything if re.fullmatch(pattern, name)} == expected
    assert not watched


def made(plan: Plan) -> list[Resource]:
    return plan.of("google_logging_metric")


def queries(plan: Plan) -> list[str]:
    (dashboard,) = plan.of("google_monitoring_dashboard")
    found = re.findall(r'"prometheusQuery": ?"((?:[^"\\]|\\.)*)"', dashboard.values["dashboard_json"])
    for policy in plan.of("google_monitoring_alert_policy"):
        for condition in policy.values["conditions"]:
            found += [each["query"] for each in condition["condition_prometheus_query_language"]]
    return found


def test_a_log_line_becomes_the_metric_that_the_code_describes(plan: Plan) -> None:
    planned = {metric.values["name"]: metric.values for metric in plan.of("google_logging_metric")}
    for metric in METRICS:
        if metric.platform:
            continue
        values = planned.pop(f"speechpipe/{metric.name}")
        assert all(f'"{action}"' in values["filter"] for action in metric.actions)
        assert values["value_extractor"] == (f"EXTRACT(jsonPayload.{metric.field})" if metric.field else None)
        assert values["label_extractors"] == {label: f"EXTRACT(jsonPayload.{label})" for label in metric.labels}
    assert planned == {}


def test_the_warm_up_requests_a_path_that_the_worker_serves_and_google_does_not_block(plans: dict[str, Plan]) -> None:
    """Google blocks paths that end in z (https://cloud.google.com/run/docs/known-issues)."""
    plan = plans["everything"]
    jobs = {only(job.values["http_target"])["uri"]: job for job in plan.of("google_cloud_scheduler_job")}
    for name in (Service.STT_WORKER, Service.SER_WORKER):
        worker = services(plan)[name]
        (path,) = [urlsplit(uri).path for uri in jobs if uri.startswith(worker.values["uri"])]
        assert path in get_paths(worker)
        assert not path.endswith("z")


def test_the_readme_lists_every_variable_with_its_description() -> None:
    variables = dict(re.findall(r'variable "(\w+)" \{\n  description = "(.*)"\n', (INFRA / "variables.tf").read_text()))
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \| [^|]* \|$", (INFRA / "README.md").read_text(), re.MULTILINE))
    assert rows == {name: description.replace('\\"', '"') for name, description in variables.items()}
