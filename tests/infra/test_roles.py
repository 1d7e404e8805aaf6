"""Who may do what is what was meant, and the page says so."""

from __future__ import annotations

from collections import defaultdict

import pytest

from tests.infra.conftest import Initialised
from tests.infra.roles import PAGE, grants, written
from tests.infra.terraform import INFRA, Plan
from tests.infra.test_stand_in import PROVIDERS

pytestmark = pytest.mark.infra

UPLOADS = "bucket PROJECT-speechpipe-uploads"
RESULTS = "bucket PROJECT-speechpipe-results"
#: What every service of ours needs: documents in the one database, and spans sent to Cloud Trace.
OURS = {("project, database", "datastore.user"), ("project", "telemetry.tracesWriter")}
KEY = ("key data", "cloudkms.cryptoKeyEncrypterDecrypter")

#: identity -> what it may do on what. Written from what the code does, not from infra/.
INTENDED = {
    # Reads a file's header for its length, and publishes the tasks.
    "speechpipe-ingest": OURS
    | {
        (UPLOADS, "storage.objectViewer"),
        ("topic stt-tasks", "pubsub.publisher"),
        ("topic ser-tasks", "pubsub.publisher"),
    },
    # Reads large analyses and small recordings, writes the record's files, deletes those of an erased one, announces.
    "speechpipe-join": OURS
    | {
        (UPLOADS, "storage.objectViewer"),
        (RESULTS, "storage.objectUser"),
        ("topic completions", "pubsub.publisher"),
    },
    # Creates a partial; the join follows by itself.
    "speechpipe-give-up": OURS,
    # Publishes tasks again, and joins what was left.
    "speechpipe-sweep": OURS
    | {
        (UPLOADS, "storage.objectViewer"),
        (RESULTS, "storage.objectUser"),
        ("topic completions", "pubsub.publisher"),
        ("topic stt-tasks", "pubsub.publisher"),
        ("topic ser-tasks", "pubsub.publisher"),
    },
    # No role on Pub/Sub: tasks are pushed. A large analysis of a recording that was erased meanwhile is deleted.
    "speechpipe-stt-worker": OURS | {(UPLOADS, "storage.objectViewer"), (RESULTS, "storage.objectUser")},
    "speechpipe-ser-worker": OURS | {(UPLOADS, "storage.objectViewer"), (RESULTS, "storage.objectUser")},
    # What an operator may with recordings, for people with a browser: no queues, logs or figures.
    "speechpipe-console": {
        ("project, database", "datastore.user"),
        (UPLOADS, "storage.objectUser"),
        (RESULTS, "storage.objectUser"),
        ("topic completions", "pubsub.publisher"),
        ("topic stt-tasks", "pubsub.publisher"),
        ("topic ser-tasks", "pubsub.publisher"),
    },
    "service-NUMBER@gcp-sa-iap.iam.gserviceaccount.com": {("service speechpipe-console", "run.invoker")},
    # Whoever calls a service may call that one only.
    "speechpipe-stt-worker-caller": {("service speechpipe-stt-worker", "run.invoker")},
    "speechpipe-ser-worker-caller": {("service speechpipe-ser-worker", "run.invoker")},
    "speechpipe-give-up-caller": {("service speechpipe-give-up", "run.invoker")},
    "speechpipe-sweep-caller": {("service speechpipe-sweep", "run.invoker")},
    # Eventarc's role exists on projects only.
    "speechpipe-ingest-caller": {("service speechpipe-ingest", "run.invoker"), ("project", "eventarc.eventReceiver")},
    "speechpipe-join-caller": {("service speechpipe-join", "run.invoker"), ("project", "eventarc.eventReceiver")},
    # Pushes images and deploys nothing: the deployment is Terraform's, by whoever runs it.
    "speechpipe-build": {
        ("bucket PROJECT-speechpipe-source", "storage.objectViewer"),
        ("repository speechpipe", "artifactregistry.writer"),
        ("project", "logging.logWriter"),
    },
    # Google's agents: dead letters want both ends, or a task is tried for ever. Eventarc names its topic itself, so
    # Cloud Storage gets its role on the project.
    "service-NUMBER@gcp-sa-pubsub.iam.gserviceaccount.com": {
        KEY,
        ("topic dead-tasks", "pubsub.publisher"),
        ("subscription stt-tasks", "pubsub.subscriber"),
        ("subscription ser-tasks", "pubsub.subscriber"),
    },
    "service-NUMBER@gs-project-accounts.iam.gserviceaccount.com": {KEY, ("project", "pubsub.publisher")},
    "service-NUMBER@gcp-sa-eventarc.iam.gserviceaccount.com": {("project", "eventarc.serviceAgent")},
    "service-NUMBER@gcp-sa-firestore.iam.gserviceaccount.com": {KEY},
    "service-NUMBER@gcp-sa-artifactregistry.iam.gserviceaccount.com": {KEY},
    "service-NUMBER@serverless-robot-prod.iam.gserviceaccount.com": {KEY},
    # People. Uploaders can put files and not read any.
    "var.uploaders": {(UPLOADS, "storage.objectCreator")},
    "var.readers": {
        (RESULTS, "storage.objectViewer"),
        ("project, database", "datastore.viewer"),
        ("subscription completions", "pubsub.subscriber"),
    },
    # Releases, runs again and backfills write documents and publish tasks; a replay and an erasure announce, and an
    # erasure deletes files. They look at services, queues, logs, figures and traces, and the roles for that exist on
    # projects only.
    # Through the proxy, to all that the console does.
    "var.console.users": {("proxy before speechpipe-console", "iap.httpsResourceAccessor")},
    "var.operators": {
        ("project", "cloudtrace.user"),
        ("project", "logging.viewer"),
        ("project", "monitoring.viewer"),
        ("project", "pubsub.viewer"),
        ("project", "run.viewer"),
        (UPLOADS, "storage.objectUser"),
        (RESULTS, "storage.objectUser"),
        ("project, database", "datastore.user"),
        ("subscription completions", "pubsub.subscriber"),
        ("subscription dead-letters", "pubsub.subscriber"),
        ("topic completions", "pubsub.publisher"),
        ("topic stt-tasks", "pubsub.publisher"),
        ("topic ser-tasks", "pubsub.publisher"),
    },
}
BARE = """
resource "google_project_iam_member" "bare" {
  project = "example-project"
  role    = "roles/viewer"
  member  = "user:ann@example.com"
}
"""


def granted(plan: Plan) -> dict[str, set[tuple[str, str]]]:
    """Identity -> what it may do on what; a condition is named by its first word."""
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for grant in grants(plan, INFRA):
        where, comma, condition = grant.resource.partition(", ")
        found[grant.identity].add((where + comma + condition.split(" ")[0], grant.role))
    return dict(found)


def test_everybody_may_do_what_was_meant_and_no_more(plans: dict[str, Plan]) -> None:
    assert granted(plans["everything"]) == INTENDED


def test_without_options_neither_people_nor_the_key_are_granted_anything(plans: dict[str, Plan]) -> None:
    optional = ("var.", "speechpipe-console", "service-NUMBER@gcp-sa-iap")
    ours = {who: what - {KEY} for who, what in INTENDED.items() if not who.startswith(optional)}
    assert granted(plans["defaults"]) == {who: what for who, what in ours.items() if what}


def test_every_account_that_is_made_is_used(plan: Plan) -> None:
    made = {account.values["account_id"] for account in plan.of("google_service_account")}
    assert made <= {grant.identity for grant in grants(plan, INFRA)}


def test_the_page_shows_what_is_planned(plans: dict[str, Plan]) -> None:
    page = PAGE.read_text()
    assert written(page, grants(plans["everything"], INFRA)) == page, "`make roles` writes it"


def test_a_role_without_a_reason_is_found(initialised: Initialised) -> None:
    workspace = initialised(PROVIDERS + BARE)
    with pytest.raises(LookupError, match=r"google_project_iam_member\.bare has no `# why:` above it"):
        grants(workspace.plan({"project": "example-project"}), workspace.folder)
