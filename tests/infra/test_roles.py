"""The planned roles are the intended ones, and docs/roles.md lists them."""

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
#: Needed by every service of ours: documents in the one database, and exporting spans to Cloud Trace.
OURS = {("project, database", "datastore.user"), ("project", "telemetry.tracesWriter")}
KEY = ("key data", "cloudkms.cryptoKeyEncrypterDecrypter")

TOKENS = "iam.serviceAccountTokenCreator"

#: Identity -> its (resource, role) pairs. Derived from what the code does, not from infra/.
INTENDED = {
    # Reads a file's header to learn its length, and publishes the tasks.
    "speechpipe-ingest": OURS
    | {
        (UPLOADS, "storage.objectViewer"),
        (RESULTS, "storage.objectViewer"),
        (RESULTS, "storage.objectCreator"),
        ("topic stt-tasks", "pubsub.publisher"),
        ("topic ser-tasks", "pubsub.publisher"),
    },
    # Reads large analyses and small recordings, writes the record's files or deletes an erased one's, announces.
    "speechpipe-join": OURS
    | {
        (UPLOADS, "storage.objectViewer"),
        (RESULTS, "storage.objectUser"),
        ("topic completions", "pubsub.publisher"),
    },
    # Creates a partial, which triggers join, or publishes a task again that nobody has failed at.
    "speechpipe-give-up": OURS | {("topic stt-tasks", "pubsub.publisher"), ("topic ser-tasks", "pubsub.publisher")},
    # Republishes lost tasks, and joins what join missed.
    "speechpipe-sweep": OURS
    | {
        (UPLOADS, "storage.objectViewer"),
        (RESULTS, "storage.objectUser"),
        ("topic completions", "pubsub.publisher"),
        ("topic stt-tasks", "pubsub.publisher"),
        ("topic ser-tasks", "pubsub.publisher"),
    },
    # Lists the uploads and does for some of them what ingest does.
    "speechpipe-reconcile": OURS
    | {
        (UPLOADS, "storage.objectViewer"),
        (RESULTS, "storage.objectViewer"),
        (RESULTS, "storage.objectCreator"),
        ("topic stt-tasks", "pubsub.publisher"),
        ("topic ser-tasks", "pubsub.publisher"),
    },
    # No Pub/Sub role, because tasks are pushed. Deletes a large analysis whose recording was erased meanwhile.
    **{
        f"speechpipe-{stage}-worker": OURS
        | {
            (UPLOADS, "storage.objectViewer"),
            (RESULTS, "storage.objectUser"),
            (f"topic {stage}-tasks", "pubsub.publisher"),
        }
        for stage in ("stt", "ser")
    },
    # What an operator may do with recordings, for people with a browser; no queues, logs or metrics.
    "speechpipe-console": {
        ("project, database", "datastore.user"),
        (UPLOADS, "storage.objectUser"),
        (RESULTS, "storage.objectUser"),
        ("topic completions", "pubsub.publisher"),
        ("topic stt-tasks", "pubsub.publisher"),
        ("topic ser-tasks", "pubsub.publisher"),
    },
    "service-NUMBER@gcp-sa-iap.iam.gserviceaccount.com": {("service speechpipe-console", "run.invoker")},
    # Each caller may call one service only.
    "speechpipe-stt-worker-caller": {("service speechpipe-stt-worker", "run.invoker")},
    "speechpipe-ser-worker-caller": {("service speechpipe-ser-worker", "run.invoker")},
    "speechpipe-give-up-caller": {("service speechpipe-give-up", "run.invoker")},
    "speechpipe-sweep-caller": {("service speechpipe-sweep", "run.invoker")},
    "speechpipe-reconcile-caller": {("service speechpipe-reconcile", "run.invoker")},
    "speechpipe-ingest-caller": {("service speechpipe-ingest", "run.invoker")},
    # Eventarc's role can be granted on projects only.
    "speechpipe-join-caller": {("service speechpipe-join", "run.invoker"), ("project", "eventarc.eventReceiver")},
    # Pushes images and cannot deploy: Terraform deploys, as the person who runs it.
    "speechpipe-build": {
        ("bucket PROJECT-speechpipe-source", "storage.objectViewer"),
        ("repository speechpipe", "artifactregistry.writer"),
        ("project", "logging.logWriter"),
    },
    # Google's agents. Dead-lettering needs roles at both ends, or a task is redelivered for ever.
    "service-NUMBER@gcp-sa-pubsub.iam.gserviceaccount.com": {
        KEY,
        ("topic dead-tasks", "pubsub.publisher"),
        ("topic dead-uploads", "pubsub.publisher"),
        ("subscription upload-events", "pubsub.subscriber"),
        ("subscription stt-tasks", "pubsub.subscriber"),
        ("subscription ser-tasks", "pubsub.subscriber"),
        # Signs the tokens of pushes as the account that may call the service.
        ("account speechpipe-ingest-caller", TOKENS),
        ("account speechpipe-join-caller", TOKENS),
        ("account speechpipe-give-up-caller", TOKENS),
        ("account speechpipe-stt-worker-caller", TOKENS),
        ("account speechpipe-ser-worker-caller", TOKENS),
    },
    "service-NUMBER@gs-project-accounts.iam.gserviceaccount.com": {KEY, ("topic upload-events", "pubsub.publisher")},
    "service-NUMBER@gcp-sa-eventarc.iam.gserviceaccount.com": {("project", "eventarc.serviceAgent")},
    "service-NUMBER@gcp-sa-firestore.iam.gserviceaccount.com": {KEY},
    "service-NUMBER@gcp-sa-artifactregistry.iam.gserviceaccount.com": {KEY},
    "service-NUMBER@serverless-robot-prod.iam.gserviceaccount.com": {KEY},
    # People. Uploaders can add files but not read any.
    "var.uploaders": {(UPLOADS, "storage.objectCreator")},
    "var.readers": {
        (RESULTS, "storage.objectViewer"),
        ("project, database", "datastore.viewer"),
        ("subscription completions", "pubsub.subscriber"),
    },
    # Through the proxy, to everything in the console.
    "var.console.users": {("proxy in front of speechpipe-console", "iap.httpsResourceAccessor")},
    # Releases, redrives and backfills write documents and publish tasks; replays and erasures publish events, and
    # erasures delete files. Operators also look at services, queues, logs, metrics and traces; the roles for that exist
    # on projects only.
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
        ("subscription dead-uploads", "pubsub.subscriber"),
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
    """Map each identity to its (resource, role) pairs; a condition is shortened to its first word."""
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for grant in grants(plan, INFRA):
        where, comma, condition = grant.resource.partition(", ")
        found[grant.identity].add((where + comma + condition.split(" ")[0], grant.role))
    return dict(found)


def test_every_identity_has_its_intended_roles_and_no_more(plans: dict[str, Plan]) -> None:
    assert granted(plans["everything"]) == INTENDED


def test_without_options_there_are_no_grants_to_people_or_on_the_key(plans: dict[str, Plan]) -> None:
    optional = ("var.", "speechpipe-console", "service-NUMBER@gcp-sa-iap")
    ours = {identity: roles - {KEY} for identity, roles in INTENDED.items() if not identity.startswith(optional)}
    assert granted(plans["defaults"]) == {identity: roles for identity, roles in ours.items() if roles}


def test_every_service_account_is_used(plan: Plan) -> None:
    made = {account.values["account_id"] for account in plan.of("google_service_account")}
    assert made <= {grant.identity for grant in grants(plan, INFRA)}


def test_the_page_shows_the_planned_roles(plans: dict[str, Plan]) -> None:
    page = PAGE.read_text()
    assert written(page, grants(plans["everything"], INFRA)) == page, "run `make roles`"


def test_a_role_without_a_reason_is_reported(initialised: Initialised) -> None:
    workspace = initialised(PROVIDERS + BARE)
    with pytest.raises(LookupError, match=r"google_project_iam_member\.bare has no `# why:` above it"):
        grants(workspace.plan({"project": "example-project"}), workspace.folder)
