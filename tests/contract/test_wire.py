"""Converting envelopes to contract types and back; bad cases are good ones with a field removed or changed."""

from __future__ import annotations

import base64
import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechpipe.contract import Completion, Letter, Source, Stage, Task, wire
from speechpipe.contract.errors import Unreadable

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


def body(envelope: Any) -> bytes:
    return json.dumps(envelope).encode()


def without(value: dict[str, Any], *path: str) -> dict[str, Any]:
    """A copy with one field removed."""
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return value


# --------------------------------------------------------------------------------------------- Cloud Storage


def test_a_finalized_event_becomes_a_source() -> None:
    expected = Source.model_validate(golden("storage-finalized-source"))
    assert wire.source_from_event(golden("storage-finalized")) == expected


def test_a_notification_becomes_the_source_of_its_object() -> None:
    expected = Source.model_validate(golden("storage-finalized-source"))
    assert wire.source_from_push(body(golden("storage-push"))) == expected


@pytest.mark.parametrize("event_type", ["OBJECT_DELETE", "OBJECT_METADATA_UPDATE", "OBJECT_ARCHIVE", ""])
def test_a_notification_of_anything_but_a_new_object_is_unreadable(event_type: str) -> None:
    push = golden("storage-push")
    push["message"]["attributes"]["eventType"] = event_type
    with pytest.raises(Unreadable, match="another type than OBJECT_FINALIZE"):
        wire.source_from_push(body(push))


@pytest.mark.parametrize("data", [b"no", b"[]", b"{}", b"null", b"[" * 100_000, b"\xff"])
def test_a_notification_without_an_object_is_unreadable(data: bytes) -> None:
    push = golden("storage-push")
    push["message"]["data"] = base64.b64encode(data).decode()
    with pytest.raises(Unreadable):
        wire.source_from_push(body(push))


def test_a_dead_letter_is_a_task_or_an_uploads_event() -> None:
    at = datetime(2026, 11, 22, tzinfo=UTC)
    message = golden("storage-push")["message"]
    attributes = message["attributes"] | {wire.DEAD_LETTER_COUNT: "100"}
    upload = wire.letter_from_message("1", base64.b64decode(message["data"]), attributes, at)
    assert (upload.task, upload.deliveries) == (None, 100)
    assert upload.source == upload.upload == Source.model_validate(golden("storage-finalized-source"))
    task = wire.letter_from_message("2", body(golden("task")), {}, at)
    assert task.upload is None
    assert task.recording_id == upload.recording_id  # both are about the same object
    with pytest.raises(ValueError, match="either a task or an upload's event"):
        Letter(id="3", at=at)


@pytest.mark.parametrize("field", ["bucket", "name", "generation", "timeCreated"])
def test_an_event_that_does_not_identify_its_object_is_unreadable(field: str) -> None:
    with pytest.raises(Unreadable, match=field):
        wire.source_from_event(without(golden("storage-finalized"), field))


@pytest.mark.parametrize(
    "field",
    ["kind", "id", "selfLink", "metageneration", "contentType", "updated", "md5Hash", "crc32c", "etag", "metadata"],
)
def test_an_event_without_an_optional_field_is_read(field: str) -> None:
    source = wire.source_from_event(without(golden("storage-finalized"), field))
    assert source.recording_id == Source.model_validate(golden("storage-finalized-source")).recording_id


def test_an_event_tells_of_a_key_of_the_uploaders_own() -> None:
    keys = {"encryptionAlgorithm": "AES256", "keySha256": "RN0Pue3IJ2Zq9ZwEsAJZ1iH6IYDLvRrGpgXg3cXBnGE="}
    assert wire.source_from_event(golden("storage-finalized") | {"customerEncryption": keys}).customer_key
    assert not wire.source_from_event(golden("storage-finalized") | {"customerEncryption": {}}).customer_key
    assert not wire.source_from_event(golden("storage-finalized") | {"kmsKeyName": "projects/p"}).customer_key


def test_a_size_of_zero_may_be_left_out() -> None:
    assert wire.source_from_event(without(golden("storage-finalized"), "size")).size == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("generation", "-1"),
        ("generation", str(2**63)),
        ("generation", float("inf")),
        ("size", 2**63),
        ("timeCreated", "0001-01-01T00:00:00+14:00"),
        ("contentType", "\ud800"),
        ("metadata", {"\ud800": "a"}),
        ("generation", "newest"),
        ("generation", None),
        ("size", "-1"),
        ("size", "big"),
        ("size", []),
        ("timeCreated", "yesterday"),
        ("metadata", ["a"]),
        ("metadata", {"a": 1}),
        ("name", ""),
        ("name", 7),
        ("name", "\ud800"),
        ("bucket", None),
    ],
)
def test_an_event_with_nonsense_is_unreadable(field: str, value: Any) -> None:
    with pytest.raises(Unreadable):
        wire.source_from_event(golden("storage-finalized") | {field: value})


@pytest.mark.parametrize("data", [None, b"bytes", "text", [], 3])
def test_event_data_that_is_not_an_object_is_unreadable(data: object) -> None:
    with pytest.raises(Unreadable):
        wire.source_from_event(data)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(name=st.text(min_size=1, max_size=80).filter(lambda n: n.isprintable() or "\n" in n))
def test_any_name_survives_conversion_to_a_uri_and_back(name: str) -> None:
    assert wire.split_gs_uri(wire.gs_uri("bucket", name)) == ("bucket", name)


@pytest.mark.parametrize("uri", ["", "gs://", "gs://b", "gs://b/", "gs:///n", "https://b/n", "file:///n"])
def test_a_uri_that_names_no_object_is_unreadable(uri: str) -> None:
    with pytest.raises(Unreadable):
        wire.split_gs_uri(uri)


# --------------------------------------------------------------------------------------------------- Pub/Sub


def test_a_task_becomes_a_message() -> None:
    data, attributes = wire.task_to_message(Task.model_validate(golden("task")))
    assert {"data": json.loads(data), "attributes": attributes} == golden("task-message")


def test_a_push_becomes_a_task() -> None:
    assert wire.task_from_push(body(golden("task-push"))) == Task.model_validate(golden("task"))


@pytest.mark.parametrize(
    "path",
    [
        ("subscription",),
        ("deliveryAttempt",),
        ("message", "attributes"),
        ("message", "messageId"),
        ("message", "message_id"),
        ("message", "publishTime"),
    ],
)
def test_a_push_without_an_optional_field_is_read(path: tuple[str, ...]) -> None:
    assert wire.task_from_push(body(without(golden("task-push"), *path))) == Task.model_validate(golden("task"))


@pytest.mark.parametrize("path", [("message",), ("message", "data")])
def test_a_push_without_a_message_is_unreadable(path: tuple[str, ...]) -> None:
    with pytest.raises(Unreadable):
        wire.task_from_push(body(without(golden("task-push"), *path)))


@pytest.mark.parametrize(
    "raw",
    [b"", b"\xff\xfe", b"not json", b"null", b"[]", b"3", b'"text"', b"{}", b'{"message":[]}', b"[" * 100_000],
)
def test_a_body_that_is_not_a_push_is_unreadable(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        wire.task_from_push(raw)


@pytest.mark.parametrize("data", ["", "%%%", "e30", "e30=\n", 7, None, "bm90IGpzb24=", "e30=", "W10=", "é"])
def test_data_that_is_not_a_task_is_unreadable(data: object) -> None:
    push = golden("task-push")
    push["message"]["data"] = data
    with pytest.raises(Unreadable):
        wire.task_from_push(body(push))


@pytest.mark.parametrize("field", ["recording_id", "stage", "source", "options", "queued_at"])
def test_a_task_without_a_field_is_unreadable_and_the_field_is_named(field: str) -> None:
    push = golden("task-push")
    push["message"]["data"] = base64.b64encode(body(without(golden("task"), field))).decode()
    with pytest.raises(Unreadable, match=field):
        wire.task_from_push(body(push))


def test_a_field_of_a_later_version_is_tolerated() -> None:
    push = golden("task-push") | {"new": 1}
    push["message"] |= {"orderingKey": "k", "data": base64.b64encode(body(golden("task") | {"new": 1})).decode()}
    assert wire.task_from_push(body(push)) == Task.model_validate(golden("task"))


def test_an_error_never_repeats_the_content() -> None:
    secret = golden("task") | {"revision": "a secret"}
    push = {"message": {"data": base64.b64encode(body(secret)).decode()}}
    with pytest.raises(Unreadable) as raised:
        wire.task_from_push(body(push))
    assert "secret" not in str(raised.value)


def test_a_dead_letter_says_how_often_it_was_delivered() -> None:
    expected = wire.DeadLetter(Task.model_validate(golden("task")), deliveries=20, subscription="stt-tasks")
    assert wire.dead_letter_from_push(body(golden("dead-letter-push"))) == expected


@pytest.mark.parametrize("count", [None, "", "many", "²", "-3", "9" * 5000])
def test_a_dead_letter_without_a_count_is_still_a_dead_letter(count: str | None) -> None:
    push = golden("dead-letter-push")
    push["message"]["attributes"] = {} if count is None else {wire.DEAD_LETTER_COUNT: count}
    assert wire.dead_letter_from_push(body(push)).deliveries == 0


# ------------------------------------------------------------------------------------------------- Firestore


@pytest.mark.parametrize(
    "prefix", ["", "documents/", "projects/p/databases/(default)/documents/", "/projects/p/databases/d/documents/"]
)
def test_the_path_of_a_partial_in_each_of_its_forms(prefix: str) -> None:
    path = prefix + wire.partial_document("rec_a", Stage.SER, 12)
    assert wire.partial_from_path(path) == ("rec_a", Stage.SER, 12)


@pytest.mark.parametrize(
    "path",
    [
        None,
        7,
        "",
        "recordings/rec_a",
        "recordings/rec_a/partials/stt",
        "recordings/rec_a/partials/stt.r0",
        "recordings/rec_a/partials/stt.r1x",
        "recordings/rec_a/partials/tts.r1",
        "recordings/rec_a/partials/stt.r1/more/x",
        "recordings/rec_a/leases/stt.r1",
        "recordings//partials/stt.r1",
        "xrecordings/rec_a/partials/stt.r1",
        "recordings/rec_a/partials/stt.r1\n",
        "recordings/rec_a/partials/stt.r" + "9" * 5000,
    ],
)
def test_another_path_is_unreadable(path: object) -> None:
    with pytest.raises(Unreadable):
        wire.partial_from_path(path)


# ------------------------------------------------------------------------------------------------ completion


def test_a_completion_survives_conversion_to_a_message_and_back() -> None:
    completion = Completion.model_validate(golden("completion"))
    data, attributes = wire.completion_to_message(completion)
    assert {"data": json.loads(data), "attributes": attributes} == golden("completion-message")
    assert wire.completion_from_message(data, attributes) == completion


@pytest.mark.parametrize("attribute", ["ce-id", "ce-type", "ce-source", "ce-subject", "ce-time"])
def test_a_completion_without_an_attribute_of_cloudevents_is_unreadable(attribute: str) -> None:
    message = golden("completion-message")
    with pytest.raises(Unreadable, match=attribute):
        wire.completion_from_message(body(message["data"]), without(message["attributes"], attribute))


@pytest.mark.parametrize("attribute", ["recording_id", "status", "revision", "ref", "content-type", "ce-specversion"])
def test_the_plain_attributes_are_for_filters_only(attribute: str) -> None:
    message = golden("completion-message")
    read = wire.completion_from_message(body(message["data"]), without(message["attributes"], attribute))
    assert read == Completion.model_validate(golden("completion"))


def test_attributes_stay_within_the_platforms_limit() -> None:
    completion = Completion.model_validate(golden("completion"))
    long = completion.model_copy(update={"data": completion.data.model_copy(update={"ref": "🎧" * 2000})})
    data, attributes = wire.completion_to_message(long)
    assert attributes["ref"] == "🎧" * 256
    assert wire.completion_from_message(data, attributes).data.ref == "🎧" * 2000
