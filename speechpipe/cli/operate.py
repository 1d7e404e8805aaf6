"""The operators' commands: redrive, replay, backfill, erase, dead-letters. Parse, call, print.

Each goes on with the others where one fails, and then ends with exit status 1; each may be stopped and run again.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from speechpipe.cli import display
from speechpipe.client import Client
from speechpipe.contract import Letter, Recording, Source, Stage, Status
from speechpipe.contract.errors import NotFinal, NotFound
from speechpipe.observe.log import printable
from speechpipe.pipeline import operations
from speechpipe.pipeline.operations import LetterState

commands = typer.Typer()
letters_commands = typer.Typer(
    no_args_is_help=True, help="Tasks that were delivered as often as allowed: look at them, run them again."
)
commands.add_typer(letters_commands, name="dead-letters")
out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
#: Outcomes that running again may change: of what was rejected the input is the cause.
_MAY_CHANGE = (Status.COMPLETED, Status.PARTIAL, Status.FAILED)


def _moment(text: str) -> datetime:
    ago = re.fullmatch(r"(\d{1,5})([mhdw])", text)
    if ago:
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is neither a time such as 2026-11-25T14:30 (UTC) nor one ago such as 2h, 3d"
        raise typer.BadParameter(message) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


Chosen = Annotated[list[str] | None, typer.Argument(metavar="[ID|URI|NAME...]")]
Since = Annotated[
    datetime | None,
    typer.Option(parser=_moment, metavar="TIME", help="First seen since then: 2026-11-25T14:30 (UTC), or 2h, 3d ago."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="A line of JSON a letter.")]
LetterIds = Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="Of letters or of recordings.")]


def _client(context: typer.Context) -> Client:
    return Client(context.find_object(Path))


class _Rate(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        """As text."""
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="dim")


@contextmanager
def _bar(title: str, total: int | None) -> Iterator[Progress]:
    """A bar below the lines on a terminal; elsewhere nothing."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        progress.add_task(title, total=total)
        yield progress


def _advance(progress: Progress) -> None:
    progress.advance(progress.task_ids[0])


def _line(progress: Progress, recording: str, done: str, name: str) -> None:
    """One line on stdout, above the bar."""
    text = f"{recording}  {done}  {escape(printable(name))}"
    (progress.console if out.is_terminal and not progress.disable else out).print(text, highlight=False)


def _complain(what: str, error: Exception) -> None:
    said = str(error) or type(error).__name__
    err.print(f"[red]{escape(printable(what))}:[/] {escape(printable(said))}", highlight=False)


def _named(client: Client, names: Iterable[str], problems: list[str]) -> Iterator[Recording]:
    """The recordings of these names; of one that is none, a complaint."""
    for name in names:
        try:
            yield client.get(name)
        except NotFound as error:
            problems.append(name)
            _complain(name, error)


@commands.command()
def redrive(
    context: typer.Context,
    recordings: Chosen = None,
    failed: Annotated[bool, typer.Option("--failed", help="Every recording that ended failed.")] = False,
    partial: Annotated[bool, typer.Option("--partial", help="Every recording that ended partial.")] = False,
    since: Since = None,
    stage: Annotated[
        list[Stage] | None, typer.Option(help="Which to run; else what failed, or both if nothing did.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Run recordings again, as their next revision; a half that is not run keeps its outcome.

    --since alone chooses what was completed, partial or failed, and not what has been run again since then, so that
    the same command goes on where it was stopped. Exit status 1 if one could not be run again.
    """
    if bool(recordings) == bool(failed or partial or since):
        raise typer.BadParameter("name recordings, or choose them by --failed, --partial, --since")
    client = _client(context)
    problems: list[str] = []
    chosen = _named(client, recordings, problems) if recordings else _filtered(client, failed, partial, since)
    total = 0
    with _bar("redriving", len(recordings) if recordings else None) as bar:
        for recording in chosen:
            asked = recording.options.stages
            again = tuple(each for each in asked if each in stage) if stage else operations.to_run_again(recording)
            try:
                if not dry_run and again:
                    client.redrive(recording.id, *again)
            except Exception as error:  # of the platform, say: the others are tried
                problems.append(recording.id)
                _complain(recording.id, error)
            else:
                total += bool(again)
                what = " and ".join(again) or "nothing: that stage was not asked for"
                _line(bar, recording.id, what, recording.source.name)
            _advance(bar)
    err.print(f"{_count(total)} {'would run' if dry_run else 'run'} again", highlight=False)
    if problems:
        raise typer.Exit(1)


def _filtered(client: Client, failed: bool, partial: bool, since: datetime | None) -> Iterator[Recording]:
    if not failed and not partial:
        chosen = client.every(*_MAY_CHANGE, since=since)
        return (each for each in chosen if since is None or each.revised_at is None or each.revised_at < since)
    statuses = [status for status, wanted in ((Status.FAILED, failed), (Status.PARTIAL, partial)) if wanted]
    return client.every(*statuses, since=since)


def _count(number: int, what: str = "recording") -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


@commands.command()
def replay(
    context: typer.Context,
    recordings: Chosen = None,
    since: Since = None,
    notify_only: Annotated[
        bool, typer.Option("--notify-only", help="What it does in any case; may be written to say so.")
    ] = True,
) -> None:
    """Announce outcomes again: the same events with the same ids. Nothing is computed or changed.

    --since chooses every recording that is at its end by when it was first seen; choose it early enough: whoever has
    an event already knows it by its id. Exit status 1 if one could not be announced.
    """
    if bool(recordings) == bool(since):
        raise typer.BadParameter("name recordings, or choose them by --since")
    client = _client(context)
    problems: list[str] = []
    final = (each for each in client.every(since=since) if each.status.is_final)
    total = 0
    with _bar("announcing", len(recordings) if recordings else None) as bar:
        for recording in _named(client, recordings, problems) if recordings else final:
            try:
                status = client.replay(recording.id).status
            except Exception as error:
                problems.append(recording.id)
                _complain(recording.id, error)
            else:
                total += 1
                _line(bar, recording.id, f"announced {status.value}", recording.source.name)
            _advance(bar)
    err.print(f"{_count(total, 'outcome')} announced again", highlight=False)
    if problems:
        raise typer.Exit(1)


@commands.command()
def backfill(
    context: typer.Context,
    target: Annotated[str, typer.Argument(metavar="gs://BUCKET/PREFIX|PREFIX", help="With --dir a PREFIX of names.")],
    rate: Annotated[float, typer.Option(min=0.01, help="Recordings a second at most.")] = 10.0,
    since: Annotated[
        datetime | None, typer.Option(parser=_moment, metavar="TIME", help="Objects made since then.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(parser=_moment, metavar="TIME", help="Objects made before then.")
    ] = None,
    dry_run: DryRun = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with one that was stopped.")] = False,
    ledger: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to keep what is done; else in the user's state folder.")
    ] = None,
) -> None:
    """Make recordings of objects whose event never came: from before speechpipe, or lost. Known ones are skipped.

    The caps and the prefix are those of the environment here (SPEECHPIPE_MAX_*, SPEECHPIPE_UPLOADS_PREFIX). It takes
    the rights of an operator; for another bucket than the uploads bucket also roles/storage.objectViewer there, for
    you, for ingest's and for both workers' accounts. Exit status 1 if an object could not be taken; --resume
    tries it again.
    """
    from speechpipe.pipeline import backfill as filling

    client = _client(context)

    def sources() -> Iterator[Source]:
        for source in client.objects(target):
            if (since is None or source.created_at >= since) and (until is None or source.created_at < until):
                yield source

    if dry_run:
        foreseen = Counter[str](filling.foreseen(source, client.limits, client.backend.store) for source in sources())
        _totals(foreseen, "would be: what is held is only known then")
        return
    path = ledger or _ledger_folder(client) / filling.ledger_name(target, client.project or "")
    book = filling.Ledger(path, target, resume=resume, now=datetime.now(UTC))
    problems = 0
    try:
        with _bar("backfilling", sum(1 for _ in sources()) if err.is_terminal else None) as bar:
            for source, outcome in filling.backfill(sources(), book, client.world, filling.Throttle(rate)):
                if isinstance(outcome, Exception):
                    problems += 1
                    _complain(source.uri, outcome)
                _advance(bar)
    except BaseException:
        err.print("stopped; the same command with --resume goes on", highlight=False)
        raise
    finally:
        _totals(book.totals(), f"in all; ledger {path}")
        book.close()
    if problems:
        raise typer.Exit(1)


def _ledger_folder(client: Client) -> Path:
    if client.directory:
        from speechpipe.backends.local import STATE_FOLDER

        return client.directory / STATE_FOLDER / "backfill"
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "speechpipe" / "backfill"


def _totals(totals: Counter[str], remark: str) -> None:
    from speechpipe.pipeline.backfill import Outcome

    counts = ", ".join(f"{totals[outcome]} {outcome.value}" for outcome in Outcome)
    out.print(f"{counts} ({escape(printable(remark))})", highlight=False)


@commands.command()
def erase(
    context: typer.Context,
    recordings: Annotated[list[str], typer.Argument(metavar="ID|URI|NAME...")],
    upload: Annotated[bool, typer.Option("--upload", help="The uploaded files too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Erase recordings: transcript, emotions, partials, files. A tombstone with the id stays, and is announced.

    An id names one recording, a URI or a name every upload under it. What is erased cannot be brought back. One that
    is erased already is none to complain of; --upload then wants its URI or name. Exit status 1 if one is not there or
    could not be erased.
    """
    client = _client(context)
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
            _complain(name, error)
    living = [each for each in chosen.values() if each.status is not Status.ERASED]
    if living and not yes:
        err.print(display.table(living, err.width))
        also = "and the uploaded files" if upload else "but not the uploaded files"
        typer.confirm(f"Erase {_count(len(living))}, {also}?", abort=True, err=True)
    for recording in chosen.values():
        already = recording.status is Status.ERASED
        try:
            client.erase(called[recording.id], upload=upload)
        except Exception as error:
            problems.append(recording.id)
            _complain(recording.id, error)
            continue
        name = "" if already else f"  {escape(printable(recording.source.name))}"
        out.print(f"{recording.id}  {'already erased' if already else 'erased'}{name}", highlight=False)
    if problems:
        raise typer.Exit(1)


@letters_commands.command("list")
def list_letters(context: typer.Context, as_json: AsJson = False) -> None:
    """List them, oldest first, without taking any away; and what has become of each since."""
    found = _client(context).dead_letters()
    if as_json:
        for letter, state in found:
            sys.stdout.write(_shown(letter, state) + "\n")
        return
    if not found:
        err.print("no dead letters")
        return
    for letter, state in found:
        task, name = letter.task, escape(printable(letter.task.source.name))
        what = f"{task.stage.value} of {task.recording_id} r{task.revision}"
        out.print(f"{letter.id}  {letter.at:%m-%d %H:%M:%S}  {what}  {state.value}  {name}", highlight=False)


def _shown(letter: Letter, state: LetterState) -> str:
    return f'{{"state":"{state.value}",{letter.model_dump_json()[1:]}'


@letters_commands.command("show")
def show_letter(
    context: typer.Context, letter: Annotated[str, typer.Argument(metavar="ID")], as_json: AsJson = False
) -> None:
    """Show letters of one id, a letter's or a recording's, and the attempts that were made."""
    client = _client(context)
    for each, state in _letters(client, [letter]):
        if as_json:
            sys.stdout.write(_shown(each, state) + "\n")
            continue
        task = each.task
        out.print(f"letter {each.id}: {task.stage.value} of {task.recording_id}, revision {task.revision}")
        out.print(f"  {state.value}; {each.deliveries} deliveries, given up {each.at:%Y-%m-%d %H:%M:%SZ}")
        out.print(f"  {escape(printable(task.source.uri))}", highlight=False)
        lease = client.backend.store.lease(task.recording_id, task.stage, task.revision)
        for attempt in lease.attempts if lease else ():
            error = f" ({attempt.error})" if attempt.error else ""
            out.print(f"  attempt {attempt.number} by {attempt.holder}: {attempt.outcome or 'at work'}{error}")


@letters_commands.command("redrive")
def redrive_letters(
    context: typer.Context,
    ids: LetterIds = None,
    everything: Annotated[bool, typer.Option("--all", help="All there are.")] = False,
) -> None:
    """Run again what they tell of, as the recording's next revision, and take them away.

    A letter whose stage has a value by now, or whose recording was erased, is only taken away. Exit status 1 if one
    has to stay.
    """
    if everything == bool(ids):
        raise typer.BadParameter("name letters, or --all", param_hint="--all")
    client = _client(context)
    chosen = [letter for letter, _ in (_letters(client, ids) if ids else client.dead_letters())]
    if not chosen:
        err.print("no dead letters")
    problems = 0
    by_recording = sorted(chosen, key=lambda letter: letter.task.recording_id)
    for recording_id, group in groupby(by_recording, key=lambda letter: letter.task.recording_id):
        letters = list(group)
        stages = " and ".join(sorted({letter.task.stage.value for letter in letters}))
        try:
            state = client.settle(letters)
        except (NotFinal, NotFound) as error:
            problems += 1
            _complain(recording_id, error)
            continue
        done = "runs again" if state in (LetterState.OPEN, LetterState.RUNNING) else f"{state.value}, dropped"
        name = escape(printable(letters[0].task.source.name)) if state is not LetterState.GONE else ""
        out.print(f"{recording_id}  {stages} {done}  {name}", highlight=False)
    if problems:
        raise typer.Exit(1)


def _letters(client: Client, ids: list[str]) -> list[tuple[Letter, LetterState]]:
    """Those of these ids. Raises NotFound for an id of none."""
    found = client.dead_letters()
    for each in ids:
        if not any(each in (letter.id, letter.task.recording_id) for letter, _ in found):
            raise NotFound(f"there is no dead letter {each!r}; `speechpipe dead-letters list` shows what there is")
    return [(letter, state) for letter, state in found if {letter.id, letter.task.recording_id} & set(ids)]
