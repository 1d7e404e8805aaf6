"""A small recording is heard in its report; a large one, or one that is gone, is not."""

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
    """The report of a recording that went through the pipeline."""
    upload = source(size=len(content)).model_copy(update={"content_type": "audio/wav"})
    sim.uploads.bodies[upload.name] = content
    sim.arrive(upload)
    sim.settle()
    assert sim.only().status is Status.COMPLETED
    [report] = [body for uri, body in sim.results.objects.items() if uri.endswith("report.html")]
    return report.decode()


def test_a_small_recording_is_heard_in_its_report() -> None:
    sound = base64.b64encode(CONTENT).decode()
    assert f' data-audio="data:audio/wav;base64,{sound}"' in finished(Simulation())


@pytest.mark.parametrize(("most", "heard"), [(len(CONTENT), True), (len(CONTENT) - 1, False), (0, False)])
def test_how_small_is_a_setting(most: int, heard: bool) -> None:
    assert ("data-audio" in finished(Simulation(limits=Limits(embed_bytes=most))).split("<script")[0]) is heard


def test_what_was_stored_packed_is_not_unpacked_for_it() -> None:
    assert "data-audio" not in finished(Simulation(), gzip.compress(CONTENT)).split("<script")[0]


def test_an_upload_that_was_deleted_meanwhile_keeps_no_record_back() -> None:
    sim = Simulation()
    sim.arrive(source())
    for message in sim.pending():
        sim.deliver(message)  # ingest
    for message in sim.pending():
        sim.deliver(message)  # both halves
    sim.uploads.gone.add(source().name)
    sim.settle()
    assert sim.only().status is Status.COMPLETED
    [report] = [body for uri, body in sim.results.objects.items() if uri.endswith("report.html")]
    assert b"data:audio" not in report


def test_a_bucket_that_does_not_answer_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = Simulation()
    there = sim.uploads.open
    failing = [ConnectionError("reset by peer")]

    def opened(upload: Source) -> Any:
        if failing and sim.store.partials(upload.recording_id):  # not ingest's look at the header
            raise failing.pop()
        return there(upload)

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
def test_the_type_of_a_sound(name: str, content_type: str | None, expected: str) -> None:
    assert data_url(b"a", name, content_type) == f"data:{expected};base64,YQ=="
