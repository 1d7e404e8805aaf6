"""The stand-in provider: the real Terraform finds the mistakes it would find with the real provider, and plans resolve.

`terraform validate` checks argument names at every depth against provider_schema.json, whose names come from the
documentation of 7.45. It also checks types, required arguments and references.
"""

from __future__ import annotations

import pytest

from tests.infra.conftest import Initialised
from tests.infra.terraform import TerraformFailed

pytestmark = pytest.mark.infra

PROVIDERS = """
terraform {
  required_providers {
    google      = { source = "hashicorp/google", version = "~> 7.45" }
    google-beta = { source = "hashicorp/google-beta", version = "~> 7.45" }
  }
  backend "gcs" {}
}
variable "project" { type = string }
provider "google" {
  project = var.project
  region  = "europe-west4"
}
provider "google-beta" { project = var.project }
"""
SYSTEM = """
data "google_project" "this" {}
resource "google_service_account" "push" { account_id = "push" }
resource "google_pubsub_topic" "tasks" { name = "tasks" }
resource "google_cloud_run_v2_service" "worker" {
  name     = "worker"
  location = "europe-west4"
  template {
    service_account = google_service_account.push.email
    containers { image = "example" }
  }
}
resource "google_pubsub_subscription" "tasks" {
  name  = "tasks"
  topic = google_pubsub_topic.tasks.id
  push_config {
    push_endpoint = "${google_cloud_run_v2_service.worker.uri}/tasks"
    oidc_token { service_account_email = google_service_account.push.email }
  }
}
resource "google_project_service_identity" "pubsub" {
  provider = google-beta
  service  = "pubsub.googleapis.com"
}
resource "google_pubsub_topic_iam_member" "agent" {
  topic  = google_pubsub_topic.tasks.name
  role   = "roles/pubsub.publisher"
  member = google_project_service_identity.pubsub.member
}
output "number" { value = data.google_project.this.number }
"""


def test_a_plan_shows_every_reference_resolved(initialised: Initialised) -> None:
    plan = initialised(PROVIDERS + SYSTEM).plan({"project": "example-project"})
    (subscription,) = plan.of("google_pubsub_subscription")
    push = subscription.values["push_config"][0]
    assert subscription.values["topic"] == "projects/example-project/topics/tasks"
    assert push["push_endpoint"] == "https://worker-123456789012.europe-west4.run.app/tasks"
    assert push["oidc_token"][0]["service_account_email"] == "push@example-project.iam.gserviceaccount.com"
    (member,) = plan.of("google_pubsub_topic_iam_member")
    assert member.values["member"] == "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"
    assert plan.outputs == {"number": "123456789012"}


def test_an_applied_configuration_needs_no_change_and_can_be_destroyed(initialised: Initialised) -> None:
    workspace = initialised(PROVIDERS + SYSTEM)
    project = "-var=project=example-project"
    assert "6 added" in workspace.run("apply", "-auto-approve", project)
    assert "No changes" in workspace.run("plan", project)
    assert "6 destroyed" in workspace.run("destroy", "-auto-approve", project)


TOPIC = 'resource "google_pubsub_topic" "tasks" {\n  name = "tasks"\n}\n'


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ('resource "google_pubsub_topic" "t" {\n  nme = "t"\n}', 'An argument named "nme" is not expected here'),
        ('resource "google_pubsub_topic" "t" {}', 'The argument "name" is required, but no definition was found'),
        (
            'resource "google_pubsub_subscription" "s" {\n  name = "s"\n  topic = "t"\n'
            '  ack_deadline_seconds = "long"\n}',
            'Inappropriate value for attribute "ack_deadline_seconds": a number is required',
        ),
        (
            TOPIC
            + 'resource "google_pubsub_subscription" "s" {\n  name = "s"\n  topic = google_pubsub_topic.taks.id\n}',
            'A managed resource "google_pubsub_topic" "taks" has not been declared',
        ),
        (
            TOPIC + 'output "o" {\n  value = google_pubsub_topic.tasks.url\n}',
            'This object has no argument, nested block, or exported attribute named "url"',
        ),
        (
            'resource "google_pubsub_subscription" "s" {\n  name = "s"\n  topic = "t"\n'
            "  dead_letter_policy {\n    attempts = 5\n  }\n}",
            'An argument named "attempts" is not expected here',
        ),
        (
            'resource "google_pubsub_subscription" "s" {\n  name = "s"\n  topic = "t"\n'
            "  retry_policy {}\n  retry_policy {}\n}",
            'No more than 1 "retry_policy" blocks are allowed',
        ),
        (
            'resource "google_eventarc_trigger" "e" {\n  name = "e"\n  location = "l"\n  destination {}\n}',
            'At least 1 "matching_criteria" blocks are required',
        ),
        (
            'resource "google_project_service_identity" "i" {\n  service = "pubsub.googleapis.com"\n}',
            'does not support resource type "google_project_service_identity"',
        ),
    ],
)
def test_validate_finds_a_mistake_in_terraforms_own_words(initialised: Initialised, wrong: str, message: str) -> None:
    with pytest.raises(TerraformFailed) as failed:
        initialised(PROVIDERS + wrong).validate()
    words = " ".join(line.removeprefix("│ ").strip() for line in str(failed.value).splitlines())
    assert message in words


def test_another_provider_version_is_not_available(initialised: Initialised) -> None:
    with pytest.raises(TerraformFailed, match="no available releases match the given constraints"):
        initialised(PROVIDERS.replace("~> 7.45", "~> 8.0"))


def test_tests_with_mocked_providers_run(initialised: Initialised) -> None:
    workspace = initialised(PROVIDERS + SYSTEM)
    (workspace.folder / "worker.tftest.hcl").write_text("""
mock_provider "google" {}
mock_provider "google-beta" {}
variables { project = "example-project" }
run "name" {
  command = plan
  assert {
    condition     = google_pubsub_topic.tasks.name == "tasks"
    error_message = "the topic is called ${google_pubsub_topic.tasks.name}"
  }
}
run "number" {
  assert {
    condition     = output.number == "0"
    error_message = "the number is ${output.number}"
  }
}
""")
    with pytest.raises(TerraformFailed, match="1 passed, 1 failed"):
        workspace.test()
