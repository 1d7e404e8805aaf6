"""The `speechpipe` command: the everyday commands, and the groups of the other modules."""

from __future__ import annotations

import gc
import logging
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from speechpipe import __version__
from speechpipe.backends.ports import Analyse
from speechpipe.cli import display
from speechpipe.cli.arguments import (
    OptionalRecordingNames,
    OptionList,
    RecordingName,
    RecordingNames,
    connect,
    split_option,
)
from speechpipe.cli.console import beside
from speechpipe.cli.console import commands as console_commands
from speechpipe.cli.explain import explain, trace
from speechpipe.cli.export import export
from speechpipe.cli.models import commands as model_commands
from speechpipe.cli.models import shown_download
from speechpipe.cli.operate import commands as operator_commands
from speechpipe.cli.quote import quote
from speechpipe.cli.report import report
from speechpipe.cli.terminal import err, out, plural, shown
from speechpipe.client import Client, Submission
from speechpipe.contract import Stage, Status
from speechpipe.contract.errors import Held, NotFound, Rejected, SpeechpipeError
from speechpipe.embedded.engines import find_engines, find_models
from speechpipe.observe.log import printable, printable_json
from speechpipe.settings import EngineSettings, Limits, read

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Drop a recording into a bucket; get one record of what was said and how it was said.",
)
app.add_typer(operator_commands)
app.add_typer(console_commands)
app.add_typer(model_commands, name="models")


class Format(StrEnum):
    """Output formats of `get`."""

    JSON = "json"
    TEXT = "text"
    SRT = "srt"
    VTT = "vtt"
    CSV = "csv"
    HUME = "hume"
    ASSEMBLYAI = "assemblyai"
    DEEPGRAM = "deepgram"


Models = Annotated[
    str,
    typer.Option(
        envvar="SPEECHPIPE_MODELS",
        help="auto: the real models, from the cache or the hub; without the hub, a smaller Whisper model from the"
        " package index; failing that, the bundled toy models, with a warning. demo: that smaller Whisper model, and"
        " the bundled emotion model. toy: the bundled toy models. Otherwise the name or folder of a Whisper model.",
    ),
]
Device = Annotated[str, typer.Option(envvar="SPEECHPIPE_DEVICE", help="Device to run on: auto, cpu or cuda.")]
WithConsole = Annotated[bool, typer.Option("--console/--no-console", help="Also serve the console on this machine.")]
Timeout = Annotated[float | None, typer.Option(help="Give up waiting after this many seconds.")]


def _version(value: bool) -> None:
    if value:
        out.print(f"speechpipe {__version__}")
        raise typer.Exit


@app.callback()
def choose_backend(
    context: typer.Context,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            envvar="SPEECHPIPE_DIR",
            help="Folder that `speechpipe run` processes. Without it, commands use Google Cloud or the emulators.",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Choose the backend: a folder, or Google Cloud or its emulators by environment variables."""
    context.obj = directory


@app.command()
def run(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the recordings.")],
    watch: Annotated[bool, typer.Option("--watch", help="Keep running and process new files until Ctrl-C.")] = False,
    console: WithConsole = True,
    settle: Annotated[
        float,
        typer.Option(
            min=0, envvar="SPEECHPIPE_SETTLE_SECONDS", help="Take a file once it has not changed for this many seconds."
        ),
    ] = 5.0,
    models: Models = "auto",
    device: Device = "auto",
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            help="Processes to work in, which share the cores. Each has models of its own in memory. Long recordings"
            " are divided among them.",
        ),
    ] = 1,
) -> None:
    """Process a folder: make a record of every recording in it. Needs no cloud; can be stopped and resumed any time."""
    if not directory.is_dir():
        raise NotFound(f"there is no folder {directory}; create it and put recordings in it")
    from speechpipe.embedded.runner import Runner

    environ = {**os.environ, "SPEECHPIPE_MODELS": models, "SPEECHPIPE_DEVICE": device}
    settings = read(EngineSettings, environ)
    client = Client(directory)
    traces = os.environ.get("SPEECHPIPE_TRACES", "")
    shown = {(each.id, each.revision) for each in client.recordings(limit=1_000_000) if each.announced_at}
    with ExitStack() as stack:
        work = Runner(
            directory,
            lambda: _find_engines(settings),
            read(Limits),
            traces=traces,
            settle_seconds=settle,
            workers=workers,
            environ=environ,
        )
        runner = stack.enter_context(work)
        if watch:
            err.print(f"watching {directory} for recordings; Ctrl-C stops")
            if console:
                stack.enter_context(beside(client, err, runner.running))

        def ended() -> bool:
            runner.check()
            return not watch and runner.idle()

        display.follow(client, out, err, shown=shown, ended=ended)
    held = client.recordings(status=Status.HELD, limit=1_000_000)
    if held:
        command = f"speechpipe --dir {shlex.quote(str(directory))} release --all"
        verb = "is" if len(held) == 1 else "are"
        out.print(f"{plural(len(held))} {verb} held: run `{escape(command)}`, then this command again", highlight=False)


def _find_engines(settings: EngineSettings) -> Mapping[Stage, Callable[[], Analyse]]:
    with shown_download() as on_bytes:
        return find_engines(settings, on_bytes)


@app.command()
def up(
    models: Models = "auto",
    device: Device = "auto",
    max_attempts: Annotated[
        int,
        typer.Option(min=5, max=100, help="Give up a stage after this many deliveries, which are a second apart."),
    ] = 100,
    console: WithConsole = True,
) -> None:
    """Run the whole system on Google's emulators, over real HTTP. Ctrl-C stops everything."""
    from speechpipe.cli.up import serve

    settings = read(EngineSettings, {**os.environ, "SPEECHPIPE_MODELS": models, "SPEECHPIPE_DEVICE": device})
    with shown_download() as on_bytes:
        notices = find_models(settings, on_bytes)
    for notice in notices:
        err.print(f"[yellow]warning:[/] {escape(notice)}", highlight=False)
    serve(models=models, device=device, max_attempts=max_attempts, console=console, out=out, err=err)


@app.command()
def submit(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Recordings to upload.")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the records and print them.")] = False,
    option: OptionList = None,
    name: Annotated[str | None, typer.Option(help="Name of the upload; only with a single FILE.")] = None,
    timeout: Timeout = None,
) -> None:
    """Upload recordings. With --wait, exit with status 1 unless all end as completed."""
    if name and len(files) > 1:
        raise typer.BadParameter("--name needs a single FILE", param_hint="--name")
    options = dict(split_option(text) for text in option or ())
    client = connect(context)
    submissions: list[Submission] = []
    for file in files:
        submissions.append(client.submit(file, name=name, **options))
        out.print(f"{submissions[-1].id}  {shown(submissions[-1].source.uri)}", highlight=False)
    if wait:
        _wait_for(client, [submission.id for submission in submissions], timeout)


@app.command()
def wait(
    context: typer.Context,
    recordings: RecordingNames,
    timeout: Timeout = None,
) -> None:
    """Wait until recordings are finished and print them. Exit with status 1 unless all end as completed."""
    _wait_for(connect(context), recordings, timeout)


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
        _print_error(reason)
    if held or any(record.status != Status.COMPLETED for record in records):
        raise typer.Exit(1)


@app.command()
def watch(context: typer.Context, recordings: OptionalRecordingNames = None) -> None:
    """Show the progress of recordings, by default of all unfinished ones, until they finish. Ctrl-C leaves."""
    display.watch(connect(context), recordings or [], out)


@app.command()
def release(
    context: typer.Context,
    recordings: OptionalRecordingNames = None,
    everything: Annotated[bool, typer.Option("--all", help="Release every held recording.")] = False,
) -> None:
    """Release recordings that are held because of a cap, and print the estimate for each."""
    if everything == bool(recordings):
        raise typer.BadParameter("name the recordings or use --all", param_hint="--all")
    client = connect(context)
    if recordings:
        chosen = [client.get(recording) for recording in recordings]
    else:
        chosen = client.recordings(status=Status.HELD, limit=1_000_000)
        if not chosen:
            err.print("no recordings are held")
    for recording in chosen:
        status = client.release(recording.id).status
        done = "released" if recording.status is Status.HELD else f"not held but {status.value}"
        name, estimate = shown(recording.source.name), display.estimate(recording.quote)
        out.print(f"{recording.id}  {done}  {name}{estimate}", highlight=False)


app.command()(quote)


@app.command()
def get(
    context: typer.Context,
    recording: RecordingName,
    format: Annotated[
        Format,
        typer.Option(
            "--format",
            "-f",
            help="json: the whole record. csv: one row per segment. hume, assemblyai, deepgram: what that service"
            " would return.",
        ),
    ] = Format.JSON,
) -> None:
    """Print the record of a recording, or its text, subtitles, segments, or what another service would return."""
    from speechpipe.record import artifacts, exports

    record = connect(context).record(recording)
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
    if sys.stdout.isatty():
        text = "\n".join(map(printable, text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")))
    sys.stdout.write(text)


@app.command("list")
def list_(
    context: typer.Context,
    status: Annotated[Status | None, typer.Option(help="List only recordings in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="List at most this many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON per recording.")] = False,
) -> None:
    """List recordings, newest first."""
    recordings = connect(context).recordings(status=status, limit=limit)
    if as_json:
        for recording in recordings:
            sys.stdout.write(printable_json(recording.model_dump_json(exclude={"result"})) + "\n")
    elif recordings:
        out.print(display.table(recordings, out.width))
    else:
        err.print("no recordings" + (f" are {status.value}" if status else " yet"))


app.command()(export)
app.command()(report)
app.command()(explain)
app.command()(trace)


@app.command()
def doctor(
    cloud: Annotated[
        bool, typer.Option("--cloud", help="Also check the Google Cloud project that the environment names.")
    ] = False,
) -> None:
    """Check this machine, or a project, for missing parts, and print the commands that install or fix them."""
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
    """Run the command line. Expected errors are printed as one line, without a traceback."""
    logging.basicConfig(level=logging.WARNING, handlers=[display.WarningLines(err)], force=True)
    try:
        app()
    except Rejected as error:
        sys.exit(_print_error(error.message))
    except (SpeechpipeError, FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        sys.exit(_print_error(str(error)))
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        gc.freeze()  # after a run, collecting all of torch for an exit that frees it anyway takes most of a second


def _print_error(message: str) -> int:
    """Print an error and return the exit status 2."""
    lines = "\n  ".join(map(printable, message.split("\n  ")))  # missing settings are listed one per line
    err.print(f"[red]speechpipe:[/] {escape(lines)}", highlight=False)
    return 2


if __name__ == "__main__":
    main()
