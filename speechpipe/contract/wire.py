"""Convert the platform's envelopes to contract types and back. Pure: no I/O, no Google library.

Every reader raises `Unreadable` for a message that is not for us, and ignores unknown fields. Golden files:
`tests/contract/golden/`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import ValidationError

from speechpipe.contract import Completion, CompletionData, Letter, Source, Stage, Task
from speechpipe.contract.errors import Unreadable

Message = tuple[bytes, dict[str, str]]  #: data and attributes of a Pub/Sub message

#: The longest value of an attribute, in bytes (https://cloud.google.com/pubsub/quotas#resource_limits).
MAX_ATTRIBUTE_BYTES = 1024

#: Attributes that Pub/Sub adds to a message it forwards to a dead-letter topic
#: (https://cloud.google.com/pubsub/docs/handling-failures#dead_letter_topic).
DEAD_LETTER_COUNT = "CloudPubSubDeadLetterSourceDeliveryCount"
DEAD_LETTER_SUBSCRIPTION = "CloudPubSubDeadLetterSourceSubscription"

_PARTIAL = re.compile(r"(?:.*/)?recordings/(?P<id>[^/]+)/partials/(?P<stage>stt|ser)\.r(?P<revision>[1-9][0-9]{0,8})")


class PartialPath(NamedTuple):
    """The partial that a document holds."""

    recording_id: str
    stage: Stage
    revision: int


class DeadLetter(NamedTuple):
    """A task that was delivered as often as its subscription allows."""

    task: Task
    deliveries: int  #: 0 if the platform does not report it
    subscription: str | None


# -------------------------------------------------------------------------------------------- Cloud Storage


def source_from_event(data: object) -> Source:
    """Read a `StorageObjectData`: the body of a Cloud Storage CloudEvent or notification, or an object of the JSON API.

    64-bit integers come as strings, and a 0 may be left out, as in all JSON made from protocol buffers
    (https://protobuf.dev/programming-guides/json/).
    """
    if not isinstance(data, Mapping):
        raise Unreadable(f"the data of a storage event must be an object, not {type(data).__name__}")
    try:
        bucket, name = _text(data, "bucket"), _text(data, "name")
        source = Source(
            uri=gs_uri(bucket, name),
            bucket=bucket,
            name=name,
            generation=str(_int64(data["generation"])),
            size=_int64(data.get("size", 0)),
            content_type=data.get("contentType") or None,
            crc32c=data.get("crc32c") or None,
            metadata=data.get("metadata") or {},
            customer_key=bool(data.get("customerEncryption")),
            created_at=data["timeCreated"],
        )
        # JSON can escape half a surrogate pair, which no store can hold. Encoding it raises a ValueError.
        json.dumps(source.model_dump(), ensure_ascii=False, default=str).encode()
    except (KeyError, TypeError, ValueError, OverflowError) as error:  # pydantic's ValidationError is a ValueError
        raise Unreadable(f"not a storage object: {_reason(error)}") from error
    return source


def gs_uri(bucket: str, name: str) -> str:
    """Return `gs://bucket/name`. `gs://` URIs have no escapes, so `#` and `?` in the name are plain characters."""
    return f"gs://{bucket}/{name}"


def split_gs_uri(uri: str) -> tuple[str, str]:
    """Split a `gs://` URI into bucket and name. Raises Unreadable."""
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    if not uri.startswith("gs://") or not bucket or not name:
        raise Unreadable("not the gs:// URI of an object")
    return bucket, name


# -------------------------------------------------------------------------------------------------- Pub/Sub


def task_to_message(task: Task) -> Message:
    """Write a task as a message. Its attributes are for filters, tracing and people who inspect dead letters."""
    attributes = {
        "recording_id": task.recording_id,
        "stage": task.stage.value,
        "revision": str(task.revision),
    }
    if task.traceparent:
        attributes["traceparent"] = task.traceparent
    return task.model_dump_json(exclude={"traceparent"}).encode(), attributes


def task_from_push(body: bytes) -> Task:
    """Read a push request's body (https://cloud.google.com/pubsub/docs/push#receive_push)."""
    message = _push_message(body)
    return task_from_message(_decode(message.get("data")), _attributes(message))


def task_from_message(data: bytes, attributes: Mapping[str, str]) -> Task:
    """Read a task from a message."""
    try:
        task = Task.model_validate_json(data)
    except ValidationError as error:
        raise Unreadable(f"not a task: {_reason(error)}") from error
    return task.model_copy(update={"traceparent": attributes.get("traceparent")})


def dead_letter_from_push(body: bytes) -> DeadLetter:
    """Read a push request from the dead-letter topic: the task, and how often it was delivered."""
    message = _push_message(body)
    attributes = _attributes(message)
    count = attributes.get(DEAD_LETTER_COUNT, "")
    return DeadLetter(
        task=task_from_message(_decode(message.get("data")), attributes),
        deliveries=int(count) if re.fullmatch("[0-9]{1,9}", count) else 0,
        subscription=attributes.get(DEAD_LETTER_SUBSCRIPTION),
    )


def letter_from_message(message_id: str, data: bytes, attributes: Mapping[str, str], at: datetime) -> Letter:
    """Read a dead letter from a pull subscription of the dead-letter topic."""
    count = attributes.get(DEAD_LETTER_COUNT, "")
    return Letter(
        id=message_id,
        task=task_from_message(data, attributes),
        deliveries=int(count) if re.fullmatch("[0-9]{1,9}", count) else 0,
        at=at,
    )


def _push_message(body: bytes) -> Mapping[str, Any]:
    try:
        envelope = json.loads(body)
    except ValueError as error:  # UnicodeDecodeError is one too
        raise Unreadable("the body of the push request is not JSON") from error
    except RecursionError as error:
        raise Unreadable("the body of the push request is nested too deeply") from error
    message = envelope.get("message") if isinstance(envelope, dict) else None
    if not isinstance(message, dict):
        raise Unreadable("the push request has no message")
    return message


def _decode(data: object) -> bytes:
    if not isinstance(data, str) or not data:
        raise Unreadable("the message has no data")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unreadable("the data of the message is not base64") from error


def _attributes(message: Mapping[str, Any]) -> dict[str, str]:
    attributes = message.get("attributes")
    if not isinstance(attributes, Mapping):
        return {}
    return {key: value for key, value in attributes.items() if isinstance(value, str)}


# ------------------------------------------------------------------------------------------------ Firestore


def partial_document(recording_id: str, stage: Stage, revision: int) -> str:
    """Return the path of a partial's document."""
    return f"recordings/{recording_id}/partials/{stage.value}.r{revision}"


def partial_from_path(document_path: object) -> PartialPath:
    """Read the path of a partial: `recordings/{id}/partials/{stage}.r{revision}`.

    Accepts the CloudEvent attributes `document` and `subject`, and a full resource name. functions-framework does not
    percent-decode attributes; ids and stages contain nothing to escape.
    """
    match = _PARTIAL.fullmatch(document_path) if isinstance(document_path, str) else None
    if match is None:
        raise Unreadable("not the path of a partial")
    return PartialPath(match["id"], Stage(match["stage"]), int(match["revision"]))


# -------------------------------------------------------------------------------------------------- completion


def completion_to_message(completion: Completion) -> Message:
    """Write a completion in CloudEvents' binary mode over Pub/Sub, with plain attributes to filter by.

    Source: https://github.com/googleapis/google-cloudevents/blob/main/docs/spec/pubsub.md. Values are cut at 1,024
    bytes, the platform's limit; the body holds the uploader's `ref` in full.
    """
    data = completion.data
    attributes = {
        "ce-specversion": "1.0",
        "ce-id": completion.id,
        "ce-source": completion.source,
        "ce-type": completion.type,
        "ce-subject": completion.subject,
        "ce-time": completion.time.isoformat().replace("+00:00", "Z"),
        "content-type": "application/json",
        "recording_id": data.recording_id,
        "status": data.status.value,
        "revision": str(data.revision),
    }
    if data.ref:
        attributes["ref"] = data.ref
    if completion.traceparent:
        # https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/extensions/distributed-tracing.md
        attributes["ce-traceparent"] = completion.traceparent
    return data.model_dump_json().encode(), {key: _bounded(value) for key, value in attributes.items()}


def completion_from_message(data: bytes, attributes: Mapping[str, str]) -> Completion:
    """Read a completion from a subscription."""
    try:
        return Completion(
            id=attributes["ce-id"],
            type=attributes["ce-type"],
            source=attributes["ce-source"],
            subject=attributes["ce-subject"],
            time=attributes["ce-time"],
            data=CompletionData.model_validate_json(data),
            traceparent=attributes.get("ce-traceparent"),
        )
    except (KeyError, ValueError) as error:
        raise Unreadable(f"not a completion: {_reason(error)}") from error


def _bounded(value: str) -> str:
    return value.encode()[:MAX_ATTRIBUTE_BYTES].decode(errors="ignore")


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data[key]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} is not a name")
    return value


def _int64(value: Any) -> int:
    """Read a non-negative 64-bit integer from a number or from text. Raises ValueError."""
    number = int(value)
    if not 0 <= number < 1 << 63:
        raise ValueError("not a 64-bit integer")
    return number


def _reason(error: Exception) -> str:
    """Say what is wrong in one line, without quoting the content, which may be private."""
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['type']}" for e in error.errors()[:3])
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    return type(error).__name__
