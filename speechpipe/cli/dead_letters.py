"""`speechpipe dead-letters`: tasks, and events of uploads, that were not dealt with within the allowed deliveries."""

from __future__ import annotations

import sys
from itertools import groupby
from typing import Annotated

import typer

from speechpipe.cli.arguments import connect
from speechpipe.cli.terminal import err, out, print_problem, shown
from speechpipe.client import Client
from speechpipe.contract import Letter
from speechpipe.contract.errors import NotFinal, NotFound, Rejected
from speechpipe.pipeline.operations import LetterState

commands = typer.Typer(
    no_args_is_help=True,
    help="List, show or redrive dead letters: tasks that were not finished within the allowed deliveries, and uploads"
    " whose event was not taken.",
)
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON per letter.")]


@commands.command("list")
def list_letters(context: typer.Context, as_json: AsJson = False) -> None:
    """List dead letters, oldest first, with the current state of each. Removes none."""
    found = connect(context).dead_letters()
    if as_json:
        for letter, state in found:
            sys.stdout.write(_to_json(letter, state) + "\n")
        return
    if not found:
        err.print("no dead letters")
        return
    for letter, state in found:
        name = shown(letter.source.name)
        what = f"{_what(letter)} of {letter.recording_id}" + (f" r{letter.task.revision}" if letter.task else "")
        out.print(f"{letter.id}  {letter.at:%m-%d %H:%M:%S}  {what}  {state.value}  {name}", highlight=False)


def _what(letter: Letter) -> str:
    """What the letter is about: a stage, or the upload itself."""
    return letter.task.stage.value if letter.task else "upload"


def _to_json(letter: Letter, state: LetterState) -> str:
    return f'{{"state":"{state.value}",{letter.model_dump_json()[1:]}'


@commands.command("show")
def show_letters(
    context: typer.Context,
    letter: Annotated[str, typer.Argument(metavar="ID", help="Id of a letter or of a recording.")],
    as_json: AsJson = False,
) -> None:
    """Show a dead letter, or all of a recording, and the attempts that were made."""
    client = connect(context)
    for each, state in _letters(client, [letter]):
        if as_json:
            sys.stdout.write(_to_json(each, state) + "\n")
            continue
        task = each.task
        deliveries = "1 delivery" if each.deliveries == 1 else f"{each.deliveries} deliveries"
        revision = f", revision {task.revision}" if task else ""
        out.print(f"letter {each.id}: {_what(each)} of {each.recording_id}{revision}")
        out.print(f"  {state.value}; given up after {deliveries} at {each.at:%Y-%m-%d %H:%M:%SZ}")
        out.print(f"  {shown(each.source.uri)}", highlight=False)
        if task is None:
            continue
        lease = client.backend.store.lease(task.recording_id, task.stage, task.revision)
        for attempt in lease.attempts if lease else ():
            error = f" ({attempt.error})" if attempt.error else ""
            out.print(f"  attempt {attempt.number} by {attempt.holder}: {attempt.outcome or 'running'}{error}")


@commands.command("redrive")
def redrive_letters(
    context: typer.Context,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Ids of letters, or of recordings for all their letters.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Redrive every dead letter.")] = False,
) -> None:
    """Run the stages of dead letters again as the recording's next revision, and remove the letters.

    An upload whose event was not taken becomes a recording now; the caps and
    the prefix come from this shell's environment, as for backfill. A letter
    whose stage has succeeded since, or whose recording was erased, is removed
    without running anything. Exit with status 1 if a letter could not be
    removed.
    """
    if everything == bool(ids):
        raise typer.BadParameter("name the letters or use --all", param_hint="--all")
    client = connect(context)
    chosen = [letter for letter, _ in (_letters(client, ids) if ids else client.dead_letters())]
    if not chosen:
        err.print("no dead letters")
    problems = 0
    by_recording = sorted(chosen, key=lambda letter: letter.recording_id)
    for recording_id, group in groupby(by_recording, key=lambda letter: letter.recording_id):
        letters = list(group)
        stages = " and ".join(sorted({_what(letter) for letter in letters}))
        try:
            state = client.settle(letters)
        except (NotFinal, NotFound, Rejected) as error:
            problems += 1
            print_problem(recording_id, error)
            continue
        done = "redriven" if state in (LetterState.OPEN, LetterState.RUNNING) else f"{state.value}, removed"
        name = shown(letters[0].source.name) if state is not LetterState.GONE else ""
        out.print(f"{recording_id}  {stages} {done}  {name}", highlight=False)
    if problems:
        raise typer.Exit(1)


def _letters(client: Client, ids: list[str]) -> list[tuple[Letter, LetterState]]:
    """Find the letters with these ids, or of the recordings with these ids. Raises NotFound if an id has none."""
    found = client.dead_letters()
    for each in ids:
        if not any(each in (letter.id, letter.recording_id) for letter, _ in found):
            raise NotFound(f"there is no dead letter {each!r}; `speechpipe dead-letters list` lists all")
    return [(letter, state) for letter, state in found if {letter.id, letter.recording_id} & set(ids)]
