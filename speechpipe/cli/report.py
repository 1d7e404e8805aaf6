"""`speechpipe report`: a recording's report as one page, with its audio if requested."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from speechpipe.cli.arguments import RecordingName, connect
from speechpipe.cli.terminal import err
from speechpipe.settings import MAX_EMBEDDED_BYTES


def report(
    context: typer.Context,
    recording: RecordingName,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("report.html"),
    embed: Annotated[bool, typer.Option("--embed", help="Embed the recording's audio in the page.")] = False,
    audio: Annotated[
        Path | None, typer.Option(help="Embed the audio of this file instead, for example a smaller copy.")
    ] = None,
) -> None:
    """Write a recording's report anew as one HTML page. Replaces an existing file.

    Without --embed or --audio the page asks for the recording's file when
    somebody wants to listen, or plays a link from its own address:
    report.html#audio=LINK.
    """
    from speechpipe.pipeline.gunzip import download
    from speechpipe.record.report import data_url, render_report

    client = connect(context)
    record = client.record(recording)
    sound = None
    if audio is not None:
        _check_size(audio.stat().st_size)
        sound = data_url(audio.read_bytes(), audio.name)
    elif embed:
        _check_size(record.source.size)
        with tempfile.TemporaryDirectory(prefix="speechpipe-") as folder:
            file = Path(folder) / "sound"
            # What is packed may unpack to more than its size, which has been checked.
            download(record.source, file, client.backend.uploads, max_bytes=MAX_EMBEDDED_BYTES)
            sound = data_url(file.read_bytes(), record.source.name, record.source.content_type)
    output.write_text(render_report(record, audio=sound), encoding="utf-8")
    err.print(escape(str(output)), highlight=False)


def _check_size(size: int) -> None:
    if size > MAX_EMBEDDED_BYTES:
        raise typer.BadParameter(
            f"the audio has {size >> 20} MiB, but a page can embed at most {MAX_EMBEDDED_BYTES >> 20} MiB:"
            " give --audio a smaller copy, or leave both options out and the page asks for the file",
            param_hint="--embed or --audio",
        )
