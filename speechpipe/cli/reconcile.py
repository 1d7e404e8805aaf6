"""`speechpipe reconcile`: find uploads whose event was lost, and make recordings of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from speechpipe.cli.arguments import DryRun, connect, parse_time
from speechpipe.cli.terminal import advance, err, out, print_line, print_problem, progress_bar
from speechpipe.contract import Source


def reconcile(
    context: typer.Context,
    since: Annotated[
        datetime,
        typer.Option(
            parser=parse_time,
            metavar="TIME",
            help="Look at uploads since TIME: 2026-11-25T14:30 (UTC), or an age such as 2d.",
        ),
    ],
    dry_run: DryRun = False,
) -> None:
    """Make recordings of uploads whose event was lost: those since TIME that have no document.

    The deployment does the same every night for the last three days. Lists the
    whole uploads bucket, in pages. Uploads of the last hour are left alone,
    because their event may still be on its way. The caps, the prefix and the
    retention come from this shell's environment (SPEECHPIPE_MAX_*,
    SPEECHPIPE_UPLOADS_PREFIX, SPEECHPIPE_RETENTION_DAYS), not from the ingest
    function. Exit with status 1 if an upload could not be processed.
    """
    from speechpipe.pipeline import reconcile as reconciling
    from speechpipe.pipeline.backfill import Outcome

    client = connect(context)
    with progress_bar("reconciling", None) as bar:

        def tell(source: Source, outcome: Outcome | Exception) -> None:
            if isinstance(outcome, Exception):
                print_problem(source.uri, outcome)
            else:
                what = f"uploaded {source.created_at:%Y-%m-%d %H:%M:%SZ}, {outcome.value}"
                print_line(bar, source.recording_id, what, source.name)
            advance(bar)

        report = reconciling.reconcile(client.world, since, dry_run=dry_run, tell=tell)
    found = f"{report.missed} without a document"
    became = ", ".join(f"{getattr(report, name)} {name}" for name in ("new", "held", "rejected", "failed"))
    out.print(f"{report.listed} listed, {report.looked_up} looked up, {found}: {became}", highlight=False)
    if dry_run:
        err.print("dry run: nothing was changed, and which of them would be held is not known yet", highlight=False)
    if report.too_young:
        err.print(f"{report.too_young} younger than an hour: not looked up", highlight=False)
    if report.failed:
        raise typer.Exit(1)
