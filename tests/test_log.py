"""Logs: JSON where Cloud Logging reads them, text for people."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from speechpipe import log


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What was logged; the root logger is as it was afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)


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
        raise RuntimeError("away")
    except RuntimeError:
        logging.exception("failed")
    assert "RuntimeError: away" in json.loads(stream.getvalue())["message"]


def test_elsewhere_a_record_is_text(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("K_SERVICE", raising=False)
    log.configure(stream=stream)
    logging.getLogger("x").info("queued", extra={"action": "queued", "recording_id": "rec_a"})
    assert stream.getvalue().endswith("INFO    queued action=queued recording_id=rec_a\n")


def test_a_line_has_its_recording_and_its_stage_wherever_it_is_written(stream: io.StringIO) -> None:
    log.configure("json", stream=stream)
    with log.about(recording_id="rec_a"), log.about(stage="stt", other=None):
        logging.getLogger("x").info("inside")
    logging.getLogger("x").info("outside")
    inside, outside = map(json.loads, stream.getvalue().splitlines())
    assert (inside["recording_id"], inside["stage"]) == ("rec_a", "stt")
    assert not {"recording_id", "stage", "other"} & set(outside)


def test_json_reads_as_text_again_and_other_lines_stay(stream: io.StringIO) -> None:
    log.configure("json", stream=stream)
    try:
        raise RuntimeError("away")
    except RuntimeError:
        logging.getLogger("x").exception("failed", extra={"action": "failed"})
    first, *rest = log.as_text(stream.getvalue().rstrip("\n")).splitlines()
    assert first[8:] == " ERROR   failed action=failed"
    assert rest[-1] == "  RuntimeError: away"
    for line in ("Killed", "{not json", '{"a": 1}', "[1]"):
        assert log.as_text(line) == line


HOSTILE = "a\n12:00:00 INFO    deleted everything\x1b]0;b\x07\x9b2J\u202e\u2028.wav"


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_strangers_wrote_is_no_line_of_its_own_and_no_command(stream: io.StringIO, form: str) -> None:
    log.configure(form, stream=stream)
    logging.getLogger("x").info("seen %s", HOSTILE, extra={"ref": HOSTILE})
    (line,) = stream.getvalue().split("\n")[:-1]
    assert line.isprintable()
    if form == "json":
        entry = json.loads(line)
        assert (entry["message"], entry["ref"]) == (f"seen {HOSTILE}", HOSTILE)
        assert [part[:2] for part in log.as_text(line).split("\n")[1:]] == ["  "]
        assert log.as_text(line).replace("\n", "").isprintable()


def test_a_traceback_cannot_pass_for_other_lines(stream: io.StringIO) -> None:
    log.configure("text", stream=stream)
    try:
        raise RuntimeError(HOSTILE)
    except RuntimeError:
        logging.getLogger("x").exception("failed")
    first, *rest = stream.getvalue().split("\n")[:-1]
    assert first.endswith("failed")
    assert all(line.startswith("  ") and line.isprintable() for line in rest)


@pytest.mark.parametrize(
    "line", ["\x1b]0;b\x07", '{"severity": ["x"], "message": {}, "time": null, "a": "\\u001b[2J"}']
)
def test_what_a_child_wrote_cannot_steer_the_terminal(line: str) -> None:
    assert log.as_text(line).isprintable()
