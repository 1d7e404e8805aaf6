"""What Google's platform would refuse, or silently not do, although the provider accepts it."""

from __future__ import annotations

import json
import re

import pytest

from tests.infra.roles import GUARDED
from tests.infra.terraform import INFRA, Plan, Resource, Workspace
from tests.infra.variables import REQUIRED

pytestmark = pytest.mark.infra

DEPLOY_PAGE = INFRA.parent / "docs" / "deploy.md"
#: The role that grants access to each kind of thing, which the basic role Editor does not
#: (https://cloud.google.com/iam/docs/roles-overview#legacy-roles).
GRANTING = {
    "google_artifact_registry_repository_iam_member": "roles/artifactregistry.admin",
    "google_cloud_run_v2_service_iam_member": "roles/run.admin",
    "google_iap_web_cloud_run_service_iam_member": "roles/iap.admin",
    "google_kms_crypto_key_iam_member": "roles/cloudkms.admin",
    "google_project_iam_member": "roles/resourcemanager.projectIamAdmin",
    "google_pubsub_subscription_iam_member": "roles/pubsub.admin",
    "google_pubsub_topic_iam_member": "roles/pubsub.admin",
    "google_service_account_iam_member": "roles/iam.serviceAccountAdmin",
    "google_storage_bucket_iam_member": "roles/storage.admin",
}


def test_no_rules_are_released_because_google_may_have_released_some_already(plan: Plan) -> None:
    assert not [resource.address for resource in plan.resources.values() if "firebaserules" in resource.type]


def test_pubsub_may_sign_the_token_of_every_push(plan: Plan) -> None:
    """Eventarc's too, which are pushed by subscriptions that Eventarc makes with its trigger's account."""
    pushing = {
        token["service_account_email"]
        for subscription in plan.of("google_pubsub_subscription")
        for push in subscription.values["push_config"]
        for token in push["oidc_token"]
    } | {trigger.values["service_account"] for trigger in plan.of("google_eventarc_trigger")}
    signed = {
        grant.values["service_account_id"].rpartition("/")[2]
        for grant in plan.of("google_service_account_iam_member")
        if grant.values["role"] == "roles/iam.serviceAccountTokenCreator"
        and re.search(r"service-\d+@gcp-sa-pubsub\.", grant.values["member"])
    }
    assert signed == pushing


def test_a_probe_gives_up_before_the_next_one_is_due(plan: Plan) -> None:
    probes = [
        probe
        for service in plan.of("google_cloud_run_v2_service")
        for template in service.values["template"]
        for container in template["containers"]
        for probe in (*container["startup_probe"], *container["liveness_probe"])
    ]
    assert len(probes) >= 8
    assert all(probe["timeout_seconds"] < probe["period_seconds"] for probe in probes)


def test_the_printed_address_of_the_console_is_one_that_may_upload(plans: dict[str, Plan]) -> None:
    plan = plans["everything"]
    (uploads,) = [each for each in plan.of("google_storage_bucket") if each.values["name"].endswith("-uploads")]
    origins = {origin for cors in uploads.values["cors"] for origin in cors["origin"]}
    assert plan.outputs["console"] in origins
    assert re.fullmatch(r"https://speechpipe-console-\d+\.europe-west4\.run\.app", plan.outputs["console"])


def workers(plan: Plan) -> list[Resource]:
    return [each for each in plan.of("google_cloud_run_v2_service") if each.values["name"].endswith("-worker")]


def test_a_gpu_in_preview_is_asked_for_as_such(plans: dict[str, Plan]) -> None:
    assert {worker.values["launch_stage"] for worker in workers(plans["everything"])} == {"BETA"}
    assert "BETA" not in {worker.values["launch_stage"] for worker in workers(plans["defaults"])}


def test_a_new_projects_quota_leaves_a_gpu_for_an_update(plans: dict[str, Plan]) -> None:
    """Three L4, 20 vCPUs and 40 GiB a region; a new revision starts beside the old one."""
    templates = [template for worker in workers(plans["defaults"]) for template in worker.values["template"]]
    instances = [template["scaling"][0]["max_instance_count"] for template in templates]
    limits = [template["containers"][0]["resources"][0]["limits"] for template in templates]
    assert sum(instances) <= 2
    assert sum(n * int(each["cpu"]) for n, each in zip(instances, limits, strict=True)) <= 20
    assert sum(n * int(each["memory"].removesuffix("Gi")) for n, each in zip(instances, limits, strict=True)) <= 40


def test_running_images_outlive_those_of_the_cache(plan: Plan) -> None:
    """A build pushes four new versions of `cache`, and one of each image."""
    (registry,) = plan.of("google_artifact_registry_repository")
    (kept,) = [policy for policy in registry.values["cleanup_policies"] if policy["action"] == "KEEP"]
    assert kept["most_recent_versions"][0]["keep_count"] >= 30


def test_legends_name_labels_of_their_query_as_the_api_wants(plan: Plan) -> None:
    """As `${label}` (https://cloud.google.com/monitoring/api/ref_v3/rest/v1/projects.dashboards#DataSet)."""
    (board,) = (json.loads(each.values["dashboard_json"]) for each in plan.of("google_monitoring_dashboard"))
    sets = [each for tile in board["mosaicLayout"]["tiles"] for each in tile["widget"]["xyChart"]["dataSets"]]
    named = 0
    for each in sets:
        assert "{{" not in each["legendTemplate"]
        for label in re.findall(r"\$\{(\w+)\}", each["legendTemplate"]):
            named += 1
            assert re.search(rf"by \([^)]*\b{label}\b", each["timeSeriesQuery"]["prometheusQuery"]), each
    assert named > 20


def test_the_page_names_a_role_for_every_kind_of_grant(plans: dict[str, Plan]) -> None:
    assert set(GRANTING) == set(GUARDED)
    page = DEPLOY_PAGE.read_text()
    kinds = {resource.type for resource in plans["everything"].resources.values() if "_iam_" in resource.type}
    assert [GRANTING[kind] for kind in sorted(kinds) if f"`{GRANTING[kind]}`" not in page] == []


def test_the_choices_are_in_the_state_for_the_next_deployment(infra: Workspace) -> None:
    chosen = infra.plan(REQUIRED | {"accelerator": "none", "models": "demo"}).outputs["choices"]
    assert chosen == {"accelerator": "none", "models": "demo"}
