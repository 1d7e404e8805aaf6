"""Cloud Storage as a separate process: the emulator in `gcs`, with the two buckets and their notifications.

    python -m speechpipe.emulators.storage --port 9023 --uploads uploads --results results --project p --pubsub-port 80

Everything is in memory, and ends with the process.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from speechpipe.contract.resources import UPLOADS_NOTIFICATION
from speechpipe.contract.wire import Message
from speechpipe.emulators.gcs.server import Server
from speechpipe.emulators.setup import exported
from speechpipe.observe import log


def notification(obj: dict[str, Any]) -> Message:
    """The message for a new object, as Cloud Storage publishes it: the object as JSON, the event in the attributes.

    Source: https://cloud.google.com/storage/docs/pubsub-notifications#format.
    """
    attributes = {
        "notificationConfig": f"projects/_/buckets/{obj['bucket']}/notificationConfigs/1",
        "eventType": UPLOADS_NOTIFICATION.event_type,
        "payloadFormat": UPLOADS_NOTIFICATION.payload_format,
        "bucketId": obj["bucket"],
        "objectId": obj["name"],
        "objectGeneration": str(obj["generation"]),
        "eventTime": obj["timeCreated"],
    }
    return json.dumps(obj).encode(), attributes


def serve(port: int, *, uploads: str, results: str, project: str, pubsub_port: int, copies: int = 1) -> None:
    """Serve until the process is stopped."""
    from google.cloud.pubsub_v1 import PublisherClient

    with exported(PUBSUB_EMULATOR_HOST=f"127.0.0.1:{pubsub_port}"):
        publisher = PublisherClient()
    topic = f"projects/{project}/topics/{UPLOADS_NOTIFICATION.topic}"

    def notify(obj: dict[str, Any]) -> None:
        """Publish without waiting, as Cloud Storage does; the library repeats it until Pub/Sub has the message."""
        if obj["bucket"] == uploads:
            data, attributes = notification(obj)
            for _ in range(copies):
                publisher.publish(topic, data, **attributes)

    with Server(port, notify) as server:
        for bucket in (uploads, results):
            server.store.create_bucket(bucket)
        server.serve_forever()


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m speechpipe.emulators.storage", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--uploads", required=True)
    parser.add_argument("--results", required=True)
    parser.add_argument("--project", required=True, help="the project of the topic that uploads are announced on")
    parser.add_argument("--pubsub-port", type=int, required=True)
    parser.add_argument("--copies", type=int, default=1, help="how often to announce each upload, for tests")
    given = parser.parse_args()
    log.configure()
    serve(
        given.port,
        uploads=given.uploads,
        results=given.results,
        project=given.project,
        pubsub_port=given.pubsub_port,
        copies=given.copies,
    )


if __name__ == "__main__":
    main()
