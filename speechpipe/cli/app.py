"""`speechpipe`: run, up, quote, submit, wait, watch, release, get, list, explain, doctor: parse, call, print."""

from __future__ import annotations

import json
import logging
import os
import shlex
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from speechpipe import __version__
from speechpipe.backends.ports import Analyse
from speechpipe.cli import display
from speechpipe.cli.console import beside
from speechpipe.cli.console import commands as console_commands
from speechpipe.cli.export import export
from speechpipe.cli.operate import commands as operators_commands
from speechpipe.cli.report import report
from speechpipe.client import Client, Submission
from speechpipe.contract import Stage, Status
from speechpipe.contract.errors import Held, NotFound, Rejected, SpeechpipeError
from speechpipe.contract.options import parse_options
from speechpipe.contract.prices import preset
from speechpipe.contract.prices import read as read_prices
from speechpipe.embedded.engines import find_models, load_engines
from speechpipe.observe.log import printable, printable_json
from speechpipe.settings import EngineSettings, Limits, read

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Drop a recording into a bucket, get one record of what was said and how it was said.",
)
app.add_typer(operators_commands)
app.add_typer(console_commands)
out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)


class Format(StrEnum):
    """What `get` prints."""

    JSON = "json"
    TEXT = "text"
    SRT = "srt"
    VTT = "vtt"
    CSV = "csv"
    HUME = "hume"
    ASSEMBLYAI = "assemblyai"
    DEEPGRAM = "deepgram"


Recording_ = Annotated[str, typer.Argument(metavar="ID|URI|NAME", help="Recording id, gs:// or file:// URI, or name.")]
Models = Annotated[
    str,
    typer.Option(
        envvar="SPEECHPIPE_MODELS",
        help="auto: the real models from the cache or the hub, else the bundled demo models, with a warning."
        " demo: the bundled ones. Or the name or folder of a Whisper model.",
    ),
]
Device = Annotated[str, typer.Option(envvar="SPEECHPIPE_DEVICE", help="auto, cpu or cuda.")]
WithConsole = Annotated[bool, typer.Option("--console/--no-console", help="Serve the console on this machine too.")]
OptionList = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", metavar="NAME=VALUE", help="An option of the recording, e.g. language=en."),
]
Timeout = Annotated[float | None, typer.Option(help="Seconds to wait at most.")]


def _version(value: bool) -> None:
    if value:
        out.print(f"speechpipe {__version__}")
        raise typer.Exit


@app.callback()
def choose(
    context: typer.Context,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", envvar="SPEECHPIPE_DIR", help="A folder worked on by `speechpipe run`; else the cloud."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Choose the backend: a folder, or Google Cloud and its emulators by environment variables."""
    context.obj = directory


def _client(context: typer.Context) -> Client:
    return Client(context.find_object(Path))


@app.command()
def run(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of recordings.")],
    watch: Annotated[bool, typer.Option("--watch", help="Go on and take new files until Ctrl-C.")] = False,
    console: WithConsole = True,
    models: Models = "auto",
    device: Device = "auto",
) -> None:
    """Work on a folder: every recording in it becomes a record. No cloud needed; stops and resumes at any time."""
    if not directory.is_dir():
        raise NotFound(f"there is no folder {directory}; make it and put recordings in")
    from speechpipe.embedded.runner import Runner

    settings = read(EngineSettings, {**os.environ, "SPEECHPIPE_MODELS": models, "SPEECHPIPE_DEVICE": device})
    client = Client(directory)
    traces = os.environ.get("SPEECHPIPE_TRACES", "")
    shown = {(each.id, each.revision) for each in client.recordings(limit=1_000_000) if each.announced_at}
    with ExitStack() as stack:
        runner = stack.enter_context(Runner(directory, lambda: _load_engines(settings), read(Limits), traces=traces))
        if watch:
            err.print(f"watching {directory}; put recordings in, Ctrl-C stops")
            if console:
                stack.enter_context(beside(client, err, runner.running))
        display.follow(client, out, shown=shown, ended=lambda: not watch and runner.idle())
    held = client.recordings(status=Status.HELD, limit=1_000_000)
    if held:
        are = "1 recording is" if len(held) == 1 else f"{len(held)} recordings are"
        command = f"speechpipe --dir {shlex.quote(str(directory))} release --all"
        out.print(f"{are} held: `{escape(command)}`, and run again", highlight=False)


def _load_engines(settings: EngineSettings) -> Mapping[Stage, Analyse]:
    with err.status("loading the models"):
        return load_engines(settings)


@app.command()
def up(
    models: Models = "auto",
    device: Device = "auto",
    max_attempts: Annotated[
        int, typer.Option(min=5, max=100, help="Deliveries, a second apart, before a stage is given up.")
    ] = 100,
    console: WithConsole = True,
) -> None:
    """Run the whole system on Google's emulators, over real HTTP. Ctrl-C ends everything it started."""
    from speechpipe.cli.up import serve

    settings = read(EngineSettings, {**os.environ, "SPEECHPIPE_MODELS": models, "SPEECHPIPE_DEVICE": device})
    with err.status("looking for the models"):
        notices = find_models(settings)
    for notice in notices:
        err.print(f"[yellow]warning:[/] {escape(notice)}", highlight=False)
    serve(models=models, device=device, max_attempts=max_attempts, console=console, out=out, err=err)


@app.command()
def submit(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Recordings to upload.")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the records and print what was said.")] = False,
    option: OptionList = None,
    name: Annotated[str | None, typer.Option(help="Name in the bucket; of one file only.")] = None,
    timeout: Timeout = None,
) -> None:
    """Upload recordings. With --wait, exit status 1 unless all are completed."""
    if name and len(files) > 1:
        raise typer.BadParameter("--name goes with one file", param_hint="--name")
    options = dict(_split(text) for text in option or ())
    client = _client(context)
    submissions: list[Submission] = []
    for file in files:
        submissions.append(client.submit(file, name=name, **options))
        out.print(f"{submissions[-1].id}  {escape(printable(submissions[-1].source.uri))}", highlight=False)
    if wait:
        _wait_for(client, [submission.id for submission in submissions], timeout)


def _split(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--option")
    return name.replace("-", "_"), value


@app.command()
def wait(
    context: typer.Context,
    recordings: Annotated[list[str], typer.Argument(metavar="ID|URI|NAME...")],
    timeout: Timeout = None,
) -> None:
    """Wait for recordings to reach an end. Exit status 1 unless all are completed."""
    _wait_for(_client(context), recordings, timeout)


def _wait_for(client: Client, recordings: list[str], timeout: float | None) -> None:
    records, held = [], []
    for recording in recordings:
        try:
            records.append(client.wait(recording, timeout=timeout))
        except Held as error:
            held.append(str(error))
    for record in records:
        display.show_record(record, out)
    for reason in held:
        _complain(reason)
    if held or any(record.status != Status.COMPLETED for record in records):
        raise typer.Exit(1)


@app.command()
def watch(
    context: typer.Context,
    recordings: Annotated[list[str] | None, typer.Argument(metavar="[ID|URI|NAME...]")] = None,
) -> None:
    """Show the progress of recordings, or of all that are not finished, until they are. Ctrl-C leaves."""
    display.watch(_client(context), recordings or [], out)


@app.command()
def release(
    context: typer.Context,
    recordings: Annotated[list[str] | None, typer.Argument(metavar="[ID|URI|NAME...]")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every recording that is held.")] = False,
) -> None:
    """Let recordings run that are held over a cap, and say what they will take."""
    if everything == bool(recordings):
        raise typer.BadParameter("name recordings, or --all", param_hint="--all")
    client = _client(context)
    if recordings:
        chosen = [client.get(recording) for recording in recordings]
    else:
        chosen = client.recordings(status=Status.HELD, limit=1_000_000)
        if not chosen:
            err.print("no recordings are held")
    for recording in chosen:
        status = client.release(recording.id).status
        done = "released" if recording.status is Status.HELD else f"not held, it is {status.value}"
        name, takes = printable(recording.source.name), display.takes(recording.quote)
        out.print(f"{recording.id}  {done}  {escape(name)}{takes}", highlight=False)


@app.command()
def quote(
    targets: Annotated[list[str], typer.Argument(metavar="gs://BUCKET/PREFIX|FILE|DIR...")],
    prices: Annotated[
        str, typer.Option(envvar="SPEECHPIPE_PRICES", help="A preset (l4, rtx-pro-6000) or a table as JSON.")
    ] = "",
    option: OptionList = None,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON a recording, and one of the total.")] = False,
) -> None:
    """Say how long recordings are and what they would cost. Nothing is uploaded or run.

    Exit status 1 if one cannot be read or would be rejected.
    """
    from speechpipe.cli import quote

    table = read_prices(prices) or preset("l4")
    options = {name.replace("_", "-"): value for name, value in map(_split, option or ())}
    parse_options(options)
    with err.status("reading headers"):
        rows = quote.estimates(
            targets,
            options=options,
            prices=table,
            max_bytes=read(Limits).max_bytes,
            project=os.environ.get("GOOGLE_CLOUD_PROJECT"),
        )
    total = quote.total(rows, table)
    if as_json:
        for row in rows:
            sys.stdout.write(printable_json(row.model_dump_json()) + "\n")
        sys.stdout.write(quote.Estimate(name="total", quote=total).model_dump_json() + "\n")
    else:
        out.print(display.estimates(rows, total, table))
        source = "the l4 preset: --prices or SPEECHPIPE_PRICES choose" if not prices else "the prices given"
        guesses = "" if total.exact else "; ≈ is guessed from the size"
        err.print(f"estimated by {source}; a preset's speeds are assumptions, not measurements{guesses}")
    if any(row.problem for row in rows):
        raise typer.Exit(1)


@app.command()
def get(
    context: typer.Context,
    recording: Recording_,
    format: Annotated[
        Format, typer.Option("--format", "-f", help="json: the whole record. hume, ...: their shapes.")
    ] = Format.JSON,
) -> None:
    """Print a record, its text, its subtitles, a table of its segments, or the answer another service would give."""
    from speechpipe.record import artifacts, exports

    record = _client(context).record(recording)
    writers = {
        Format.JSON: lambda: record.model_dump_json(indent=2) + "\n",
        Format.TEXT: lambda: record.text + "\n",
        Format.SRT: lambda: artifacts.transcript_srt(record),
        Format.VTT: lambda: artifacts.transcript_vtt(record),
        Format.CSV: lambda: exports.to_csv(record),
        Format.HUME: lambda: exports.to_hume(record),
        Format.ASSEMBLYAI: lambda: exports.to_assemblyai(record),
        Format.DEEPGRAM: lambda: exports.to_deepgram(record),
    }
    text = writers[format]()
    sys.stdout.write("\n".join(map(printable, text.split("\n"))) if sys.stdout.isatty() else text)


@app.command("list")
def list_(
    context: typer.Context,
    status: Annotated[Status | None, typer.Option(help="Only recordings in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON a recording.")] = False,
) -> None:
    """List recordings, newest first."""
    recordings = _client(context).recordings(status=status, limit=limit)
    if as_json:
        for recording in recordings:
            sys.stdout.write(printable_json(recording.model_dump_json(exclude={"result"})) + "\n")
    elif recordings:
        out.print(display.table(recordings, out.width))
    else:
        err.print("no recordings" + (f" are {status.value}" if status else " yet"))


app.command()(export)
app.command()(report)


@app.command()
def explain(
    context: typer.Context,
    recording: Recording_,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON a moment.")] = False,
) -> None:
    """Tell the life-story of one recording: what happened, when and why."""
    client = _client(context)
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
        detail = escape(printable(moment.detail))
        grid.add_row(f"{moment.at:%Y-%m-%d %H:%M:%S}.{moment.at.microsecond // 1000:03}", stage, moment.what, detail)
    out.print(grid)
    if found.status.is_final:
        out.print(f"ended {display.coloured(found.status)}", highlight=False)
    elif found.status is Status.HELD:
        display.show_held([found], out)
    else:
        age = (datetime.now(UTC) - found.queued_at).total_seconds()
        out.print(f"still {display.coloured(found.status)}, {age:.0f} s after it was seen", highlight=False)


@app.command()
def trace(
    context: typer.Context,
    recording: Recording_,
    file: Annotated[Path | None, typer.Option(help="Traces; else those of --dir or SPEECHPIPE_TRACES.")] = None,
    svg: Annotated[Path | None, typer.Option(metavar="OUT", help="Write the drawing to a file.")] = None,
) -> None:
    """Draw one recording's way from the upload to the event as a waterfall; of a cloud's, print the link."""
    from speechpipe.observe import waterfall

    # The trace's id follows from the recording's: an id needs no backend.
    recording_id = recording if recording.startswith("rec_") else _client(context).get(recording).id
    path = file or waterfall.file_of(context.find_object(Path), os.environ)
    if path is None:
        out.print(waterfall.console_link(recording_id, os.environ), highlight=False)
        return
    rows = waterfall.rows_of(path, recording_id)
    if svg:
        svg.write_text(waterfall.svg(rows, f"Recording {recording_id}"))
    else:
        out.print(waterfall.draw(rows, out.width), no_wrap=True, overflow="crop")


@app.command()
def doctor(
    cloud: Annotated[
        bool, typer.Option("--cloud", help="Also ask the Google Cloud project of the environment.")
    ] = False,
) -> None:
    """Say what is missing on this machine or in this project, and the command that mends it."""
    from speechpipe.cli.doctor import diagnose

    findings = diagnose(cloud=cloud)
    grid = Table(box=None, pad_edge=False, show_header=False)
    for finding in findings:
        mark = "[green]ok[/]" if finding.ok else ("[red]missing[/]" if finding.required else "[yellow]absent[/]")
        remedy = "" if finding.ok or not finding.remedy else f"\n[bold]{escape(finding.remedy)}[/]"
        grid.add_row(mark, finding.what, escape(finding.detail) + remedy)
    out.print(grid)
    if any(not finding.ok and finding.required for finding in findings):
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; what goes wrong on purpose is one line, not a traceback."""
    logging.basicConfig(level=logging.WARNING, handlers=[display.WarningLines(err)], force=True)
    try:
        app()
    except Rejected as error:
        sys.exit(_complain(error.message))
    except (SpeechpipeError, FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        sys.exit(_complain(str(error)))
    except KeyboardInterrupt:
        sys.exit(130)


def _complain(message: str) -> int:
    lines = "\n  ".join(map(printable, message.split("\n  ")))  # missing settings have one each
    err.print(f"[red]speechpipe:[/] {escape(lines)}", highlight=False)
    return 2


if __name__ == "__main__":
    main()
