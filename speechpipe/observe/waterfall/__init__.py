"""`speechpipe trace`: one recording's trace as a waterfall, read from a file; or the link to it in Google Cloud."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from speechpipe.backends.local import STATE_FOLDER, TRACES_FILE
from speechpipe.contract.errors import NotFound
from speechpipe.observe.spans import root_context
from speechpipe.observe.waterfall.layout import Row, read, rows
from speechpipe.observe.waterfall.terminal import draw, svg

__all__ = ["console_link", "draw", "file_of", "rows_of", "svg"]


def file_of(directory: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file with the traces of this environment, or else of a folder; None if they do not go to a file."""
    traces = environ.get("SPEECHPIPE_TRACES", "")
    if traces and traces not in ("off", "cloud", "otlp", "console"):
        return Path(traces)
    return directory / STATE_FOLDER / TRACES_FILE if directory else None


def rows_of(path: Path, recording_id: str) -> list[Row]:
    """The rows of a recording's waterfall. Raises NotFound if the file or the trace does not exist."""
    if not path.exists():
        raise NotFound(f"there is no trace file {path}")
    found = rows(read(path, f"{root_context(recording_id).trace_id:032x}"))
    if not found:
        raise NotFound(f"{path} has no trace of {recording_id}")
    return found


def console_link(recording_id: str, environ: Mapping[str, str]) -> str:
    """The trace's URL in Google Cloud's console. Raises NotFound if no project is set."""
    project = environ.get("GOOGLE_CLOUD_PROJECT")
    if not project:
        raise NotFound("which traces? Give a file (--file) or a folder (--dir), or set GOOGLE_CLOUD_PROJECT")
    trace_id = f"{root_context(recording_id).trace_id:032x}"
    return f"https://console.cloud.google.com/traces/explorer;traceId={trace_id}?project={project}"
