"""Terraform plans exactly what the code describes, reads and serves."""

from __future__ import annotations

import importlib
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.routing import Route

from functions import reconcile
from speechpipe.backends.gcp import indexes
from speechpipe.backends.ports import Backend
from speechpipe.contract import Stage, resources
from speechpipe.contract.resources import Service, Subscription
from speechpipe.settings import CallerSettings, FunctionSettings, WorkerSettings, read
from tests.infra.terraform import INFRA, Plan, Resource
from workers.service import create_app

pytestmark = pytest.mark.infra

ROOT = INFRA.parent
#: Environment variables that are not read by our settings.
ELSEWHERE = {
    "FUNCTION_TARGET": "functions-framework",
    "FUNCTION_SOURCE": "functions-framework",
}
BACKOFF = ("minimum_backoff", "maximum_backoff")


def only(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the only block."""
    (block,) = blocks
    return block


def container(service: Resource) -> dict[str, Any]:
    return only(only(service.values["template"])["containers"])


def environment(service: Resource) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container(service)["env"]}


def services(plan: Plan) -> dict[Service, Resource]:
    """Map each function or worker to its planned service."""
    found = {}
    for resource in plan.of("google_cloud_run_v2_service"):
        variables = environment(resource)
        if "SPEECHPIPE_IAP_AUDIENCE" in variables:  # the console is not part of the pipeline
            continue
        stage = variables.get("SPEECHPIPE_STAGE")
        found[resources.WORKERS[Stage(stage)] if stage else Service(variables["FUNCTION_TARGET"])] = resource
    return found


def seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


def last(path: str) -> str:
    return path.split("/")[-1]


def described(planned: Resource, plan: Plan) -> Subscription:
    """Convert a planned subscription to the type in `resources`."""
    values = planned.values
    endpoints = {f"{service.values['uri']}/": name for name, service in services(plan).items()}
    push = only(values["push_config"]) if values["push_config"] else None
    retry = only(values["retry_policy"]) if values["retry_policy"] else dict.fromkeys(BACKOFF, "0s")
    dead = only(values["dead_letter_policy"]) if values["dead_letter_policy"] else None
    return Subscription(
        name=values["name"],
        topic=last(values["topic"]),
        push_to=endpoints[push["push_endpoint"]] if push else None,
        ack_deadline_seconds=values["ack_deadline_seconds"],
        minimum_backoff_seconds=seconds(retry["minimum_backoff"]),
        maximum_backoff_seconds=seconds(retry["maximum_backoff"]),
        dead_letter_topic=last(dead["dead_letter_topic"]) if dead else None,
        max_delivery_attempts=dead["max_delivery_attempts"] if dead else None,
        retention_seconds=seconds(values["message_retention_duration"]),
        expires=only(values["expiration_policy"])["ttl"] != "",
    )


def test_topics_are_those_of_the_code(plan: Plan) -> None:
    assert {topic.values["name"] for topic in plan.of("google_pubsub_topic")} == set(resources.TOPICS)


def test_subscriptions_are_those_of_the_code(plan: Plan) -> None:
    planned = {described(each, plan) for each in plan.of("google_pubsub_subscription")}
    assert planned == set(resources.SUBSCRIPTIONS)


def test_services_are_those_of_the_code(plan: Plan) -> None:
    assert set(services(plan)) == set(Service)


@pytest.mark.parametrize("name", Service)
def test_a_service_gets_the_variables_that_it_reads_and_no_others(plan: Plan, name: Service) -> None:
    kind = FunctionSettings if name in resources.FUNCTIONS else WorkerSettings
    given = environment(services(plan)[name])
    settings = read(kind, given)
    assert set(given) - {field.alias for field in kind.model_fields.values()} <= set(ELSEWHERE)
    buckets = {bucket.values["name"] for bucket in plan.of("google_storage_bucket")}
    assert {settings.uploads_bucket, settings.results_bucket} <= buckets
    assert settings.uploads_bucket != settings.results_bucket
    assert settings.database == only_of(plan, "google_firestore_database").values["name"]


def only_of(plan: Plan, type_: str) -> Resource:
    (resource,) = plan.of(type_)
    return resource


@pytest.mark.parametrize("name", resources.FUNCTIONS)
def test_a_functions_entry_point_exists(plan: Plan, name: Service) -> None:
    given = environment(services(plan)[name])
    source = Path(given["FUNCTION_SOURCE"])
    assert (ROOT / source).is_file()
    module = importlib.import_module(".".join(source.with_suffix("").parts))
    assert callable(getattr(module, given["FUNCTION_TARGET"]))


@pytest.mark.parametrize("stage", Stage)
def test_a_worker_gets_as_many_requests_as_its_process_admits(plan: Plan, stage: Stage) -> None:
    service = services(plan)[resources.WORKERS[stage]]
    settings = read(WorkerSettings, environment(service))
    assert settings.stage is stage
    admitted = settings.concurrency + settings.waiting_room
    assert only(service.values["template"])["max_instance_request_concurrency"] == admitted
    assert settings.waiting_room == resources.WAITING_ROOM


@pytest.mark.parametrize("stage", Stage)
def test_a_request_ends_before_its_timeout_and_its_ack_deadline(plan: Plan, stage: Stage) -> None:
    service = services(plan)[resources.WORKERS[stage]]
    settings = read(WorkerSettings, environment(service))
    timeout = seconds(only(service.values["template"])["timeout"])
    assert settings.request_seconds <= timeout < resources.ACK_DEADLINE_SECONDS


def test_no_pushed_request_outlives_its_ack_deadline(plan: Plan) -> None:
    for subscription in resources.SUBSCRIPTIONS:
        if subscription.push_to:
            service = services(plan)[subscription.push_to]
            assert seconds(only(service.values["template"])["timeout"]) <= subscription.ack_deadline_seconds


def get_paths(service: Resource) -> set[str]:
    """Return the paths that a worker serves to GET requests."""
    nothing: Any = None
    backend = Backend(**dict.fromkeys((port.name for port in fields(Backend)), nothing))
    app = create_app(read(WorkerSettings, environment(service)), backend, nothing)
    return {route.path for route in app.routes if isinstance(route, Route) and "GET" in (route.methods or ())}


@pytest.mark.parametrize("stage", Stage)
def test_a_workers_probes_use_paths_that_it_serves(plan: Plan, stage: Stage) -> None:
    service = services(plan)[resources.WORKERS[stage]]
    probed = container(service)
    paths = {only(only(probed[probe])["http_get"])["path"] for probe in ("startup_probe", "liveness_probe")}
    assert paths <= get_paths(service)


@pytest.mark.parametrize("name", resources.FUNCTIONS)
def test_a_function_is_probed_over_tcp_because_it_answers_405_to_a_get(plan: Plan, name: Service) -> None:
    probe = only(container(services(plan)[name])["startup_probe"])
    assert probe["tcp_socket"]
    assert not probe["http_get"]


def triggers(plan: Plan) -> dict[str, Resource]:
    """Map event types to their triggers."""
    return {filters(trigger)["type"][0]: trigger for trigger in plan.of("google_eventarc_trigger")}


def filters(trigger: Resource) -> dict[str, tuple[str, str]]:
    """Map each attribute to its value and operator."""
    return {each["attribute"]: (each["value"], each["operator"] or "") for each in trigger.values["matching_criteria"]}


def test_every_upload_is_announced_on_the_topic_that_is_pushed_to_ingest(plan: Plan) -> None:
    """Without a prefix: changing one replaces the notification, and uploads in between would have no event."""
    notification = only_of(plan, "google_storage_notification").values
    wanted = resources.UPLOADS_NOTIFICATION
    ingest = services(plan)[Service.INGEST]
    assert notification["bucket"] == read(FunctionSettings, environment(ingest)).uploads_bucket
    assert notification["payload_format"] == wanted.payload_format
    assert notification["event_types"] == [wanted.event_type]
    assert notification["object_name_prefix"] is None
    assert last(notification["topic"]) == wanted.topic
    pushed = [each for each in resources.SUBSCRIPTIONS if each.topic == wanted.topic]
    assert [(each.push_to, each.ack_deadline_seconds) for each in pushed] == [(Service.INGEST, 600)]
    assert pushed[0].retention_seconds == 31 * 24 * 3600
    assert pushed[0].dead_letter_topic in {each.topic for each in resources.SUBSCRIPTIONS}  # or they would be lost


def test_a_new_partial_calls_join(plan: Plan) -> None:
    """The wildcard needs `match-path-pattern`, and join reads protobuf."""
    trigger = triggers(plan)[resources.FIRESTORE_TRIGGER.event_type]
    service = services(plan)[resources.FIRESTORE_TRIGGER.service]
    database = only_of(plan, "google_firestore_database")
    assert filters(trigger) == {
        "type": (resources.FIRESTORE_TRIGGER.event_type, ""),
        "database": (database.values["name"], ""),
        "document": (resources.FIRESTORE_TRIGGER.document, "match-path-pattern"),
    }
    assert called(trigger) == service.values["name"]
    assert trigger.values["name"] == resources.FIRESTORE_TRIGGER.name
    assert trigger.values["event_data_content_type"] == "application/protobuf"
    assert trigger.values["location"] == database.values["location_id"]


def called(trigger: Resource) -> str:
    """Return the name of the service that a trigger calls."""
    name = only(only(trigger.values["destination"])["cloud_run_service"])["service"]
    assert isinstance(name, str)
    return name


def test_a_failed_event_is_redelivered(plan: Plan) -> None:
    """The default; the only policy that can be set is a single attempt."""
    assert [trigger.address for trigger in triggers(plan).values() if trigger.values["retry_policy"]] == []


@pytest.mark.parametrize("name", resources.SCHEDULES)
def test_a_function_is_called_on_the_schedule_in_the_code(plan: Plan, name: Service) -> None:
    service = services(plan)[name]
    calls = {only(job.values["http_target"])["uri"]: job for job in plan.of("google_cloud_scheduler_job")}
    job = calls[f"{service.values['uri']}/"]
    assert job.values["schedule"] == resources.SCHEDULES[name].cron
    assert not job.values["paused"]
    assert job.values["attempt_deadline"] == only(service.values["template"])["timeout"]


def test_reconcile_stops_before_its_request_times_out(plan: Plan) -> None:
    """So that it can still say what it has not looked at; looking up and ingesting its last page takes a while too."""
    timeout = seconds(only(services(plan)[Service.RECONCILE].values["template"])["timeout"])
    assert timeout - 300 >= reconcile.SECONDS
    assert timeout <= 1800  # the most that Cloud Scheduler waits


def tokens(plan: Plan) -> list[tuple[str, str, str]]:
    """Return the called address, account and audience of every token that a push or schedule sends."""
    found = []
    for subscription in plan.of("google_pubsub_subscription"):
        for push in subscription.values["push_config"]:
            found.append((push["push_endpoint"], only(push["oidc_token"])))
    for job in plan.of("google_cloud_scheduler_job"):
        target = only(job.values["http_target"])
        found.append((target["uri"], only(target["oidc_token"])))
    return [(address, token["service_account_email"], token["audience"]) for address, token in found]


def test_a_token_has_the_account_and_audience_that_its_service_expects(plan: Plan) -> None:
    """So that both Cloud Run and the service itself accept it."""
    addresses = {service.values["uri"]: service for service in services(plan).values()}
    for address, account, audience in tokens(plan):
        service = addresses["/".join(address.split("/")[:3])]
        assert audience in {service.values["uri"], *service.values["custom_audiences"]}
        expected = read(CallerSettings, environment(service))
        assert expected.callers == (account,)
        assert expected.audience == audience
        assert urlsplit(audience).path == ""  # Cloud Run rejects an audience with a path


@pytest.mark.parametrize("name", Service)
def test_every_service_verifies_its_caller_which_calls_nothing_else(plan: Plan, name: Service) -> None:
    callers = {each: read(CallerSettings, environment(service)).callers for each, service in services(plan).items()}
    (caller,) = callers.pop(name)
    assert (caller,) not in callers.values()
    service = services(plan)[name]
    (invoker,) = [
        member.values["member"]
        for member in plan.of("google_cloud_run_v2_service_iam_member")
        if member.values["name"] == service.values["name"]
    ]
    assert invoker == f"serviceAccount:{caller}"


def test_only_services_called_by_eventarc_leave_the_audience_to_cloud_run(plan: Plan) -> None:
    """Eventarc does not document which of a service's addresses it uses as the audience."""
    unchecked = {
        name for name, service in services(plan).items() if read(CallerSettings, environment(service)).audience is None
    }
    assert unchecked == {resources.FIRESTORE_TRIGGER.service}
    for trigger in triggers(plan).values():
        (service,) = [each for each in services(plan).values() if each.values["name"] == called(trigger)]
        assert read(CallerSettings, environment(service)).callers == (trigger.values["service_account"],)


def test_firestore_has_the_indexes_that_our_queries_need(plan: Plan) -> None:
    planned = {
        tuple((field["field_path"], field["order"]) for field in index.values["fields"])
        for index in plan.of("google_firestore_index")
        if index.values["collection"] == "recordings"
    }
    assert planned == set(indexes.COMPOSITE_INDEXES)


def test_firestore_deletes_expired_documents(plan: Plan) -> None:
    fields = plan.of("google_firestore_field")
    timed = {(each.values["collection"], each.values["field"]) for each in fields if each.values["ttl_config"]}
    assert timed == set(indexes.TIME_TO_LIVE)


def test_firestore_does_not_index_bulky_fields(plan: Plan) -> None:
    fields = plan.of("google_firestore_field")
    exempt = {
        (each.values["collection"], each.values["field"])
        for each in fields
        if [config["indexes"] for config in each.values["index_config"]] == [[]]
    }
    assert exempt - set(indexes.TIME_TO_LIVE) == set(indexes.UNINDEXED)


def test_fields_and_indexes_are_in_the_one_database(plan: Plan) -> None:
    database = only_of(plan, "google_firestore_database").values["name"]
    parts = plan.of("google_firestore_field") + plan.of("google_firestore_index")
    assert {part.values["database"] for part in parts} == {database}


def test_a_warm_up_requests_a_path_that_a_worker_serves(plan: Plan) -> None:
    """And one that Google does not block, as it does paths that end in z."""
    for stage in Stage:
        service = services(plan)[resources.WORKERS[stage]]
        paths = get_paths(service)
        for job in plan.of("google_cloud_scheduler_job"):
            target = only(job.values["http_target"])
            host, _, path = target["uri"].removeprefix("https://").partition("/")
            if service.values["uri"] == f"https://{host}":
                assert target["http_method"] == "GET"
                assert f"/{path}" in paths
                assert not path.endswith("z")


def test_warm_up_covers_both_workers(plans: dict[str, Plan]) -> None:
    warmed = plans["everything"].of("google_cloud_scheduler_job")
    assert len(warmed) == len(plans["defaults"].of("google_cloud_scheduler_job")) + len(Stage)
