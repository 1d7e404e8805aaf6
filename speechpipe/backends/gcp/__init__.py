"""Google Cloud, and its emulators: Firestore, Pub/Sub and Cloud Storage behind the ports.

The same clients talk to the emulators when `FIRESTORE_EMULATOR_HOST`, `PUBSUB_EMULATOR_HOST` and
`STORAGE_EMULATOR_HOST` are set. `connect` imports Google's libraries, not this package: they take most of a
function's start (`docs/operate.md`), and a function needs none of them to drop a message that is not for us.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from speechpipe.backends.ports import Backend
from speechpipe.contract.errors import SettingsMissing
from speechpipe.contract.resources import DEAD_LETTERS, DEAD_UPLOADS_TOPIC
from speechpipe.settings import ClientSettings, Project, Topics

if TYPE_CHECKING:
    from speechpipe.backends.gcp.storage import GcsUploads

__all__ = ["bucket", "connect"]


def connect(settings: Project) -> Backend:
    """Make Google's clients, once per process, and the ports on top of them.

    Accepts the settings of any service. A worker's settings have no topics, and it publishes the next parts of a long
    recording to those of the default names; a function has no subscription, and never receives.
    """
    from google.cloud import firestore, storage

    from speechpipe.backends.gcp.firestore import FirestoreStore
    from speechpipe.backends.gcp.pubsub import PubSubBus, PubSubCompletions, PubSubDeadLetters
    from speechpipe.backends.gcp.storage import GcsResults

    # The library looks up buckets in a thread to label its own traces. That needs a permission we do not ask for, and
    # CPU that a function does not have between requests (google/cloud/storage/_opentelemetry_tracing.py).
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    topics = settings if isinstance(settings, Topics) else Topics.model_validate({})
    client = ClientSettings.model_validate(dict(settings))
    gcs = storage.Client(project=settings.project)
    return Backend(
        store=FirestoreStore(firestore.Client(project=settings.project, database=settings.database)),
        bus=PubSubBus(settings.project, topics),
        uploads=_uploads(gcs, settings),
        results=GcsResults(gcs.bucket(settings.results_bucket)),
        completions=PubSubCompletions(settings.project, client.completions_subscription),
        dead_letters=PubSubDeadLetters(settings.project, DEAD_LETTERS, DEAD_UPLOADS_TOPIC),
    )


def bucket(name: str, project: str | None) -> GcsUploads:
    """Open any bucket for reading. Raises SettingsMissing without credentials."""
    from google.auth.exceptions import GoogleAuthError
    from google.cloud import storage

    from speechpipe.backends.gcp.storage import GcsUploads

    try:
        return GcsUploads(storage.Client(project=project), name)
    except GoogleAuthError as error:
        raise SettingsMissing(
            f"no access to gs://{name}: run `gcloud auth application-default login` ({error})"
        ) from None


def _uploads(gcs: object, settings: Project) -> GcsUploads:
    from speechpipe.backends.gcp.storage import GcsUploads

    return GcsUploads(gcs, settings.uploads_bucket)
