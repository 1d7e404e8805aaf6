"""The report embeds a small recording so that it can play it, but not a large one or one that was deleted."""

from __future__ import annotations

import base64
import gzip
from typing import Any

import pytest

from speechpipe.contract import Source, Status
from speechpipe.record.report import data_url
from speechpipe.settings import Limits
from tests.doubles import source
from tests.simulation import Simulation

CONTENT = b"\x00RIFF\xff"


def finished(sim: Simulation, content: bytes = CONTENT) -> str:
    """Run a recording through the pipeline and return its report."""
    upload = source(size=len(content)).model_copy(update={"content_type": "audio/wav"})
    sim.uploads.bodies[upload.name] = content
    sim.arrive(upload)
    sim.settle()
    assert sim.only().status is Status.COMPLETED
    [report] = [body for uri, body in sim.results.objects.items() if uri.endswith("report.html")]
    return report.decode()


def test_a_small_recording_is_embedded_in_its_report() -> None:
    encoded = base64.b64encode(CONTENT).decode()
    assert f' data-audio="data:audio/wav;base64,{encoded}"' in finished(Simulation())


@pytest.mark.parametrize(("limit", "embedded"), [(len(CONTENT), True), (len(CONTENT) - 1, False), (0, False)])
def test_the_size_limit_for_embedding_is_a_setting(limit: int, embedded: bool) -> None:
    assert ("data-audio" in finished(Simulation(limits=Limits(embed_bytes=limit))).split("<script")[0]) is embedded


def test_a_compressed_upload_is_not_embedded() -> None:
    assert "data-audio" not in finished(Simulation(), gzip.compress(CONTENT)).split("<script")[0]


def test_a_record_is_written_even_if_the_upload_was_deleted_meanwhile() -> None:
    sim = Simulation()
    sim.arrive(source())
    for message in sim.pending():
        sim.deliver(message)  # ingest
    for message in sim.pending():
        sim.deliver(message)  # performs both halves
    sim.uploads.gone.add(source().name)
    sim.settle()
    assert sim.only().status is Status.COMPLETED
    [report] = [body for uri, body in sim.results.objects.items() if uri.endswith("report.html")]
    assert b"data:audio" not in report


def test_a_failed_read_from_the_uploads_bucket_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = Simulation()
    real_open = sim.uploads.open
    failing = [ConnectionError("reset by peer")]

    def opened(upload: Source) -> Any:
        if failing and sim.store.partials(upload.recording_id):  # not when ingest reads the header
            raise failing.pop()
        return real_open(upload)

    monkeypatch.setattr(sim.uploads, "open", opened)
    with pytest.raises(ConnectionError):
        finished(sim)
    assert sim.completions() == []
    sim.settle()
    assert sim.only().status is Status.COMPLETED
    assert any(b"data:audio" in body for uri, body in sim.results.objects.items() if uri.endswith("report.html"))


@pytest.mark.parametrize(
    ("name", "content_type", "expected"),
    [
        ("call.mp3", "audio/ogg", "audio/ogg"),
        ("call.mp4", None, "video/mp4"),
        ("call.mp3", "application/octet-stream", "audio/mpeg"),
        ("call.mp3", 'text/html"><script>', "audio/mpeg"),
        ("call", None, "audio/mpeg"),
    ],
)
def test_the_media_type_of_embedded_audio(name: str, content_type: str | None, expected: str) -> None:
    assert data_url(b"a", name, content_type) == f"data:{expected};base64,YQ=="
