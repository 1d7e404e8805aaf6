"""Cloud Storage as a separate process: the emulator in `gcs`, with the two buckets and their notifications.

    python -m speechpipe.emulators.storage --port 9023 --uploads uploads --results results --ingest-port 8081

Everything is in memory, and ends with the process.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from speechpipe.contract import resources
from speechpipe.emulators.deliver import Deliverer, Event
from speechpipe.emulators.gcs.server import Server
from speechpipe.observe import log


def finalized_event(obj: dict[str, Any], port: int) -> Event:
    """The CloudEvent for a new object, as Eventarc sends it: attributes in headers, the object as JSON."""
    headers = {
        "content-type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": f"{obj['bucket']}-{obj['generation']}",
        "ce-source": f"//storage.googleapis.com/projects/_/buckets/{obj['bucket']}",
        "ce-type": resources.STORAGE_TRIGGER.event_type,
        # Printable ASCII only: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
        "ce-subject": "objects/" + quote(obj["name"]),
        "ce-time": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "ce-bucket": obj["bucket"],
    }
    return Event(port, headers, json.dumps(obj).encode())


def serve(port: int, *, uploads: str, results: str, ingest_port: int | None, copies: int = 1) -> None:
    """Serve until the process is stopped."""
    deliverer = Deliverer(copies=copies)

    def notify(obj: dict[str, Any]) -> None:
        if obj["bucket"] == uploads and ingest_port is not None:
            deliverer.deliver(finalized_event(obj, ingest_port))

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
    parser.add_argument("--ingest-port", type=int, help="without it, nobody is notified")
    parser.add_argument("--copies", type=int, default=1, help="how often to deliver each event, for tests")
    given = parser.parse_args()
    log.configure()
    serve(
        given.port,
        uploads=given.uploads,
        results=given.results,
        ingest_port=given.ingest_port,
        copies=given.copies,
    )


if __name__ == "__main__":
    main()
