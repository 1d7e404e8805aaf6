"""`speechpipe trace`: one recording's trace, from the lines of a file, as a waterfall; or where Google shows it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from speechpipe.backends.local import STATE_FOLDER, TRACES_FILE
from speechpipe.contract.errors import NotFound
from speechpipe.observe.spans import root_context
from speechpipe.observe.waterfall.layout import Row, read, rows
from speechpipe.observe.waterfall.svg import svg
from speechpipe.observe.waterfall.terminal import draw

__all__ = ["console_link", "draw", "file_of", "rows_of", "svg"]


def file_of(directory: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Where the traces of a folder, or of this environment, are written; None if that is no file."""
    traces = environ.get("SPEECHPIPE_TRACES", "")
    if traces and traces not in ("off", "cloud", "otlp", "console"):
        return Path(traces)
    return directory / STATE_FOLDER / TRACES_FILE if directory else None


def rows_of(path: Path, recording_id: str) -> list[Row]:
    """The rows of a recording's waterfall. Raises NotFound."""
    if not path.exists():
        raise NotFound(f"there is no file of traces {path}")
    found = rows(read(path, f"{root_context(recording_id).trace_id:032x}"))
    if not found:
        raise NotFound(f"{path} has no trace of {recording_id}")
    return found


def console_link(recording_id: str, environ: Mapping[str, str]) -> str:
    """Where Google Cloud shows the trace. Raises NotFound without a project."""
    project = environ.get("GOOGLE_CLOUD_PROJECT")
    if not project:
        raise NotFound("which traces? Name a file (--file), a folder (--dir), or set GOOGLE_CLOUD_PROJECT")
    trace_id = f"{root_context(recording_id).trace_id:032x}"
    return f"https://console.cloud.google.com/traces/explorer;traceId={trace_id}?project={project}"
