"""The targets: everything that reads input from strangers, clouds and operators, and the outcomes that are allowed.

A target reads one input. It returns the outcome, `read` or why it was refused, and raises an exception for a finding:
an error that its callers do not expect, or a result that breaks a promise.
"""

from __future__ import annotations

import io
import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechpipe.backends.local import folder
from speechpipe.contract import Options, Source, Task, prices, wire
from speechpipe.contract.errors import Rejected, SettingsMissing, Unreadable
from speechpipe.contract.options import parse_options
from speechpipe.observe import log, spans
from speechpipe.pipeline.probe import MAX_BLOCKS, probe
from speechpipe.settings import ClientSettings, FunctionSettings, WorkerSettings, read
from tests.fuzz.mutation import mutated_bytes, mutated_json
from tests.fuzz.seeds import media

GOLDEN = Path(__file__).parent.parent / "contract" / "golden"
_INT64 = 2**63


@dataclass(frozen=True)
class Target:
    """A reader, and how to make inputs for it."""

    name: str
    make: Callable[[random.Random], bytes]
    run: Callable[[bytes], str]


def _golden(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


# ------------------------------------------------------------------------------------------------- envelopes


def _task_push(body: bytes) -> str:
    try:
        return _usable_task(wire.task_from_push(body))
    except Unreadable:
        return "unreadable"


def _dead_letter(body: bytes) -> str:
    try:
        letter = wire.dead_letter_from_push(body)
    except Unreadable:
        return "unreadable"
    assert letter.deliveries >= 0
    return _usable_task(letter.task)


def _task(body: bytes) -> str:
    try:
        return _usable_task(wire.task_from_message(body, {"traceparent": "00-x"}))
    except Unreadable:
        return "unreadable"


def _usable_task(task: Task) -> str:
    """Do what a worker does with a task before it reads the recording."""
    data, attributes = wire.task_to_message(task)
    assert wire.task_from_message(data, attributes) == task
    spans.parse_traceparent(task.traceparent)
    _usable(task.source)
    return "read"


def _storage_push(body: bytes) -> str:
    try:
        return _usable_upload(wire.source_from_push(body))
    except Unreadable:
        return "unreadable"


def _storage_object(body: bytes) -> str:
    try:
        return _usable_upload(wire.source_from_message(body, {"eventType": "OBJECT_FINALIZE"}))
    except Unreadable:
        return "unreadable"


def _usable_upload(source: Source) -> str:
    assert 0 <= int(source.generation) < _INT64  # as in Cloud Storage; Firestore cannot store larger numbers
    assert source.size < _INT64
    _usable(source)
    return _options(json.dumps(source.metadata).encode())


def _usable(source: Source) -> None:
    """Check that a source has an id and can be stored and read again."""
    assert len(source.recording_id) == 30
    assert Source.model_validate_json(source.model_dump_json()) == source


def _partial_path(body: bytes) -> str:
    try:
        path = wire.partial_from_path(body.decode(errors="replace"))
    except Unreadable:
        return "unreadable"
    assert wire.partial_document(*path) in body.decode(errors="replace")
    return "read"


def _completion(body: bytes) -> str:
    try:
        message = json.loads(body)
        data, attributes = json.dumps(message["data"]).encode(), dict(message["attributes"])
        json.dumps(attributes, ensure_ascii=False).encode()  # protocol buffers must be valid UTF-8
    except (ValueError, RecursionError, KeyError, TypeError):
        return "no message"
    try:
        completion = wire.completion_from_message(data, attributes)
    except Unreadable:
        return "unreadable"
    data, attributes = wire.completion_to_message(completion)
    assert all(len(value.encode()) <= wire.MAX_ATTRIBUTE_BYTES for value in attributes.values())
    return "read"


def _traceparent(body: bytes) -> str:
    return "read" if spans.parse_traceparent(body.decode(errors="replace")) else "none"


# ------------------------------------------------------------------------- what uploaders and operators write


def _options(body: bytes) -> str:
    try:
        metadata = {str(key): str(value) for key, value in json.loads(body).items()}
    except (ValueError, RecursionError, AttributeError):
        return "no metadata"
    try:
        options = parse_options(metadata)
    except Rejected as rejected:
        return _refusal(rejected)
    assert Options.model_validate_json(options.model_dump_json()) == options
    return "read"


def _refusal(rejected: Rejected) -> str:
    assert rejected.message.isprintable(), "the message must escape its input"
    return rejected.code.value


def _sidecar(body: bytes) -> str:
    """`NAME.meta.json` next to a file in a folder."""
    metadata = folder.metadata_from(body)
    source = Source.model_validate({**_golden("storage-finalized-source"), "metadata": metadata})
    _usable(source)
    return _options(json.dumps(metadata).encode())


def _prices(body: bytes) -> str:
    try:
        table = prices.read(body.decode(errors="surrogateescape"))  # as os.environ decodes
    except SettingsMissing:
        return "unusable"
    if table:
        assert all(math.isfinite(table.per_audio_hour(stage)) or table.per_hour[stage] > 1e300 for stage in table.speed)
    return "read"


def _settings(body: bytes) -> str:
    try:
        environment = {str(key): str(value) for key, value in json.loads(body).items()}
    except (ValueError, RecursionError, AttributeError):
        return "no environment"
    missing = 0
    for kind in (FunctionSettings, WorkerSettings, ClientSettings):
        try:
            read(kind, environment)
        except SettingsMissing:
            missing += 1
    return "read" if missing == 0 else "unusable"


def _log_line(body: bytes) -> str:
    """A line from a child process of `speechpipe up`."""
    line = body.decode(errors="replace").replace("\n", " ")
    text = log.as_text(line)
    assert isinstance(text, str)
    return "read" if log.parse_line(line) else "none"


class _Counted(io.BytesIO):
    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        part = super().read(size)
        self.taken += len(part)
        return part


def _probe(body: bytes) -> str:
    file = _Counted(body)
    length = probe(file, len(body))
    assert math.isfinite(length.seconds)
    assert length.seconds >= 0
    assert length.channels >= 1
    assert file.taken <= (MAX_BLOCKS + 2) * 256 * 1024
    return "exact" if length.exact else "guessed"


def _json(*seeds: Any) -> Callable[[random.Random], bytes]:
    return lambda rng: mutated_json(rng, seeds)


def _bytes(seeds: Sequence[bytes]) -> Callable[[random.Random], bytes]:
    return lambda rng: mutated_bytes(rng, seeds)


_OPTIONS = {
    "language": "en", "task": "translate", "hotwords": "kettle", "initial-prompt": "Hello.", "channels": "split",
    "emotion": "0,1", "ref": "case-7", "goog-reserved-file-mtime": "1763800000",
}  # fmt: skip
_ENVIRONMENT = {
    "GOOGLE_CLOUD_PROJECT": "p", "SPEECHPIPE_UPLOADS_BUCKET": "u", "SPEECHPIPE_RESULTS_BUCKET": "r",
    "SPEECHPIPE_STAGE": "stt", "SPEECHPIPE_PRICES": "l4", "SPEECHPIPE_MAX_BYTES": "1000", "PORT": "8080",
    "SPEECHPIPE_MAX_COST": "0.5", "SPEECHPIPE_MAX_DURATION": "600", "SPEECHPIPE_DEADLINE_SECONDS": "3600",
    "SPEECHPIPE_CONCURRENCY": "4", "SPEECHPIPE_THREADS": "2", "SPEECHPIPE_MAX_SECONDS": "60",
}  # fmt: skip
_PRICES = {"currency": "EUR", "per_hour": {"stt": 1.0, "ser": 1.0}, "speed": {"stt": 90, "ser": 190}}
_LINE = {"severity": "INFO", "message": "queued\nmore", "time": "2026-11-22T10:40:00+00:00", "logger": "x", "a": 1}
_PATHS = (b"recordings/rec_a/partials/stt.r1", b"documents/recordings/a/partials/ser.r99")
_TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def targets() -> dict[str, Target]:
    """All targets except the decoder, by name."""
    found = (
        Target("task-push", _json(_golden("task-push")), _task_push),
        Target("dead-letter", _json(_golden("dead-letter-push"), _golden("task-push")), _dead_letter),
        Target("task", _json(_golden("task")), _task),
        Target("storage-push", _json(_golden("storage-push")), _storage_push),
        Target("storage-object", _json(_golden("storage-finalized")), _storage_object),
        Target("partial-path", _bytes(_PATHS), _partial_path),
        Target("completion", _json(_message("completion-message")), _completion),
        Target("traceparent", _bytes([_TRACEPARENT]), _traceparent),
        Target("options", _json(_OPTIONS), _options),
        Target("sidecar", _json(_OPTIONS), _sidecar),
        Target("prices", _json(_PRICES), _prices),
        Target("settings", _json(_ENVIRONMENT), _settings),
        Target("log-line", _json(_LINE), _log_line),
        Target("probe", _bytes(media()), _probe),
    )
    return {target.name: target for target in found}


def _message(name: str) -> Any:
    message = _golden(name)
    return {**message, "data": message["data"] if isinstance(message["data"], dict) else json.loads(message["data"])}
