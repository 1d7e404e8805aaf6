"""The console over a folder, served for real."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from speechpipe import Client
from speechpipe.console import Console
from speechpipe.contract import Stage
from tests.doubles import FixedEngine


@dataclass
class Visitor:
    """A browser's manners without a browser."""

    http: httpx.Client
    client: Client
    folder: Path
    origin: str = field(init=False)

    def __post_init__(self) -> None:
        self.origin = str(self.http.base_url).rstrip("/")

    def post(self, path: str, body: object = None, **headers: str) -> httpx.Response:
        own = {"origin": self.origin, "sec-fetch-site": "same-origin"}
        return self.http.post(path, json={} if body is None else body, headers=own | headers)

    def upload(self, content: bytes, name: str = "call.wav", **options: str) -> str:
        """As the page does it; the recording's id."""
        wanted = {"name": name, "size": len(content), "type": "audio/x-wav", "options": options}
        answer = self.post("/api/uploads", wanted)
        assert answer.status_code == 200, answer.text
        headers = {"origin": self.origin, "sec-fetch-site": "same-origin"}
        put = self.http.put(answer.json()["url"], content=content, headers=headers)
        assert put.status_code == 200, put.text
        recording_id: str = put.json()["id"]
        return recording_id

    def done(self, content: bytes = b"audio", name: str = "call.wav", **options: str) -> str:
        """Upload, and wait until it is announced; the recording's id."""
        recording_id = self.upload(content, name, **options)
        self.client.wait(recording_id, timeout=60)
        self.until(lambda event, data: event == "rows" and any(row["announced"] for row in data), recording_id)
        return recording_id

    def until(self, fits: Callable[[str, Any], bool], recording_id: str = "") -> Any:
        """Follow the events until one fits; what it said."""
        with self.http.stream("GET", "/api/events", timeout=60) as stream:
            if recording_id and self.row(recording_id).get("announced"):
                return None
            event = ""
            for line in stream.iter_lines():
                if line.startswith("event: "):
                    event = line.removeprefix("event: ")
                elif line.startswith("data: ") and fits(event, data := json.loads(line.removeprefix("data: "))):
                    return data
        raise AssertionError("the stream ended")

    def list(self, **query: object) -> list[dict[str, Any]]:
        """Lines that fit."""
        rows: list[dict[str, Any]] = self.http.get("/api/recordings", params=query).json()["rows"]  # type: ignore[arg-type]
        return rows

    def row(self, recording_id: str) -> dict[str, Any]:
        """A recording's line; empty if it is in no list."""
        return next((row for row in self.list() if row["id"] == recording_id), {})


@pytest.fixture
def visitor(folder: Path) -> Iterator[Visitor]:
    """Somebody who visits the console of a folder that is worked on."""
    with (
        Client(folder, engines=lambda: {stage: FixedEngine(stage) for stage in Stage}) as client,
        Console(client) as console,
        httpx.Client(base_url=console.url, timeout=30) as http,
    ):
        client.work()
        yield Visitor(http, client, folder)
