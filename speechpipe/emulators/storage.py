"""The Cloud Storage emulator in a process of its own, with what it lacks: notifications and preconditions.

    python -m speechpipe.emulators.storage --port 9023 --uploads uploads --results results --ingest-port 8081

gcp-storage-emulator answers notification requests with 501, ignores `ifGenerationMatch` on uploads, answers a request
for an old generation with the new content and knows nothing of pages of other origins, which Cloud Storage lets upload
to a session that was begun for them. All of its ways to make an object (simple, multipart, resumable,
XML, compose, copy, rewrite) end in `Storage.create_file`, and so does the hook.
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
from speechpipe.observe import log

Hook = Callable[[dict[str, Any]], None]


class PreconditionFailed(Exception):
    """There is another generation than the request expects."""


class HonestStorage(Storage):  # type: ignore[misc]  # the package has no types
    """The emulator's storage; tells of each finalized object, and minds generations.

    Requests are answered one at a time, so that a request's expectations can stand in attributes.
    """

    def __init__(self, finalized: Hook) -> None:
        super().__init__(use_memory_fs=True)
        self.expected: str | None = None  #: `ifGenerationMatch` of the request
        self.wanted: str | None = None  #: `generation` of the request
        self.turn = threading.Lock()  #: held by the request that is answered
        self._finalized = finalized

    def create_file(
        self, bucket_name: str, file_name: str, content: bytes, file_obj: dict[str, Any], file_id: str | None = None
    ) -> None:
        """Make an object. Raises PreconditionFailed, and NotFound for a missing bucket."""
        known = self.objects.get(bucket_name, {}).get(file_name)
        if self.expected is not None and self.expected != (known["generation"] if known else "0"):
            raise PreconditionFailed
        super().create_file(bucket_name, file_name, content, file_obj, file_id)
        self._finalized(file_obj)

    def _write_config_to_file(self) -> None:
        """Nothing: the emulator would write the list of all objects after each one, and this file system ends with us.

        At a thousand objects that takes 12 ms, six times a recording, in the one thread that answers everybody.
        """

    def get_file_obj(self, bucket_name: str, file_name: str) -> dict[str, Any]:
        """An object's metadata. Raises NotFound, also for another generation than the live one."""
        found: dict[str, Any] = super().get_file_obj(bucket_name, file_name)
        if self.wanted is not None and found["generation"] != self.wanted:
            raise NotFound
        return found


class Handler(RequestHandler):  # type: ignore[misc]  # the package has no types
    """The emulator's handler, with preconditions read before and answered after it."""

    timeout = 60  #: how long a client may open a connection and say nothing, as browsers do

    def do_GET(self) -> None:
        """Read."""
        self._minding(super().do_GET, reading=True)

    def do_POST(self) -> None:
        """Upload, compose, copy."""
        self._minding(super().do_POST)

    def do_PUT(self) -> None:
        """Upload the next part, or by the XML API."""
        self._minding(super().do_PUT)

    def do_PATCH(self) -> None:
        """Change metadata."""
        self._minding(super().do_PATCH)

    def do_DELETE(self) -> None:
        """Delete."""
        self._minding(super().do_DELETE)

    def do_OPTIONS(self) -> None:
        """Tell a browser that a page may upload."""
        self.send_response(HTTPStatus.NO_CONTENT)
        self.send_header("access-control-allow-methods", "PUT")
        self.send_header("access-control-allow-headers", "content-type, content-range")
        self.end_headers()

    def end_headers(self) -> None:
        """Let pages of this machine read the answer."""
        origin = self.headers.get("origin", "") if hasattr(self, "headers") else ""
        if urlsplit(origin).hostname in ("127.0.0.1", "localhost", "::1"):
            super().send_header("access-control-allow-origin", origin)
            super().send_header("access-control-expose-headers", "range")
        super().end_headers()

    def send_header(self, keyword: str, value: str) -> None:
        """Send custom metadata as UTF-8, where the emulator fails on anything outside Latin-1.

        Of an upload of which nothing has arrived it says that one byte has; Cloud Storage sends no such header then.
        """
        if (keyword.lower(), value) == ("range", "bytes=0-0"):
            return
        super().send_header(keyword, " ".join(str(value).splitlines()).encode().decode("latin-1"))

    def _minding(self, answer: Callable[[], None], *, reading: bool = False) -> None:
        with self.storage.turn:
            self._mind(answer, reading=reading)

    def _mind(self, answer: Callable[[], None], *, reading: bool) -> None:
        query = parse_qs(urlsplit(self.path).query)
        self.storage.expected = query.get("ifGenerationMatch", [None])[0]
        self.storage.wanted = query.get("generation", [None])[0] if reading else None
        try:
            answer()
        except PreconditionFailed:
            body = json.dumps({"error": {"code": 412, "message": "Precondition Failed"}}).encode()
            self.send_response(HTTPStatus.PRECONDITION_FAILED)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        finally:
            self.storage.expected = self.storage.wanted = None


def finalized_event(obj: dict[str, Any], port: int) -> Event:
    """The CloudEvent of a new object, as Eventarc sends it: attributes in headers, the object as JSON."""
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
    """Serve until the process is ended."""
    deliverer = Deliverer(copies=copies)

    def tell(obj: dict[str, Any]) -> None:
        if obj["bucket"] == uploads and ingest_port is not None:
            deliverer.deliver(finalized_event(obj, ingest_port))

    storage = HonestStorage(tell)
    for bucket in (uploads, results):
        create_bucket(bucket, storage)
    with ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, storage)) as server:
        server.serve_forever()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m speechpipe.emulators.storage", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--uploads", required=True)
    parser.add_argument("--results", required=True)
    parser.add_argument("--ingest-port", type=int, help="notify nobody without it")
    parser.add_argument("--copies", type=int, default=1, help="deliver each event so often, for tests")
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
