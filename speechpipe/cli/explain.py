"""`speechpipe explain` and `speechpipe trace`: what happened to a recording."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from speechpipe.cli import display
from speechpipe.cli.arguments import RecordingName, connect
from speechpipe.cli.terminal import out, shown
from speechpipe.contract import Status


def explain(
    context: typer.Context,
    recording: RecordingName,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON per step.")] = False,
) -> None:
    """Explain what happened to a recording, when and why."""
    client = connect(context)
    moments = client.explain(recording)
    if as_json:
        for moment in moments:
            sys.stdout.write(json.dumps(moment.model_dump(mode="json")) + "\n")
        return
    found = client.get(recording)
    grid = Table(box=None, pad_edge=False, show_header=False)
    for overflow in ("ellipsis", "ellipsis", "ellipsis", "fold"):
        grid.add_column(overflow=overflow)
    for moment in moments:
        stage = moment.stage.value if moment.stage else ""
        detail = shown(moment.detail)
        grid.add_row(f"{moment.at:%Y-%m-%d %H:%M:%S}.{moment.at.microsecond // 1000:03}", stage, moment.what, detail)
    out.print(grid)
    if found.status.is_final:
        out.print(f"ended as {display.coloured(found.status)}", highlight=False)
    elif found.status is Status.HELD:
        display.show_held([found], out)
    else:
        age = (datetime.now(UTC) - found.queued_at).total_seconds()
        out.print(f"still {display.coloured(found.status)} {age:.0f} s after it was first seen", highlight=False)


def trace(
    context: typer.Context,
    recording: RecordingName,
    file: Annotated[
        Path | None, typer.Option(help="Trace file to read. Default: that of --dir or SPEECHPIPE_TRACES.")
    ] = None,
    svg: Annotated[Path | None, typer.Option(metavar="OUT", help="Write the waterfall to this SVG file.")] = None,
) -> None:
    """Draw the trace of a recording, from the upload to the completion event. In the cloud, print a link to it."""
    from speechpipe.observe import waterfall

    # The trace id is derived from the recording id, so an id needs no backend.
    recording_id = recording if recording.startswith("rec_") else connect(context).get(recording).id
    path = file or waterfall.file_of(context.find_object(Path), os.environ)
    if path is None:
        out.print(waterfall.console_link(recording_id, os.environ), highlight=False)
        return
    rows = waterfall.rows_of(path, recording_id)
    if svg:
        svg.write_text(waterfall.svg(rows, f"Recording {recording_id}"))
    else:
        out.print(waterfall.draw(rows, out.width), no_wrap=True, overflow="crop")
