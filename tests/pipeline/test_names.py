"""Odd names pass unchanged through the verbs, events and artifacts, and break none of them."""

from __future__ import annotations

import json

import pytest

from speechpipe.contract import Status, recording_id, wire
from speechpipe.record.report.escaping import escape
from tests.doubles import source
from tests.names import LONGEST_NAME, ODD_NAMES, PARTED_NAME
from tests.record.test_artifacts import _tags
from tests.simulation import Simulation


def test_the_longest_names_have_the_maximum_length() -> None:
    assert len(LONGEST_NAME.encode()) == len(PARTED_NAME.encode()) == 1024


@pytest.mark.parametrize("name", [*ODD_NAMES, PARTED_NAME, LONGEST_NAME])
def test_every_name_survives_the_whole_pipeline(name: str) -> None:
    sim = Simulation()
    sim.arrive(source(name))
    sim.settle()
    recording = sim.only()
    assert recording.status is Status.COMPLETED
    assert recording.id == recording_id("uploads", name, "1")
    assert recording.source.name == name
    assert [found.id for found in sim.store.recordings(uri=wire.gs_uri("uploads", name))] == [recording.id]
    (completion,) = sim.completions()
    assert completion.data.uri == f"gs://uploads/{name}"
    assert all(
        len(value.encode()) <= wire.MAX_ATTRIBUTE_BYTES for value in wire.completion_to_message(completion)[1].values()
    )

    files = {uri.rpartition("/")[2]: body.decode() for uri, body in sim.results.objects.items()}
    assert json.loads(files["record.json"])["source"]["name"] == name
    assert escape(name) in files["report.html"]
    sim.arrive(source("plain.wav"))
    sim.settle()
    plain = next(
        body for uri, body in sim.results.objects.items() if uri.endswith("report.html") and recording.id not in uri
    )
    assert _tags(files["report.html"]) == _tags(plain.decode())


@pytest.mark.parametrize("name", [*ODD_NAMES, PARTED_NAME, LONGEST_NAME])
def test_a_rejected_recording_keeps_its_name(name: str) -> None:
    sim = Simulation()
    sim.arrive(source(name, metadata={name[:100]: name, "language": name}))
    sim.settle()
    recording = sim.only()
    assert (recording.status, recording.source.name) == (Status.REJECTED, name)
    assert recording.error is not None
    assert recording.error.message.isprintable()
