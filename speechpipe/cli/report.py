"""`speechpipe report`: a recording's page, with its sound in it if asked for."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from speechpipe.client import Client
from speechpipe.settings import MOST_EMBEDDED_BYTES

err = Console(stderr=True, soft_wrap=True)


def report(
    context: typer.Context,
    recording: Annotated[
        str, typer.Argument(metavar="ID|URI|NAME", help="Recording id, gs:// or file:// URI, or name.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("report.html"),
    embed: Annotated[bool, typer.Option("--embed", help="With the recording's sound in the page.")] = False,
    audio: Annotated[
        Path | None, typer.Option(help="The sound of this file in the page, a smaller copy perhaps.")
    ] = None,
) -> None:
    """Write a recording's report as one page, made anew. An existing file is replaced.

    Without --embed or --audio the page asks for the recording when somebody wants to listen, or takes a link from its
    own address: report.html#audio=LINK.
    """
    from speechpipe.record.report import data_url, render_report

    client = Client(context.find_object(Path))
    record = client.record(recording)
    sound = None
    if audio is not None:
        _check_size(audio.stat().st_size)
        sound = data_url(audio.read_bytes(), audio.name)
    elif embed:
        _check_size(record.source.size)
        with tempfile.TemporaryDirectory(prefix="speechpipe-") as folder:
            file = Path(folder) / "sound"
            client.backend.uploads.download(record.source, file)
            _check_size(file.stat().st_size)  # one that was stored packed is larger now
            sound = data_url(file.read_bytes(), record.source.name, record.source.content_type)
    output.write_text(render_report(record, audio=sound), encoding="utf-8")
    err.print(escape(str(output)), highlight=False)


def _check_size(size: int) -> None:
    if size > MOST_EMBEDDED_BYTES:
        raise typer.BadParameter(
            f"the sound has {size >> 20} MiB and at most {MOST_EMBEDDED_BYTES >> 20} fit into a page: give --audio a"
            " smaller copy, or leave it out, and the page asks for the recording",
            param_hint="--embed or --audio",
        )
