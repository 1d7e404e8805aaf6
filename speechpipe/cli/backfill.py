"""`speechpipe backfill`: make recordings of objects whose upload event never came."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from speechpipe.cli.arguments import DryRun, connect, parse_time
from speechpipe.cli.terminal import advance, err, out, print_problem, progress_bar, shown
from speechpipe.client import Client
from speechpipe.contract import Source

#: By default, no more recordings are unfinished at a time: an hour's work for two GPUs if each lasts ten minutes.
MOST_UNFINISHED = 500
_TITLE = "backfilling"


def backfill(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="gs://BUCKET/PREFIX|PREFIX", help="Objects to process; with --dir, a PREFIX of names in the folder."
        ),
    ],
    rate: Annotated[float, typer.Option(min=0.01, help="Make at most this many recordings per second.")] = 10.0,
    most: Annotated[
        int | None,
        typer.Option(
            "--max-unfinished",
            metavar="N",
            min=0,
            help=f"Wait while N or more recordings are unfinished; 0: never. Default: {MOST_UNFINISHED}, with --dir 0.",
        ),
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(parser=parse_time, metavar="TIME", help="Skip objects created before TIME.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(parser=parse_time, metavar="TIME", help="Skip objects created at TIME or later.")
    ] = None,
    dry_run: DryRun = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a backfill that was stopped.")] = False,
    ledger: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="File that keeps track of what is done. Default: in the user's state folder."
        ),
    ] = None,
) -> None:
    """Make recordings of objects whose upload event was lost or predates speechpipe. Skips known objects.

    Keeps the queue short: waits while many recordings are unfinished, and goes
    on as they finish. Ctrl-C stops it, --resume continues.

    The caps and the prefix come from this shell's environment
    (SPEECHPIPE_MAX_*, SPEECHPIPE_UPLOADS_PREFIX), not from the ingest function.
    You need an operator's permissions. For any bucket other than the uploads
    bucket, you, ingest's account and both workers' accounts also need
    roles/storage.objectViewer on it. Exit with status 1 if an object could not
    be processed; --resume retries it.
    """
    from speechpipe.pipeline import backfill as filling

    client = connect(context)

    def sources() -> Iterator[Source]:
        for source in client.objects(target):
            if (since is None or source.created_at >= since) and (until is None or source.created_at < until):
                yield source

    if dry_run:
        foreseen = Counter[str](filling.foreseen(source, client.limits, client.backend.store) for source in sources())
        _print_totals(foreseen, "dry run; which of them would be held is not known yet")
        return
    path = ledger or _ledger_folder(client) / filling.ledger_name(target, client.project or "")
    book = filling.Ledger(path, target, resume=resume, now=datetime.now(UTC))
    problems = 0
    if most is None:  # in a folder nothing may be running that would finish any
        most = 0 if client.directory else MOST_UNFINISHED
    try:
        with progress_bar(_TITLE, sum(1 for _ in sources()) if err.is_terminal else None) as bar:
            brake = filling.Brake(client.backend.store, most, waiting=_shown(bar, most))
            for source, outcome in filling.backfill(sources(), book, client.world, filling.Throttle(rate), brake):
                if isinstance(outcome, Exception):
                    problems += 1
                    print_problem(source.uri, outcome)
                advance(bar)
    except BaseException:
        err.print("stopped; run the same command with --resume to continue", highlight=False)
        raise
    finally:
        _print_totals(book.totals(), f"in total; ledger: {path}")
        book.close()
    if problems:
        raise typer.Exit(1)


def _shown(bar: Progress, most: int) -> Callable[[int | None], None]:
    """Show that the backfill waits: beside the bar, or as one line for each wait without a terminal."""
    told = False

    def show(unfinished: int | None) -> None:
        nonlocal told
        title = _TITLE if unfinished is None else f"waiting, {unfinished} recordings are unfinished"
        bar.update(bar.task_ids[0], description=title)
        if unfinished is not None and not told and not err.is_terminal:
            err.print(f"{title}: going on below {most} (--max-unfinished)", highlight=False)
        told = unfinished is not None

    return show


def _ledger_folder(client: Client) -> Path:
    if client.directory:
        from speechpipe.backends.local import STATE_FOLDER

        return client.directory / STATE_FOLDER / "backfill"
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "speechpipe" / "backfill"


def _print_totals(totals: Counter[str], remark: str) -> None:
    from speechpipe.pipeline.backfill import Outcome

    counts = ", ".join(f"{totals[outcome]} {outcome.value}" for outcome in Outcome)
    out.print(f"{counts} ({shown(remark)})", highlight=False)
