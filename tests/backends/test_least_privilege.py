"""Creating a result that exists, as an account that may create and read objects but not delete them."""

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
    """Cloud Storage that refuses every upload; `there.json` exists."""

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


def test_a_result_written_before_a_crash_counts_as_written(results: GcsResults) -> None:
    assert results.create("there.json", b"{}", "application/json") == "gs://results/there.json"


def test_a_missing_permission_is_reported(results: GcsResults) -> None:
    with pytest.raises(Forbidden, match=r"storage\.objects\.delete"):
        results.create("new.json", b"{}", "application/json")
