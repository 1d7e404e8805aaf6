"""The console's HTTP API."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from speechpipe import Client
from speechpipe.backends.local.folder import FolderUploads
from speechpipe.console import Console
from speechpipe.contract import Retained, Stage
from tests.console.conftest import WAIT_SECONDS, Visitor
from tests.doubles import FixedEngine, ready
from tests.media import write_wav

pytestmark = pytest.mark.slow  # together over ten seconds


def test_the_page_is_served_under_a_policy_that_runs_nothing_else(visitor: Visitor) -> None:
    for path, kind in {"/": "text/html", "/console.css": "text/css", "/console.js": "text/javascript"}.items():
        answer = visitor.http.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "connect-src 'self'; " in policy  # a folder has no bucket to upload to
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
    page = visitor.http.get("/").text
    assert "http://" not in page
    assert "https://" not in page
    assert " style=" not in page


def test_an_upload_becomes_a_recording_that_viewers_see_and_can_search(visitor: Visitor) -> None:
    recording_id = visitor.finish(b"audio", "team/call.wav", ref="case-7")
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
    for no_match in ({"q": "refund"}, {"status": "failed"}, {"emotion": "anger"}, {"language": "de"}, {"q": '"*('}):
        assert visitor.list(**no_match) == []
    assert visitor.list(since="2020-01-01T00:00:00Z", until="2020-01-02T00:00:00Z") == []
    assert len(visitor.list(since="2020-01-01T00:00:00Z", until="2999-01-01T00:00:00Z")) == 1


def test_counters_cover_statuses_stages_and_recent_throughput(visitor: Visitor) -> None:
    visitor.finish()
    counters = visitor.wait_for_counters(lambda data: data["states"]["completed"] == 1)
    assert counters["languages"] == {"en": 1}
    assert counters["emotions"] == {"neutral": 1}
    assert counters["recently"]["recordings"] == 1
    assert counters["recently"]["audio_seconds"] == 4
    assert counters["recently"]["compute_seconds"] == 0.5
    assert counters["stages"]["stt"] == {"waiting": 0, "running": 0, "oldest_at": None}


def test_a_recording_has_its_history_report_audio_and_downloads(visitor: Visitor) -> None:
    recording_id = visitor.finish(b"0123456789", "a b.wav")
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
    ("requested", "status", "content", "content_range"),
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
def test_audio_is_served_by_range(
    visitor: Visitor, requested: str | None, status: int, content: bytes, content_range: str | None
) -> None:
    recording_id = visitor.finish(b"0123456789")
    answer = visitor.http.get(f"/recordings/{recording_id}/audio", headers={"range": requested} if requested else {})
    assert (answer.status_code, answer.content, answer.headers.get("content-range")) == (status, content, content_range)
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"


def test_an_upload_is_never_served_as_a_page(visitor: Visitor) -> None:
    recording_id = visitor.upload(b"<script>alert(1)</script>", "page.html")
    visitor.client.wait(recording_id, timeout=WAIT_SECONDS)
    answer = visitor.http.get(f"/recordings/{recording_id}/audio")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_half_can_be_redriven(visitor: Visitor) -> None:
    recording_id = visitor.finish()
    answer = visitor.post(f"/api/recordings/{recording_id}/redrive", {"stages": ["ser"]})
    assert (answer.status_code, answer.json()["revision"]) == (200, 2)
    visitor.client.wait(recording_id, timeout=WAIT_SECONDS)
    visitor.wait_for_row(lambda row: row["revision"] == 2 and row["announced"])
    recording = visitor.client.get(recording_id)
    assert recording.rerun == (Stage.SER,)
    assert visitor.list(q="order")[0]["revision"] == 2  # the new revision's text is searchable too


def test_erasing_says_until_when_an_upload_under_retention_stays(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording_id = visitor.finish(b"audio", "secret.wav")
    monkeypatch.setattr(FolderUploads, "delete", lambda self, source: Retained(hold=True))
    answer = visitor.post(f"/api/recordings/{recording_id}/erase", {"upload": True}).json()
    assert (answer["status"], answer["upload_stays_until"]) == ("erased", "its hold is released")


def test_erasing_removes_words_and_name(visitor: Visitor) -> None:
    recording_id = visitor.finish(b"audio", "secret.wav")
    assert len(visitor.list(q="secret")) == 1
    assert visitor.post(f"/api/recordings/{recording_id}/erase", {"upload": True}).json()["status"] == "erased"
    visitor.wait_for_counters(lambda data: data["states"]["erased"] == 1)
    assert visitor.list(q="secret") == visitor.list(q="order") == []
    assert visitor.row(recording_id)["name"] == ""
    assert not (visitor.folder / "secret.wav").exists()
    assert visitor.http.get(f"/recordings/{recording_id}/report").status_code == 404


def test_invalid_requests_get_an_error_message(visitor: Visitor) -> None:
    recording_id = visitor.finish()
    body = {"name": "call.wav", "size": 5, "options": {"task": "sing"}}
    assert "allowed: transcribe or translate" in visitor.post("/api/uploads", body).json()["error"]
    for name in ("", "a/", ".hidden.wav", "call.wav.meta.json", "x" * 901):
        answer = visitor.post("/api/uploads", {"name": name, "size": 5})
        assert answer.status_code == 422
    outside = visitor.http.put(
        "/api/files?name=../../x.wav", content=b"x", headers={"origin": visitor.origin, "sec-fetch-site": "same-origin"}
    )
    assert outside.status_code == 404
    same_site = {"origin": visitor.origin, "sec-fetch-site": "same-origin"}
    unreadable = visitor.http.put("/api/files?name=a.wav&options=sing", content=b"x", headers=same_site)
    assert unreadable.status_code == 400
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
def test_requests_from_other_pages_change_nothing(visitor: Visitor, headers: dict[str, str], status: int) -> None:
    recording_id = visitor.finish()
    answer = visitor.http.post(f"/api/recordings/{recording_id}/erase", json={}, headers=headers)
    assert answer.status_code == status
    assert visitor.row(recording_id)["status"] == "completed"


def test_without_fetch_metadata_the_origin_decides(visitor: Visitor) -> None:
    recording_id = visitor.finish()
    answer = visitor.http.post(f"/api/recordings/{recording_id}/erase", json={}, headers={"origin": visitor.origin})
    assert answer.status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8090", "127.0.0.1", "localhost.evil.example:8090", ""])
def test_a_foreign_host_name_is_refused(visitor: Visitor, host: str) -> None:
    for path in ("/", "/api/recordings", "/api/events"):
        assert visitor.http.get(path, headers={"host": host}).status_code == 421


def test_a_second_console_takes_the_next_port(visitor: Visitor) -> None:
    with Console(visitor.client) as second:
        assert second.url != str(visitor.http.base_url)


def test_a_held_recording_can_be_released(folder: Path, tmp_path: Path) -> None:
    limits = {"SPEECHPIPE_MAX_DURATION": "1"}
    engines = {stage: FixedEngine(stage) for stage in Stage}
    with (
        Client(folder, engines=ready(engines), environ=limits) as client,
        Console(client) as console,
        httpx.Client(base_url=console.url, timeout=WAIT_SECONDS) as http,
    ):
        client.work()
        visitor = Visitor(http, client, folder)
        write_wav(tmp_path / "long.wav", np.zeros(32_000, np.int16))
        (tmp_path / "long.wav").rename(folder / "long.wav")  # so that no scan sees half of the file
        visitor.wait_for_counters(lambda data: data["states"]["held"] == 1)
        (row,) = visitor.list(status="held")
        assert "2.0" in row["problem"] or "0:02" in row["problem"]
        assert visitor.post(f"/api/recordings/{row['id']}/release").json()["status"] == "queued"
        visitor.wait_for_counters(lambda data: data["states"]["completed"] == 1)


def test_a_large_upload_is_never_held_in_memory(visitor: Visitor) -> None:
    size, chunk = 300 * 1024**2, bytes(1024**2)

    def content() -> Iterator[bytes]:
        for _ in range(size // len(chunk)):
            yield chunk

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    headers = {"origin": visitor.origin, "sec-fetch-site": "same-origin"}
    answer = visitor.http.put("/api/files?name=large.bin", content=content(), headers=headers)
    assert answer.status_code == 200
    assert (visitor.folder / "large.bin").stat().st_size == size
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB
