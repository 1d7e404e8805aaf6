"""Objects that Cloud Storage protects: under retention or a hold, and under a key of the uploader's own.

The emulator knows neither, so this is Google's client against a server that answers as the documentation says.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from google.api_core.exceptions import Forbidden
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from speechpipe.backends.gcp.storage import GcsUploads
from speechpipe.contract import Retained
from speechpipe.contract.errors import ErrorCode, Rejected
from tests.doubles import source

NAME = "Fall #7?.wav"
FAR = "2999-01-31T12:00:00.000Z"
FARTHER = "2999-06-30T12:00:00.000Z"
PAST = "2020-01-01T00:00:00.000Z"
CSEK = {"encryptionAlgorithm": "AES256", "keySha256": "RN0Pue3IJ2Zq9ZwEsAJZ1iH6IYDLvRrGpgXg3cXBnGE="}


class Bucket(ThreadingHTTPServer):
    """One object, which cannot be deleted if `forbidden`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Requests)
        self.fields: dict[str, Any] = {}
        self.forbidden = True
        self.asked: list[str] = []


class _Requests(BaseHTTPRequestHandler):
    server: Bucket

    def do_GET(self) -> None:
        self.server.asked.append("media" if "alt=media" in self.path else "metadata")
        parts = urlsplit(self.path)
        assert unquote(parts.path) == f"/storage/v1/b/uploads/o/{NAME}"
        assert parse_qs(parts.query)["generation"] == ["1"]
        made = {"bucket": "uploads", "name": NAME, "generation": "1", "size": "9", "timeCreated": PAST}
        self.answer(200, made | self.server.fields)

    def do_DELETE(self) -> None:
        self.server.asked.append("delete")
        if self.server.forbidden:  # the same status for a hold, retention and a missing permission
            self.answer(403, {"error": {"code": 403, "message": "Object 'uploads/...' cannot be deleted"}})
        else:
            self.answer(204, None)

    def answer(self, status: int, body: object) -> None:
        text = json.dumps(body).encode() if body else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with Bucket() as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def uploads(bucket: Bucket) -> Iterator[GcsUploads]:
    client = storage.Client(
        project="example-project",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": f"http://127.0.0.1:{bucket.server_port}"},
    )
    yield GcsUploads(client, "uploads")
    client.close()


def at(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "retained", "words"),
    [
        ({"retentionExpirationTime": FAR}, Retained(until=at(FAR)), "2999-01-31 12:00:00Z"),
        (
            {"retention": {"mode": "Locked", "retainUntilTime": FARTHER}, "retentionExpirationTime": FAR},
            Retained(until=at(FARTHER)),
            "2999-06-30 12:00:00Z",
        ),
        ({"temporaryHold": True}, Retained(hold=True), "its hold is released"),
        ({"eventBasedHold": True, "retentionExpirationTime": PAST}, Retained(hold=True), "its hold is released"),
        (
            {"temporaryHold": True, "retentionExpirationTime": FAR},
            Retained(hold=True, until=at(FAR)),
            "its hold is released, at least until 2999-01-31 12:00:00Z",
        ),
    ],
    ids=["policy of the bucket", "retention of the object", "temporary hold", "event-based hold", "both"],
)
def test_an_object_that_may_not_be_deleted_yet_says_until_when(
    bucket: Bucket, uploads: GcsUploads, fields: dict[str, Any], retained: Retained, words: str
) -> None:
    bucket.fields = fields
    found = uploads.delete(source(NAME))
    assert found == retained
    assert found.stays_until == words
    bucket.forbidden = False
    assert uploads.delete(source(NAME)) is None


@pytest.mark.parametrize("fields", [{}, {"retentionExpirationTime": PAST}])
def test_without_permission_to_delete_nothing_is_said_to_be_retained(
    bucket: Bucket, uploads: GcsUploads, fields: dict[str, Any]
) -> None:
    bucket.fields = fields
    with pytest.raises(Forbidden):
        uploads.delete(source(NAME))


def test_an_object_under_its_uploaders_key_is_never_read_but_can_be_deleted(
    bucket: Bucket, uploads: GcsUploads, tmp_path: Path
) -> None:
    bucket.fields, bucket.forbidden = {"customerEncryption": CSEK}, False
    with pytest.raises(Rejected) as rejected:
        uploads.download(source(NAME), tmp_path / "out")
    assert rejected.value.code is ErrorCode.CUSTOMER_KEY
    assert "own key (CSEK)" in rejected.value.message
    with pytest.raises(Rejected) as rejected, uploads.open(source(NAME)):
        pass
    assert rejected.value.code is ErrorCode.CUSTOMER_KEY
    assert uploads.delete(source(NAME)) is None
    assert "media" not in bucket.asked
    assert bucket.asked.count("delete") == 1
