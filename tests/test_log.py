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
