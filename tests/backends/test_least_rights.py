"""A result that is there already, for an identity that may create and read objects and not delete any."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from google.api_core.exceptions import Forbidden
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from speechpipe.backends.gcp.storage import GcsResults


class _Refusing(BaseHTTPRequestHandler):
    """Cloud Storage that refuses every upload; `there.json` is there."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(403, {"error": {"code": 403, "message": "no storage.objects.delete access"}})

    def do_GET(self) -> None:
        there = "there.json" in self.path
        self.answer(200 if there else 404, {"name": "there.json", "generation": "1"} if there else {"error": {}})

    def answer(self, status: int, body: object) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def results() -> Iterator[GcsResults]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Refusing) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        client = storage.Client(
            project="example-project",
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": f"http://127.0.0.1:{server.server_port}"},
        )
        yield GcsResults(client.bucket("results"))
        client.close()
        server.shutdown()


def test_a_result_from_before_a_crash_is_as_good_as_written(results: GcsResults) -> None:
    assert results.create("there.json", b"{}", "application/json") == "gs://results/there.json"


def test_a_right_that_is_missing_is_told(results: GcsResults) -> None:
    with pytest.raises(Forbidden, match=r"storage\.objects\.delete"):
        results.create("new.json", b"{}", "application/json")
