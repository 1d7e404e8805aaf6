"""A console that serves a folder over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from speechpipe import Client
from speechpipe.console import Console
from speechpipe.contract import Stage
from speechpipe.emulators.front import CutAnswers
from tests.doubles import FixedEngine, ready

#: How long to wait for anything: long enough for a busy machine, and shorter than a test's own timeout.
WAIT_SECONDS = 120.0


@dataclass
class Visitor:
    """Sends the requests that the page in a browser would send."""

    http: httpx.Client
    client: Client
    folder: Path
    origin: str = field(init=False)

    def __post_init__(self) -> None:
        self.origin = str(self.http.base_url).rstrip("/")

    def post(self, path: str, body: object = None, **headers: str) -> httpx.Response:
        same_origin = {"origin": self.origin, "sec-fetch-site": "same-origin"}
        return self.http.post(path, json={} if body is None else body, headers=same_origin | headers)

    def upload(self, content: bytes, name: str = "call.wav", **options: str) -> str:
        """Upload as the page does; returns the recording's id."""
        body = {"name": name, "size": len(content), "type": "audio/x-wav", "options": options}
        answer = self.post("/api/uploads", body)
        assert answer.status_code == 200, answer.text
        headers = {"origin": self.origin, "sec-fetch-site": "same-origin"}
        put = self.http.put(answer.json()["url"], content=content, headers=headers)
        assert put.status_code == 200, put.text
        recording_id: str = put.json()["id"]
        return recording_id

    def finish(self, content: bytes = b"audio", name: str = "call.wav", **options: str) -> str:
        """Upload, and wait until the recording is announced; returns its id."""
        recording_id = self.upload(content, name, **options)
        self.client.wait(recording_id, timeout=WAIT_SECONDS)
        self.wait_for_row(lambda row: row["id"] == recording_id and row["announced"])
        return recording_id

    def events(self) -> Generator[tuple[str, Any], None, None]:
        """Name and data of each event, until the stream ends."""
        with self.http.stream("GET", "/api/events", timeout=WAIT_SECONDS) as stream:
            name = ""
            for line in stream.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield name, json.loads(line.removeprefix("data: "))

    def wait_for_counters(self, matches: Callable[[Any], bool]) -> Any:
        """The first counters that match. The stream starts with the current ones."""
        with closing(self.events()) as events:
            for name, data in events:
                if name == "figures" and matches(data):
                    return data
        raise AssertionError("the stream ended")

    def wait_for_row(self, matches: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until a row matches, in the list or in an event."""
        with closing(self.events()) as events:
            for name, data in events:
                # Changes from before the stream opened are only in the list. The first event shows that it is open.
                if any(matches(row) for row in (data if name == "rows" else self.list())):
                    return
        raise AssertionError("the stream ended")

    def list(self, **query: object) -> list[dict[str, Any]]:
        """Matching rows."""
        rows: list[dict[str, Any]] = self.http.get("/api/recordings", params=query).json()["rows"]  # type: ignore[arg-type]
        return rows

    def row(self, recording_id: str) -> dict[str, Any]:
        """A recording's row; empty if it is not listed."""
        return next((row for row in self.list() if row["id"] == recording_id), {})


@pytest.fixture
def visitor(folder: Path) -> Iterator[Visitor]:
    """A visitor to the console of a folder that a worker processes, with Cloud Run's limit on answers."""
    with (
        Client(folder, engines=ready({stage: FixedEngine(stage) for stage in Stage})) as client,
        Console(client, front=CutAnswers) as console,
        httpx.Client(base_url=console.url, timeout=WAIT_SECONDS) as http,
    ):
        client.work()
        yield Visitor(http, client, folder)
