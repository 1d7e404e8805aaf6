"""Logging: JSON lines for Cloud Logging, plain text for people. Actions and ids, never content.

A line is a sentence plus `extra={"action": "...", "recording_id": "..."}`; `docs/operate.md` has the closed list of
actions. Tracebacks withhold the message of any exception that may quote its input. Cloud Run parses JSON on stderr as a
structured entry (https://cloud.google.com/run/docs/logging#using-json).
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import traceback
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, TextIO

from opentelemetry import trace

#: Attributes of every LogRecord; any others came with `extra=`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
#: Libraries whose INFO lines are only about their own internals.
_QUIET = ("google", "urllib3", "werkzeug", "httpx", "filelock", "transformers", "faster_whisper")
#: Cloud Logging's own fields, which the text format leaves out.
_CLOUD_FIELDS = ("severity", "message", "time", "logger")
_TRACE = "logging.googleapis.com/"
#: Modules whose exceptions say what a machine lacks or what Google replied, never what they were given.
_TRUSTED_MODULES = (
    "speechpipe.contract.errors",
    "google.api_core.exceptions",
    "google.auth.exceptions",
    "workers.models.hub",
    "workers.models.device",
)
#: Words that mark an engine's exception, usually a plain RuntimeError, as one about the machine.
_ABOUT_MACHINES = re.compile(r"CUDA|cuDNN|cuBLAS|NVIDIA|out of memory|\.so\b")
#: The start of a URL or an object's path, which may hold an object's name.
_ADDRESS = re.compile(r"\S*(?:://|/o/)")
WITHHELD = "(message withheld: it may quote content)"

_bound_fields: ContextVar[Mapping[str, Any]] = ContextVar("bound_fields")


def configure(form: str = "auto", *, level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Send logs to stderr as `json` or `text`; `auto` means JSON in Cloud Run, which sets `K_SERVICE`.

    May be called more than once.
    """
    as_json = form == "json" or (form == "auto" and bool(os.environ.get("K_SERVICE")))
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(os.environ.get("GOOGLE_CLOUD_PROJECT")) if as_json else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    # It logs a warning for every retried request, with the URL, which may hold an object's name.
    logging.getLogger("urllib3").setLevel(max(level, logging.ERROR))


@contextmanager
def bound_fields(**fields: str | None) -> Iterator[None]:
    """Add these fields to every line that this thread logs in the block."""
    before = _bound_fields.get({})
    token = _bound_fields.set({**before, **{key: value for key, value in fields.items() if value is not None}})
    try:
        yield
    finally:
        _bound_fields.reset(token)


class JsonFormatter(logging.Formatter):
    """One JSON object per line, with Cloud Logging's field names, and the current span's trace if there is one."""

    def __init__(self, project: str | None = None) -> None:
        super().__init__()
        self._traces = f"projects/{project}/traces/" if project else ""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line; a traceback goes into `message`, where Error Reporting looks for it."""
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + _traceback(record.exc_info[1])
        line = {
            "severity": record.levelname,
            "message": message,
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "logger": record.name,
            **self._trace(),
            **_extra(record),
        }
        return printable_json(json.dumps(line, ensure_ascii=False, default=str))

    def _trace(self) -> dict[str, Any]:
        """The fields that link a line to its span: https://cloud.google.com/logging/docs/structured-logging."""
        context = trace.get_current_span().get_span_context()
        if not context.is_valid:
            return {}
        return {
            f"{_TRACE}trace": f"{self._traces}{context.trace_id:032x}",
            f"{_TRACE}spanId": f"{context.span_id:016x}",
            f"{_TRACE}trace_sampled": context.trace_flags.sampled,
        }


def printable_json(text: str) -> str:
    """JSON with unprintable characters escaped: JSON itself allows C1 controls and text-direction marks unescaped."""
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


_ISOLATES = frozenset("\u2066\u2067\u2068\u2069")
#: Not printable by Python's rule, but part of words and sentences: soft hyphen, joiners, zero-width spaces and marks of
#: direction. None of them moves other text, unlike embeddings, overrides and isolates.
_IN_WORDS = frozenset("\t\u00ad\u061c\u200b\u200c\u200d\u200e\u200f\u2060")


def printable(text: str) -> str:
    """Text as one line that cannot control a terminal: controls, and characters that reorder others, are escaped.

    An isolate only reorders what is in it, if it ends.
    """
    if text.isprintable():
        return text
    also = _IN_WORDS | (_ISOLATES if _isolates_end(text) else frozenset())
    return "".join(c if c in also or _is_shown(c) else c.encode("unicode_escape").decode() for c in text)


def _is_shown(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _isolates_end(text: str) -> bool:
    depths = list(accumulate(-1 if c == "\u2069" else 1 for c in text if c in _ISOLATES))
    return not depths or (min(depths) >= 0 and depths[-1] == 0)


class TextFormatter(logging.Formatter):
    """Time, level, sentence, extra fields. Tracebacks are indented, so that no text in one passes for a log line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802, RUF100 - logging's own name
        """The sentence, followed by `key=value` for each extra field."""
        return printable(super().formatMessage(record) + _pairs(_extra(record)))

    def formatException(self, ei: Any) -> str:  # noqa: N802, RUF100
        """The traceback, indented."""
        return _indented(_traceback(ei[1]))


def _traceback(error: BaseException | None) -> str:
    """A traceback as Python formats it, less anything that exceptions may quote: transcripts, options, object names."""
    parts: list[str] = []
    while error is not None:
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        frames = "".join(traceback.format_tb(error.__traceback__))
        message = _safe_message(error)
        parts.append(f"Traceback (most recent call last):\n{frames}{name}{': ' if message else ''}{message}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n\nwhich caused, or during whose handling occurred:\n\n".join(reversed(parts))


def _safe_message(error: BaseException) -> str:
    """An exception's message, less anything that may be content."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # which leaves out the file's name
    message = str(error)
    trusted = type(error).__module__.startswith(_TRUSTED_MODULES)
    if isinstance(error, (RuntimeError, MemoryError, ImportError)):
        trusted = trusted or isinstance(error, ImportError) or bool(_ABOUT_MACHINES.search(message))
    if not message:
        return ""
    address = _ADDRESS.search(message)
    return (message[: address.start()] + "..." if address else message) if trusted else WITHHELD


def parse_line(line: str) -> dict[str, Any] | None:
    """The fields of a JSON line that we logged; None for any other line."""
    if not line.startswith("{"):
        return None
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) and "severity" in fields else None


def as_text(line: str) -> str:
    """One of our JSON lines in the format of `TextFormatter`; any other line as it is, made printable."""
    fields = parse_line(line)
    if fields is None:
        return printable(line)
    extra = {key: fields[key] for key in fields if key not in _CLOUD_FIELDS and not key.startswith(_TRACE)}
    # The extra fields go after the sentence and before a traceback.
    sentence, newline, rest = str(fields.get("message", "")).partition("\n")
    time = str(fields.get("time", ""))[11:19]
    first = printable(f"{time} {fields['severity']!s:<7} {sentence}{_pairs(extra)}")
    return first + newline + (_indented(rest) if rest else "")


def _indented(text: str) -> str:
    return "\n".join("  " + printable(line) for line in text.split("\n"))


def _pairs(extra: Mapping[str, Any]) -> str:
    return "".join(f" {key}={value}" for key, value in extra.items())


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {
        **_bound_fields.get({}),
        **{key: value for key, value in vars(record).items() if key not in _STANDARD},
    }
