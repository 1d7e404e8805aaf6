"""Logging: JSON lines where Cloud Logging reads them, plain text for people. Actions and ids, never content.

A line is a sentence plus `extra={"action": "...", "recording_id": "..."}`; the closed list of actions stands in
`docs/operate.md`. Cloud Run takes JSON on stderr as a structured entry
(https://cloud.google.com/run/docs/logging#using-json).
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

#: What every record has; the rest came with `extra=`.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
#: Libraries whose INFO is about themselves.
_QUIET = ("google", "urllib3", "werkzeug", "httpx", "filelock", "transformers", "faster_whisper")


def configure(level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Send logs to stderr: as JSON in Cloud Run (which sets `K_SERVICE`), as text elsewhere. May be called again."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if os.environ.get("K_SERVICE") else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with Cloud Logging's own field names."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line; a traceback goes into `message`, where Error Reporting finds it."""
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + self.formatException(record.exc_info)
        line = {
            "severity": record.levelname,
            "message": message,
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "logger": record.name,
            **_extra(record),
        }
        return json.dumps(line, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """Time, level, sentence, then the extra fields."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802, RUF100 - logging's own name
        """The sentence with `key=value` after it."""
        extra = "".join(f" {key}={value}" for key, value in _extra(record).items())
        return super().formatMessage(record) + extra


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _OWN}
