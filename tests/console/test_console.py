"""The console over HTTP: what the page is told, and what it may do."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from speechpipe import Client
from speechpipe.console import Console
from speechpipe.contract import Stage
from tests.console.conftest import Visitor
from tests.doubles import FixedEngine
from tests.media import write_wav

pytestmark = pytest.mark.slow  # together over ten seconds


def test_the_page_and_its_parts_are_served_under_a_policy_that_lets_nothing_else_run(visitor: Visitor) -> None:
    for path, kind in {"/": "text/html", "/console.css": "text/css", "/console.js": "text/javascript"}.items():
        answer = visitor.http.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "connect-src 'self'; " in policy  # a folder has no bucket to send to
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
    page = visitor.http.get("/").text
    assert "http://" not in page
    assert "https://" not in page
    assert " style=" not in page


def test_an_uploaded_file_becomes_a_recording_that_is_told_live_and_found(visitor: Visitor) -> None:
    recording_id = visitor.done(b"audio", "team/call.wav", ref="case-7")
    assert (visitor.folder / "team" / "call.wav").read_bytes() == b"audio"
    row = visitor.row(recording_id)
    assert (row["name"], row["status"], row["emotion"], row["language"]) == (
        "team/call.wav",
        "completed",
        "neutral",
        "en",
    )
    assert row["share"] == 1
    assert row["preview"].startswith("where is my order")
    assert [found["id"] for found in visitor.list(q="ORD late")] == [recording_id]
    assert [found["id"] for found in visitor.list(q="case-7", status="completed", emotion="neutral")] == [recording_id]
    for nothing in ({"q": "refund"}, {"status": "failed"}, {"emotion": "anger"}, {"language": "de"}, {"q": '"*('}):
        assert visitor.list(**nothing) == []
    assert visitor.list(since="2020-01-01T00:00:00Z", until="2020-01-02T00:00:00Z") == []
    assert len(visitor.list(since="2020-01-01T00:00:00Z", until="2999-01-01T00:00:00Z")) == 1


def test_figures_are_of_states_stages_and_the_last_minutes(visitor: Visitor) -> None:
    visitor.done()
    figures = visitor.until(lambda event, data: event == "figures" and data["states"]["completed"] == 1)
    assert figures["languages"] == {"en": 1}
    assert figures["emotions"] == {"neutral": 1}
    assert figures["recently"]["recordings"] == 1
    assert figures["recently"]["audio_seconds"] == 4
    assert figures["recently"]["compute_seconds"] == 0.5
    assert figures["stages"]["stt"] == {"waiting": 0, "running": 0, "oldest_at": None}


def test_a_recording_has_its_life_story_report_sound_and_files(visitor: Visitor) -> None:
    recording_id = visitor.done(b"0123456789", "a b.wav")
    one = visitor.http.get(f"/api/recordings/{recording_id}").json()
    assert [moment["what"] for moment in one["story"]][:2] == ["uploaded", "seen"]
    assert one["may_redrive"] is True
    report = visitor.http.get(f"/recordings/{recording_id}/report")
    assert f'data-audio="/recordings/{recording_id}/audio"' in report.text
    assert "script-src 'sha256-" in report.headers["content-security-policy"]
    assert "media-src 'self' blob:;" in report.headers["content-security-policy"]
    for name, part in {
        "record.json": '"text"',
        "transcript.txt": "where is my order",
        "segments.csv": "neutral",
    }.items():
        file = visitor.http.get(f"/recordings/{recording_id}/files/{name}")
        assert part in file.text
        assert file.headers["content-disposition"] == f"attachment; filename*=UTF-8''a%20b.{name}"
    assert set(one["files"]) == {"record.json", "transcript.txt", "transcript.srt", "transcript.vtt", "segments.csv"}
    assert visitor.http.get(f"/recordings/{recording_id}/files/passwd").status_code == 404


@pytest.mark.parametrize(
    ("asked", "status", "content", "told"),
    [
        (None, 200, b"0123456789", None),
        ("bytes=0-", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=1-2,4-5", 200, b"0123456789", None),
    ],
)
def test_sound_comes_by_ranges(
    visitor: Visitor, asked: str | None, status: int, content: bytes, told: str | None
) -> None:
    recording_id = visitor.done(b"0123456789")
    answer = visitor.http.get(f"/recordings/{recording_id}/audio", headers={"range": asked} if asked else {})
    assert (answer.status_code, answer.content, answer.headers.get("content-range")) == (status, content, told)
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"


def test_what_somebody_uploaded_is_never_a_page(visitor: Visitor) -> None:
    recording_id = visitor.upload(b"<script>alert(1)</script>", "page.html")
    visitor.client.wait(recording_id, timeout=30)
    answer = visitor.http.get(f"/recordings/{recording_id}/audio")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_half_can_be_run_again(visitor: Visitor) -> None:
    recording_id = visitor.done()
    answer = visitor.post(f"/api/recordings/{recording_id}/redrive", {"stages": ["ser"]})
    assert (answer.status_code, answer.json()["revision"]) == (200, 2)
    visitor.client.wait(recording_id, timeout=30)
    visitor.until(
        lambda event, data: event == "rows" and any(row["revision"] == 2 and row["announced"] for row in data)
    )
    recording = visitor.client.get(recording_id)
    assert recording.rerun == (Stage.SER,)
    assert visitor.list(q="order")[0]["revision"] == 2  # its text is found under the new revision too


def test_erasing_leaves_neither_words_nor_name(visitor: Visitor) -> None:
    recording_id = visitor.done(b"audio", "secret.wav")
    assert len(visitor.list(q="secret")) == 1
    assert visitor.post(f"/api/recordings/{recording_id}/erase", {"upload": True}).json()["status"] == "erased"
    visitor.until(lambda event, data: event == "figures" and data["states"]["erased"] == 1)
    assert visitor.list(q="secret") == visitor.list(q="order") == []
    assert visitor.row(recording_id)["name"] == ""
    assert not (visitor.folder / "secret.wav").exists()
    assert visitor.http.get(f"/recordings/{recording_id}/report").status_code == 404


def test_what_cannot_be_is_said_in_words(visitor: Visitor) -> None:
    recording_id = visitor.done()
    wanted = {"name": "call.wav", "size": 5, "options": {"task": "sing"}}
    assert "allowed: transcribe or translate" in visitor.post("/api/uploads", wanted).json()["error"]
    for name in ("", "a/", ".hidden.wav", "call.wav.meta.json", "x" * 901):
        answer = visitor.post("/api/uploads", {"name": name, "size": 5})
        assert answer.status_code == 422
    outside = visitor.http.put(
        "/api/files?name=../../x.wav", content=b"x", headers={"origin": visitor.origin, "sec-fetch-site": "same-origin"}
    )
    assert outside.status_code == 404
    assert "allowed" in visitor.post("/api/uploads", {"name": "a", "size": 10**15}).json()["error"]
    assert visitor.post("/api/uploads", {"name": 7}).status_code == 400
    assert visitor.post(f"/api/recordings/{recording_id}/redrive", {"stages": ["sing"]}).status_code == 400
    assert visitor.post("/api/recordings/rec_none/erase").status_code == 404
    assert visitor.http.get("/api/recordings/rec_none").json() == {"error": "there is no recording rec_none"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site", "origin": "http://evil.example"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({}, 403),
    ],
)
def test_no_other_page_changes_anything(visitor: Visitor, headers: dict[str, str], status: int) -> None:
    recording_id = visitor.done()
    answer = visitor.http.post(f"/api/recordings/{recording_id}/erase", json={}, headers=headers)
    assert answer.status_code == status
    assert visitor.row(recording_id)["status"] == "completed"


def test_a_browser_without_fetch_metadata_is_known_by_its_origin(visitor: Visitor) -> None:
    recording_id = visitor.done()
    answer = visitor.http.post(f"/api/recordings/{recording_id}/erase", json={}, headers={"origin": visitor.origin})
    assert answer.status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8090", "127.0.0.1", "localhost.evil.example:8090", ""])
def test_a_name_that_was_bent_to_this_machine_is_refused(visitor: Visitor, host: str) -> None:
    for path in ("/", "/api/recordings", "/api/events"):
        assert visitor.http.get(path, headers={"host": host}).status_code == 421


def test_a_second_console_takes_the_next_port(visitor: Visitor) -> None:
    with Console(visitor.client) as second:
        assert second.url != str(visitor.http.base_url)


def test_a_recording_that_is_held_can_be_let_run(folder: Path) -> None:
    limits = {"SPEECHPIPE_MAX_DURATION": "1"}
    engines = {stage: FixedEngine(stage) for stage in Stage}
    with (
        Client(folder, engines=lambda: engines, environ=limits) as client,
        Console(client) as console,
        httpx.Client(base_url=console.url, timeout=30) as http,
    ):
        client.work()
        visitor = Visitor(http, client, folder)
        write_wav(folder / "long.wav", np.zeros(32_000, np.int16))
        visitor.until(lambda event, data: event == "figures" and data["states"]["held"] == 1)
        (row,) = visitor.list(status="held")
        assert "2.0" in row["problem"] or "0:02" in row["problem"]
        assert visitor.post(f"/api/recordings/{row['id']}/release").json()["status"] == "queued"
        visitor.until(lambda event, data: event == "figures" and data["states"]["completed"] == 1)


def test_a_large_file_is_never_in_memory(visitor: Visitor) -> None:
    size, chunk = 300 * 1024**2, bytes(1024**2)

    def content() -> Iterator[bytes]:
        for _ in range(size // len(chunk)):
            yield chunk

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    headers = {"origin": visitor.origin, "sec-fetch-site": "same-origin"}
    answer = visitor.http.put("/api/files?name=large.bin", content=content(), headers=headers, timeout=120)
    assert answer.status_code == 200
    assert (visitor.folder / "large.bin").stat().st_size == size
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB
