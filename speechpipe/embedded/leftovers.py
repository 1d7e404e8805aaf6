"""What killed processes leave in a folder's state."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path

from speechpipe.backends.local import TRACES_FILE

SCRATCH, STAGING = "scratch", "staging"  #: folders of files that are being read or written
MOST_TRACES = 64 << 20  #: bytes; a larger file of traces is set aside at the next start, and one such file is kept
ABANDONED_SECONDS = 24 * 3600.0  #: a partial upload that has not changed for this long is deleted


def tidy(state: Path) -> None:
    """Delete the leftovers. Only uploads may write there at this point."""
    for begun in (state / SCRATCH, state / STAGING):
        shutil.rmtree(begun, ignore_errors=True)
    for upload in (state / "uploading").glob("*"):
        with suppress(FileNotFoundError):  # an upload that has just finished
            if time.time() - upload.stat().st_mtime > ABANDONED_SECONDS:
                upload.unlink()
    traces = state / TRACES_FILE
    if traces.exists() and traces.stat().st_size > MOST_TRACES:
        traces.replace(traces.with_suffix(".1.jsonl"))
