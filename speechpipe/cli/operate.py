"""The operators' commands: redrive, replay, backfill, reconcile, erase, dead-letters.

If one recording fails, each command continues with the others and then exits with status 1. Each can be stopped and
run again. The paragraphs of help are wrapped for terminals of 80 columns, because Typer keeps their line breaks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Annotated

import typer

from speechpipe.cli import dead_letters, display
from speechpipe.cli.arguments import DryRun, OptionalRecordingNames, RecordingNames, Since, connect
from speechpipe.cli.backfill import backfill
from speechpipe.cli.reconcile import reconcile
from speechpipe.cli.terminal import advance, err, out, plural, print_line, print_problem, progress_bar, shown
from speechpipe.client import Client
from speechpipe.contract import Recording, Stage, Status
from speechpipe.contract.errors import NotFound
from speechpipe.pipeline import operations
from speechpipe.pipeline.corrections import rerun

commands = typer.Typer()
commands.add_typer(dead_letters.commands, name="dead-letters")
#: Outcomes that another run may change. A rejection is not among them, because the input is its cause.
_MAY_CHANGE = (Status.COMPLETED, Status.PARTIAL, Status.FAILED)


def _find(client: Client, names: Iterable[str], problems: list[str]) -> Iterator[Recording]:
    """Find recordings by name. Names that do not exist are printed and added to `problems`."""
    for name in names:
        try:
            yield client.get(name)
        except NotFound as error:
            problems.append(name)
            print_problem(name, error)


@commands.command()
def redrive(
    context: typer.Context,
    recordings: OptionalRecordingNames = None,
    failed: Annotated[bool, typer.Option("--failed", help="Select every recording that ended as failed.")] = False,
    partial: Annotated[bool, typer.Option("--partial", help="Select every recording that ended as partial.")] = False,
    since: Since = None,
    stage: Annotated[
        list[Stage] | None, typer.Option(help="Stage to run. Default: those that failed, or both if none did.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Run recordings again as their next revision. A stage that is not run again keeps its outcome.

    The upload's metadata is read anew, so correct a wrong option there (in a
    folder: in NAME.meta.json), and redrive the recording by its name. Stages
    whose options have changed run again in any case.

    --since alone selects recordings that ended as completed, partial or failed,
    except those run again since TIME, so an interrupted command can simply be
    repeated. Exit with status 1 if a recording could not be run again.
    """
    if bool(recordings) == bool(failed or partial or since):
        raise typer.BadParameter("name the recordings or select them with --failed, --partial or --since")
    client = connect(context)
    problems: list[str] = []
    chosen = _find(client, recordings, problems) if recordings else _select(client, failed, partial, since)
    total = 0
    with progress_bar("redriving", len(recordings) if recordings else None) as bar:
        for recording in chosen:
            try:
                again, corrected = _run_again(client, recording, stage, dry_run=dry_run)
            except Exception as error:  # the platform's, for example; continue with the others
                problems.append(recording.id)
                print_problem(recording.id, error)
            else:
                total += bool(again)
                what = " and ".join(again) or "nothing: the recording did not request that stage"
                print_line(bar, recording.id, what + ", with changed options" * corrected, recording.source.name)
            advance(bar)
    err.print(f"{plural(total)} {'would be redriven' if dry_run else 'redriven'}", highlight=False)
    if problems:
        raise typer.Exit(1)


def _run_again(
    client: Client, recording: Recording, chosen: list[Stage] | None, *, dry_run: bool
) -> tuple[tuple[Stage, ...], bool]:
    """Redrive a recording. Returns the stages that run again, and whether with other options than before."""
    asked = tuple(chosen) if chosen else operations.to_run_again(recording)
    if dry_run and recording.may_be_revised:
        planned = rerun(recording, asked, client.world.uploads)
        return planned.stages, planned.corrected
    if dry_run:
        return tuple(stage for stage in recording.options.stages if stage in asked), False
    begun = client.redrive(recording.id, *asked)
    if begun.revision == recording.revision and begun.status.is_final:
        return (), False
    return begun.rerun, begun.options != recording.options


def _select(client: Client, failed: bool, partial: bool, since: datetime | None) -> Iterator[Recording]:
    if not failed and not partial:
        chosen = client.every(*_MAY_CHANGE, since=since)
        return (each for each in chosen if since is None or each.revised_at is None or each.revised_at < since)
    statuses = [status for status, wanted in ((Status.FAILED, failed), (Status.PARTIAL, partial)) if wanted]
    return client.every(*statuses, since=since)


@commands.command()
def replay(
    context: typer.Context,
    recordings: OptionalRecordingNames = None,
    since: Since = None,
    notify_only: Annotated[
        bool, typer.Option("--notify-only", help="Has no effect, because replay only ever notifies.")
    ] = True,
) -> None:
    """Announce outcomes again: publish the same events with the same ids. Nothing is computed or changed.

    --since selects finished recordings by when they were first seen. Choose it
    early enough: subscribers recognise events that they already have by their
    ids. Exit with status 1 if an outcome could not be announced.
    """
    if bool(recordings) == bool(since):
        raise typer.BadParameter("name the recordings or select them with --since")
    client = connect(context)
    problems: list[str] = []
    final = (each for each in client.every(since=since) if each.status.is_final)
    total = 0
    with progress_bar("announcing", len(recordings) if recordings else None) as bar:
        for recording in _find(client, recordings, problems) if recordings else final:
            try:
                status = client.replay(recording.id).status
            except Exception as error:
                problems.append(recording.id)
                print_problem(recording.id, error)
            else:
                total += 1
                print_line(bar, recording.id, f"announced {status.value}", recording.source.name)
            advance(bar)
    err.print(f"{plural(total, 'outcome')} announced again", highlight=False)
    if problems:
        raise typer.Exit(1)


commands.command()(backfill)
commands.command()(reconcile)


@commands.command()
def erase(
    context: typer.Context,
    recordings: RecordingNames,
    upload: Annotated[bool, typer.Option("--upload", help="Also delete the uploaded files.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Erase recordings: transcript, emotions, partials, files. Keeps a tombstone with the id, and announces it.

    An id selects one recording; a URI or a name selects every upload under it.
    Erased data cannot be restored. Recordings that are already erased are not
    an error; to delete the upload of one, name it by URI or name. An upload
    under retention or a hold stays; the command says until when. Exit with
    status 1 if it does, and if a recording does not exist or could not be
    erased.
    """
    client = connect(context)
    problems: list[str] = []
    chosen: dict[str, Recording] = {}
    called: dict[str, str] = {}
    for name in recordings:
        try:
            for each in client.uploads_of(name):
                chosen[each.id] = each
                called[each.id] = name if each.status is Status.ERASED else each.id
        except NotFound as error:
            problems.append(name)
            print_problem(name, error)
    remaining = [each for each in chosen.values() if each.status is not Status.ERASED]
    if remaining and not yes:
        err.print(display.table(remaining, err.width))
        uploads = "its upload" if len(remaining) == 1 else "their uploads"
        also = f"and {uploads}" if upload else f"but keep {uploads}"
        typer.confirm(f"Erase {plural(len(remaining))} {also}?", abort=True, err=True)
    for recording in chosen.values():
        already = recording.status is Status.ERASED
        try:
            erased = client.erase(called[recording.id], upload=upload)
        except Exception as error:
            problems.append(recording.id)
            print_problem(recording.id, error)
            continue
        name = "" if already else f"  {shown(recording.source.name)}"
        out.print(f"{recording.id}  {'already erased' if already else 'erased'}{name}", highlight=False)
        if upload and erased.retained:
            problems.append(recording.id)
            where = "" if already else f"; {recording.source.uri}#{recording.source.generation} can be deleted then"
            stays = f"its upload stays until {erased.retained.stays_until}{where}"
            err.print(f"{recording.id}  {shown(stays)}", highlight=False)
    if problems:
        raise typer.Exit(1)
