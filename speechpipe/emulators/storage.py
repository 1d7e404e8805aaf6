"""The Cloud Storage emulator as a separate process, plus what it lacks: notifications, preconditions and CORS.

    python -m speechpipe.emulators.storage --port 9023 --uploads uploads --results results --ingest-port 8081

gcp-storage-emulator answers notification requests with 501, ignores `ifGenerationMatch` on uploads, returns the new
content to a request for an old generation, and does not support CORS, with which Cloud Storage lets a page of another
origin upload to a session created for it. All ways to create an object (simple, multipart, resumable, XML, compose,
copy, rewrite) go through `Storage.create_file`, so the notification hook is there.
"""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers.buckets import create_bucket
from gcp_storage_emulator.server import RequestHandler
from gcp_storage_emulator.storage import Storage

from speechpipe.contract import resources
from speechpipe.emulators.deliver import Deliverer, Event
from speechpipe.emulators.front import Front
from speechpipe.observe import log

Hook = Callable[[dict[str, Any]], None]


class PreconditionFailed(Exception):
    """The object's generation is not the one that the request expects."""


class NotifyingStorage(Storage):  # type: ignore[misc]  # the package has no types
    """The emulator's storage with notifications of finalized objects and checks of generations.

    `lock` serialises the requests, so that attributes can hold the current request's parameters.
    """

    def __init__(self, finalized: Hook) -> None:
        super().__init__(use_memory_fs=True)
        self.if_generation_match: str | None = None  #: of the current request
        self.generation: str | None = None  #: of the current request
        self.lock = threading.Lock()  #: held while a request is processed
        self._finalized = finalized

    def create_file(
        self, bucket_name: str, file_name: str, content: bytes, file_obj: dict[str, Any], file_id: str | None = None
    ) -> None:
        """Create an object. Raises PreconditionFailed, or NotFound if the bucket does not exist."""
        existing = self.objects.get(bucket_name, {}).get(file_name)
        expected = self.if_generation_match
        if expected is not None and expected != (existing["generation"] if existing else "0"):
            raise PreconditionFailed
        super().create_file(bucket_name, file_name, content, file_obj, file_id)
        self._finalized(file_obj)

    def _write_config_to_file(self) -> None:
        """Do nothing. The emulator would write the list of all objects after each new one, to a file system in memory.

        With a thousand objects that takes 12 ms, six times per recording, and blocks all other requests.
        """

    def get_file_obj(self, bucket_name: str, file_name: str) -> dict[str, Any]:
        """An object's metadata. Raises NotFound if it does not exist or the request is for an old generation."""
        found: dict[str, Any] = super().get_file_obj(bucket_name, file_name)
        if self.generation is not None and found["generation"] != self.generation:
            raise NotFound
        return found


class Handler(RequestHandler):  # type: ignore[misc]  # the package has no types
    """The emulator's handler with preconditions and CORS."""

    timeout = 60  #: seconds that a connection may stay idle; browsers open some without using them

    def do_GET(self) -> None:
        """Read an object or its metadata."""
        self._serialised(super().do_GET, reading=True)

    def do_POST(self) -> None:
        """Upload, compose or copy an object."""
        self._serialised(super().do_POST)

    def do_PUT(self) -> None:
        """Upload the next part of a resumable upload, or an object through the XML API."""
        self._serialised(super().do_PUT)

    def do_PATCH(self) -> None:
        """Change an object's metadata."""
        self._serialised(super().do_PATCH)

    def do_DELETE(self) -> None:
        """Delete an object."""
        self._serialised(super().do_DELETE)

    def do_OPTIONS(self) -> None:
        """Answer a browser's CORS preflight request: pages may upload."""
        self.send_response(HTTPStatus.NO_CONTENT)
        self.send_header("access-control-allow-methods", "PUT")
        self.send_header("access-control-allow-headers", "content-type, content-range")
        self.end_headers()

    def end_headers(self) -> None:
        """Let pages served from this machine read the response (CORS)."""
        origin = self.headers.get("origin", "") if hasattr(self, "headers") else ""
        if urlsplit(origin).hostname in ("127.0.0.1", "localhost", "::1"):
            super().send_header("access-control-allow-origin", origin)
            super().send_header("access-control-expose-headers", "range")
        super().end_headers()

    def send_header(self, keyword: str, value: str) -> None:
        """Send custom metadata as UTF-8; the emulator itself fails on characters outside Latin-1.

        For a resumable upload without any data yet, the emulator sends a range that means one byte. Cloud Storage then
        sends no range, so leave it out.
        """
        if (keyword.lower(), value) == ("range", "bytes=0-0"):
            return
        super().send_header(keyword, " ".join(str(value).splitlines()).encode().decode("latin-1"))

    def _serialised(self, handle: Callable[[], None], *, reading: bool = False) -> None:
        with self.storage.lock:
            self._with_generations(handle, reading=reading)

    def _with_generations(self, handle: Callable[[], None], *, reading: bool) -> None:
        query = parse_qs(urlsplit(self.path).query)
        self.storage.if_generation_match = query.get("ifGenerationMatch", [None])[0]
        self.storage.generation = query.get("generation", [None])[0] if reading else None
        try:
            handle()
        except PreconditionFailed:
            body = json.dumps({"error": {"code": 412, "message": "Precondition Failed"}}).encode()
            self.send_response(HTTPStatus.PRECONDITION_FAILED)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        finally:
            self.storage.if_generation_match = self.storage.generation = None


def finalized_event(obj: dict[str, Any]) -> Event:
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
    return Event(resources.STORAGE_TRIGGER.service, headers, json.dumps(obj).encode())


def serve(port: int, *, uploads: str, results: str, ingest_port: int | None, copies: int = 1) -> None:
    """Serve until the process is stopped."""
    front = Front({} if ingest_port is None else {resources.STORAGE_TRIGGER.service: ingest_port})
    deliverer = Deliverer(front, copies=copies)

    def notify(obj: dict[str, Any]) -> None:
        if obj["bucket"] == uploads and ingest_port is not None:
            deliverer.deliver(finalized_event(obj))

    storage = NotifyingStorage(notify)
    for bucket in (uploads, results):
        create_bucket(bucket, storage)
    with ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, storage)) as server:
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
