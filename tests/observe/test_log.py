"""Logs: JSON for Cloud Logging, text for people."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from google.api_core import exceptions as google

from speechpipe.contract import Task
from speechpipe.contract.errors import EngineUnavailable
from speechpipe.observe import log


@pytest.fixture
def stream() -> io.StringIO:
    """A stream for the log."""
    return io.StringIO()


def test_in_cloud_run_a_record_is_one_line_of_json(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K_SERVICE", "ingest")
    log.configure(stream=stream)
    logging.getLogger("x").warning("recording\n%s", "queued – ü", extra={"action": "queued", "recording_id": "rec_a"})
    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)
    del entry["time"]
    assert entry == {
        "severity": "WARNING",
        "message": "recording\nqueued – ü",
        "logger": "x",
        "action": "queued",
        "recording_id": "rec_a",
    }


def test_a_traceback_is_part_of_the_message(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K_SERVICE", "ingest")
    log.configure(stream=stream)
    try:
        raise EngineUnavailable("away")
    except EngineUnavailable:
        logging.exception("failed")
    assert "EngineUnavailable: away" in json.loads(stream.getvalue())["message"]


def test_elsewhere_a_record_is_text(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("K_SERVICE", raising=False)
    log.configure(stream=stream)
    logging.getLogger("x").info("queued", extra={"action": "queued", "recording_id": "rec_a"})
    assert stream.getvalue().endswith("INFO    queued action=queued recording_id=rec_a\n")


def test_a_line_has_its_recording_and_stage_wherever_it_is_logged(stream: io.StringIO) -> None:
    log.configure("json", stream=stream)
    with log.bound_fields(recording_id="rec_a"), log.bound_fields(stage="stt", other=None):
        logging.getLogger("x").info("inside")
    logging.getLogger("x").info("outside")
    inside, outside = map(json.loads, stream.getvalue().splitlines())
    assert (inside["recording_id"], inside["stage"]) == ("rec_a", "stt")
    assert not {"recording_id", "stage", "other"} & set(outside)


def test_json_becomes_text_again_and_other_lines_stay_as_they_are(stream: io.StringIO) -> None:
    log.configure("json", stream=stream)
    try:
        raise EngineUnavailable("away")
    except EngineUnavailable:
        logging.getLogger("x").exception("failed", extra={"action": "failed"})
    first, *rest = log.as_text(stream.getvalue().rstrip("\n")).splitlines()
    assert first[8:] == " ERROR   failed action=failed"
    assert rest[-1] == "  speechpipe.contract.errors.EngineUnavailable: away"
    for line in ("Killed", "{not json", '{"a": 1}', "[1]"):
        assert log.as_text(line) == line


HOSTILE = "a\n12:00:00 INFO    deleted everything\x1b]0;b\x07\x9b2J\u202e\u2028.wav"


@pytest.mark.parametrize("form", ["text", "json"])
def test_foreign_text_can_neither_start_a_line_nor_control_a_terminal(stream: io.StringIO, form: str) -> None:
    log.configure(form, stream=stream)
    logging.getLogger("x").info("seen %s", HOSTILE, extra={"ref": HOSTILE})
    (line,) = stream.getvalue().split("\n")[:-1]
    assert line.isprintable()
    if form == "json":
        entry = json.loads(line)
        assert (entry["message"], entry["ref"]) == (f"seen {HOSTILE}", HOSTILE)
        assert [part[:2] for part in log.as_text(line).split("\n")[1:]] == ["  "]
        assert log.as_text(line).replace("\n", "").isprintable()


def test_a_traceback_cannot_pass_for_log_lines(stream: io.StringIO) -> None:
    log.configure("text", stream=stream)
    try:
        raise EngineUnavailable(HOSTILE)
    except EngineUnavailable:
        logging.getLogger("x").exception("failed")
    first, *rest = stream.getvalue().split("\n")[:-1]
    assert first.endswith("failed")
    assert all(line.startswith("  ") and line.isprintable() for line in rest)


@pytest.mark.parametrize(
    "line", ["\x1b]0;b\x07", '{"severity": ["x"], "message": {}, "time": null, "a": "\\u001b[2J"}']
)
def test_a_childs_output_cannot_control_the_terminal(line: str) -> None:
    assert log.as_text(line).isprintable()


SECRET = " ".join(("my card number", "is", "4111"))  # in pieces, because a traceback shows lines of this file


not_found: Callable[[str], Exception] = google.NotFound
denied: Callable[[str], Exception] = google.PermissionDenied


def raised(error: Exception) -> None:
    raise error


def chained() -> None:
    try:
        int(SECRET)
    except ValueError as error:
        raise KeyError(SECRET) from error


QUOTING: dict[str, Callable[[], object]] = {
    "value": lambda: int(SECRET),
    "key": lambda: dict[str, str]()[SECRET],
    "contract": lambda: Task.model_validate({"recording_id": {"text": SECRET}}),
    "file": lambda: Path(f"/nowhere/{SECRET}.wav").read_bytes(),
    "engine": lambda: raised(RuntimeError(SECRET)),
    "memory": lambda: raised(MemoryError(SECRET)),
    "storage": lambda: raised(not_found(f"404 GET https://storage.googleapis.com/storage/v1/b/u/o/{SECRET}: no")),
    "storage, without a host": lambda: raised(not_found(f"404 GET /storage/v1/b/u/o/{SECRET}: no")),
    "chain": chained,
}


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("kind", QUOTING)
def test_a_traceback_never_quotes_an_exceptions_input(stream: io.StringIO, form: str, kind: str) -> None:
    log.configure(form, stream=stream, level=logging.DEBUG)
    with pytest.raises(Exception, match=SECRET) as caught:
        QUOTING[kind]()
    logging.getLogger("x").error("failed", exc_info=caught.value)
    logged = stream.getvalue()
    assert type(caught.value).__name__ in logged
    assert "test_log.py" in logged  # where it was raised
    assert "card number" not in logged


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("CUDA failed with error out of memory"), "RuntimeError: CUDA failed with error out of memory"),
        (OSError(28, "No space left on device", "/tmp/my secret.wav"), "OSError: No space left on device"),
        (ModuleNotFoundError("No module named 'torch'"), "ModuleNotFoundError: No module named 'torch'"),
        (denied("Permission 'datastore.entities.get' denied"), "403 Permission 'datastore.entities.get' denied"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
    ids=str,
)
def test_a_message_about_the_machine_is_shown(stream: io.StringIO, error: BaseException, message: str) -> None:
    log.configure("text", stream=stream)
    logging.getLogger("x").error("failed", exc_info=error)
    assert stream.getvalue().splitlines()[-1].strip().endswith(message)


@pytest.mark.parametrize(
    "text",
    [
        *("می\u200cخواهم به خانه بروم", "これは\u3000テスト", "C\u2019est vrai\u202f!", "10\xa0000 €", "co\xadoperate"),
        *("👨\u200d👩\u200d👧 happy", "न्\u200dया", "שלום\u200f!", "\u2067مرحبا\u2069", "ผม\u200bอยาก", "a\tb"),
    ],
)
def test_joiners_spaces_and_marks_are_shown(text: str) -> None:
    assert log.printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u202egpj.exe\u202c", "a\\u202egpj.exe\\u202c"),
        ("a\u2066b", "a\\u2066b"),  # it would not end, and reorder what follows
        ("a\u2069\u2066b", "a\\u2069\\u2066b"),
        ("a\x1b[2J\x9b\u2028b\r\n", "a\\x1b[2J\\x9b\\u2028b\\r\\n"),
        ("\U000e0041\ufff9\ue000", "\\U000e0041\\ufff9\\ue000"),
    ],
)
def test_what_could_disguise_other_text_is_escaped(text: str, shown: str) -> None:
    assert log.printable(text) == shown
