"""Uploads as tools really make them, from the event that Cloud Storage sends to the outcome."""

from __future__ import annotations

from typing import Any

import pytest

from speechpipe.contract import Recording, Stage, Status, wire
from speechpipe.contract.errors import ErrorCode
from speechpipe.pipeline.backfill import Outcome, foreseen
from speechpipe.pipeline.ingest import ingest, is_ours
from speechpipe.settings import Limits
from tests.doubles import source
from tests.simulation import Simulation

CSEK = {"encryptionAlgorithm": "AES256", "keySha256": "RN0Pue3IJ2Zq9ZwEsAJZ1iH6IYDLvRrGpgXg3cXBnGE="}


def event(name: str = "calls/a.wav", generation: int = 1700000000000001, **fields: Any) -> dict[str, Any]:
    """The data of an event of Cloud Storage (`google.events.cloud.storage.v1.StorageObjectData`)."""
    return {
        "kind": "storage#object",
        "bucket": "uploads",
        "name": name,
        "generation": str(generation),
        "metageneration": "1",
        "size": "352078",
        "contentType": "audio/wav",
        "crc32c": "yZRlqg==",
        "timeCreated": "2026-01-05T10:00:00.123456789Z",
        "updated": "2026-01-05T10:00:00.123456789Z",
        **fields,
    }


def arrive(sim: Simulation, data: dict[str, Any]) -> Recording:
    """Deliver an event and all that follows; the recording that it led to."""
    its = wire.source_from_event(data)
    sim.arrive(its)
    sim.settle()
    recording = sim.store.recording(its.recording_id)
    assert recording is not None
    return recording


def runs(sim: Simulation) -> list[int]:
    return [engine.runs for engine in sim.engines.values()]


# ------------------------------------------------------------------------------- parts of composite uploads

PARTS = [
    "gcloud/tmp/parallel_composite_uploads/see_gcloud_storage_cp_help_for_details/abc123_calls%2Fbig.wav_0",
    "gsutil/tmp/parallel_composite_uploads/for_details_see/gsutil_help_cp/0a1b_0",
    "calls/2026/gcloud/tmp/parallel_composite_uploads/x_1",  # with a relative prefix in gcloud's settings
    "/gsutil/tmp/parallel_composite_uploads/for_details_see/gsutil_help_cp/0a1b_7",
]


@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_a_composite_upload_is_no_recording(name: str) -> None:
    sim = Simulation()
    its = wire.source_from_event(event(name))
    assert ingest(its, sim.world) is None
    assert (sim.store.recordings(), sim.pending()) == ([], [])
    assert foreseen(its, sim.limits, sim.store) is Outcome.IGNORED


def test_the_composed_object_is_a_recording() -> None:
    assert arrive(Simulation(), event("calls/big.wav", componentCount=32)).status is Status.COMPLETED


@pytest.mark.parametrize("name", ["gcloud/tmp.wav", "mygcloud/tmp/a.wav", "gcloud/temp/a.wav", "tmp/gcloud/a.wav"])
def test_a_name_that_only_looks_like_one_is_a_recording(name: str) -> None:
    assert is_ours(source(name), Limits())


# --------------------------------------------------------------------------------------- metadata of tools


@pytest.mark.parametrize("metadata", [{"mtime": "2026-01-05T09:59:58Z"}, {"file-owner": "1000"}, {"__class__": "call"}])
def test_metadata_of_a_tool_is_a_caution_and_rejects_nothing(metadata: dict[str, str]) -> None:
    sim = Simulation()
    recording = arrive(sim, event(metadata=metadata | {"ref": "case-7"}))
    assert recording.status is Status.COMPLETED
    assert recording.options.ref == "case-7"
    assert recording.source.metadata == metadata | {"ref": "case-7"}
    assert recording.result is not None
    for warnings in (recording.warnings, recording.result.warnings):
        [caution] = [warning for warning in warnings if warning.code == "unknown_option"]
        assert repr(next(iter(metadata))) in caution.message


def test_a_misspelt_option_is_rejected_with_the_one_that_was_probably_meant() -> None:
    recording = arrive(Simulation(), event(metadata={"langauge": "de", "mtime": "1"}))
    assert recording.status is Status.REJECTED
    assert recording.error is not None
    assert recording.error.code is ErrorCode.INVALID_OPTION
    assert "'language' was probably meant" in recording.error.message


# ----------------------------------------------------------------------------------------------- encryption


def test_an_object_under_its_uploaders_key_is_rejected_with_a_sentence_about_the_key() -> None:
    sim = Simulation()
    data = event(customerEncryption=CSEK)
    del data["crc32c"]  # Cloud Storage does not tell it without the key
    recording = arrive(sim, data)
    assert recording.status is Status.REJECTED
    assert recording.error is not None
    assert recording.error.code is ErrorCode.CUSTOMER_KEY
    assert "own key (CSEK)" in recording.error.message
    assert runs(sim) == [0, 0]
    assert sim.uploads.opened == 0
    assert foreseen(wire.source_from_event(event("b.wav", customerEncryption=CSEK)), sim.limits, sim.store) is (
        Outcome.REJECTED
    )


def test_an_object_under_a_key_of_cloud_kms_is_as_any_other() -> None:
    data = event(kmsKeyName="projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1")
    assert arrive(Simulation(), data).status is Status.COMPLETED


# ------------------------------------------------------------------------------------- the same bytes again

CLASS = {"storageClass": "NEARLINE", "timeStorageClassUpdated": "2026-02-05T10:00:00Z"}
#: What an event says about an object that Cloud Storage, or a tool, has written once more.
AGAIN: dict[str, dict[str, Any]] = {
    "another class": CLASS,
    "restored": {"restoreToken": "", "timeCreated": "2026-02-05T10:00:00Z", "updated": "2026-02-05T10:00:00Z"},
    "rewritten under a key of Cloud KMS": {"kmsKeyName": "projects/p/locations/l/keyRings/r/cryptoKeys/k"},
    "with another content type": {"contentType": "application/octet-stream", "etag": "CAE="},
    "composed": {"componentCount": 3},  # which has no MD5
}


@pytest.mark.parametrize("how", AGAIN)
def test_a_new_generation_of_the_same_bytes_takes_over_the_finished_result(how: str) -> None:
    sim = Simulation()
    first = arrive(sim, event(generation=20, md5Hash="1B2M2Y8AsgTpgAmY7PhCfg=="))
    again = arrive(sim, event(generation=21, **AGAIN[how]))
    assert (again.status, again.same_content_as, again.supersedes) == (Status.COMPLETED, first.id, first.id)
    assert runs(sim) == [1, 1]
    assert [event.data.same_content_as for event in sim.completions()] == [None, first.id]


# --------------------------------------------------------------------------------------- empty, then whole


@pytest.mark.parametrize("whole_first", [False, True])
def test_an_empty_object_that_is_replaced_costs_nothing_and_the_whole_one_runs(whole_first: bool) -> None:
    """As gcsfuse and s3fs write a file: an empty object first, then the whole one. Events come in any order."""
    sim = Simulation()
    empty = event(generation=10, size="0", contentType="", crc32c="AAAAAA==")
    whole = event(generation=11, crc32c="AAAAAA==")  # the checksum of nothing may be that of something, too
    for data in (whole, empty) if whole_first else (empty, whole):
        arrive(sim, data)
    first, second = (sim.store.recording(wire.source_from_event(data).recording_id) for data in (empty, whole))
    assert first is not None
    assert first.error is not None
    assert (first.status, first.error.code) == (Status.REJECTED, ErrorCode.EMPTY_OBJECT)
    assert second is not None
    assert (second.status, second.same_content_as) == (Status.COMPLETED, None)
    assert second.supersedes == (None if whole_first else first.id)
    assert runs(sim) == [1, 1]


def test_an_empty_object_between_two_of_the_same_bytes_changes_nothing() -> None:
    sim = Simulation()
    first = arrive(sim, event(generation=20))
    empty = arrive(sim, event(generation=21, size="0", crc32c="AAAAAA=="))
    third = arrive(sim, event(generation=22))
    assert (third.status, third.same_content_as, third.supersedes) == (Status.COMPLETED, first.id, empty.id)
    assert [half.attempts for half in third.halves.values()] == [0, 0]
    assert [engine.runs for engine in sim.engines.values()] == [1, 1]
    assert {stage: half.queued_at for stage, half in third.halves.items()} == dict.fromkeys(Stage)
