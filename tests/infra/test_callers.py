"""Cloud Run checks every caller of every service: what the services' own check of forwarded tokens relies on."""

from __future__ import annotations

import json

import pytest

from tests.infra.conftest import Initialised
from tests.infra.terraform import Plan
from tests.infra.test_stand_in import PROVIDERS

pytestmark = pytest.mark.infra

EVERYBODY = ("allUsers", "allAuthenticatedUsers")
#: The same switch as `invoker_iam_disabled`, as an annotation.
ANNOTATION = "run.googleapis.com/invoker-iam-disabled"


def unchecked(plan: Plan) -> set[str]:
    """The addresses of resources that let in callers whom Cloud Run has not checked, or anybody at all."""
    found = set()
    for address, resource in plan.resources.items():
        values = resource.values
        if any(f'"{who}"' in json.dumps(values) for who in EVERYBODY):
            found.add(address)
        annotated = (values.get("annotations") or {}).get(ANNOTATION)
        if values.get("invoker_iam_disabled") or annotated == "true":
            found.add(address)
    return found


def test_cloud_run_checks_every_caller(plan: Plan) -> None:
    assert len(plan.of("google_cloud_run_v2_service")) >= 6
    assert unchecked(plan) == set()


SERVICE = """
resource "google_cloud_run_v2_service" "worker" {{
  name     = "worker"
  location = "europe-west4"
  template {{
    containers {{ image = "example" }}
  }}
  {more}
}}
resource "google_cloud_run_v2_service_iam_member" "caller" {{
  name     = google_cloud_run_v2_service.worker.name
  location = google_cloud_run_v2_service.worker.location
  role     = "roles/run.invoker"
  member   = "{member}"
}}
"""
ONE = "serviceAccount:one@example-project.iam.gserviceaccount.com"


@pytest.mark.parametrize(
    ("more", "member", "found"),
    [
        ("", ONE, set()),
        ("", "allUsers", {"google_cloud_run_v2_service_iam_member.caller"}),
        ("", "allAuthenticatedUsers", {"google_cloud_run_v2_service_iam_member.caller"}),
        ("invoker_iam_disabled = true", ONE, {"google_cloud_run_v2_service.worker"}),
        (f'annotations = {{ "{ANNOTATION}" = "true" }}', ONE, {"google_cloud_run_v2_service.worker"}),
    ],
    ids=["one account", "all users", "all with an account", "switched off", "switched off by annotation"],
)
def test_an_open_service_would_be_found(initialised: Initialised, more: str, member: str, found: set[str]) -> None:
    text = PROVIDERS + SERVICE.format(more=more, member=member)
    assert unchecked(initialised(text).plan({"project": "example-project"})) == found
