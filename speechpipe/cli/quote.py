"""`speechpipe quote`: estimates for files, folders and objects of any bucket, before anything is uploaded or run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from speechpipe.backends.local import STATE_FOLDER
from speechpipe.backends.local.folder import FolderUploads
from speechpipe.backends.ports import Uploads
from speechpipe.cli.arguments import OptionList, split_option
from speechpipe.cli.terminal import err, out, shown
from speechpipe.contract import Cost, Frozen, Quote, Source, Stage
from speechpipe.contract.errors import NotFound, Rejected
from speechpipe.contract.options import parse_options
from speechpipe.contract.prices import PriceTable, figure, preset
from speechpipe.contract.prices import read as read_prices
from speechpipe.observe.log import printable_json
from speechpipe.pipeline import admission
from speechpipe.record.report import clock_time
from speechpipe.settings import Limits, read

#: Files whose headers are read at the same time. In a bucket a header takes a few requests, mostly spent waiting.
THREADS = 8


class Estimate(Frozen):
    """The quote of one file, or why there is none."""

    name: str
    quote: Quote | None = None
    problem: str | None = None  #: why it could not be read or would be rejected


def quote(
    targets: Annotated[
        list[str],
        typer.Argument(metavar="gs://BUCKET/PREFIX|FILE|DIR", help="Objects of any bucket, files, or folders."),
    ],
    prices: Annotated[
        str,
        typer.Option(envvar="SPEECHPIPE_PRICES", help="Price table: a preset (l4, rtx-pro-6000), or a table as JSON."),
    ] = "",
    option: OptionList = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON per recording, and one for the total.")
    ] = False,
) -> None:
    """Print the length and the estimated cost of recordings. Nothing is uploaded or run.

    Exit with status 1 if a file cannot be read or would be rejected.
    """
    table = read_prices(prices) or preset("l4")
    options = {name.replace("_", "-"): value for name, value in map(split_option, option or ())}
    parse_options(options, strict=True)
    with err.status("reading headers"):
        rows = estimates(
            targets,
            options=options,
            prices=table,
            max_bytes=read(Limits).max_bytes,
            project=os.environ.get("GOOGLE_CLOUD_PROJECT"),
        )
    overall = total(rows, table)
    if as_json:
        for row in rows:
            sys.stdout.write(printable_json(row.model_dump_json()) + "\n")
        sys.stdout.write(Estimate(name="total", quote=overall).model_dump_json() + "\n")
    else:
        out.print(_table(rows, overall, table))
        source = "the given prices" if prices else "the l4 preset (--prices or SPEECHPIPE_PRICES selects another)"
        guesses = "" if overall.exact else "; ≈ marks lengths that are estimates, and may be far off"
        err.print(f"estimated with {source}; the speeds of presets are assumptions, not measurements{guesses}")
    if any(row.problem for row in rows):
        raise typer.Exit(1)


def _table(rows: Sequence[Estimate], total: Quote, prices: PriceTable) -> Table:
    """One row per recording, and the total in the footer."""
    stages = list(total.compute_seconds)
    grid = Table(box=None, pad_edge=False, header_style="dim", show_footer=True, footer_style="bold")
    per_stage = (header for stage in stages for header in (stage.value, f"{stage.value} {prices.currency}"))
    headers = ["audio", *per_stage, prices.currency]
    grid.add_column("name", "total", overflow="fold")
    for header, footer in zip(headers, _cells(total, stages, prices), strict=True):
        grid.add_column(header, footer, justify="right", no_wrap=True)
    for row in rows:
        name = shown(row.name)
        if row.quote:
            grid.add_row(name, *_cells(row.quote, stages, prices))
        else:
            grid.add_row(f"{name}\n  [red]{shown(row.problem or '')}[/]", "-")
    return grid


def _cells(quote: Quote, stages: Sequence[Stage], prices: PriceTable) -> list[str]:
    cells = [("" if quote.exact else "≈") + clock_time(quote.audio_seconds)]
    for stage in stages:
        seconds = quote.compute_seconds.get(stage)
        cells += ["-", "-"] if seconds is None else [_time(seconds), figure(prices.cost(stage, seconds).amount)]
    return [*cells, figure(quote.cost.amount) if quote.cost else "-"]


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else clock_time(seconds)


def estimates(
    targets: Sequence[str],
    *,
    options: Mapping[str, str],
    prices: PriceTable,
    max_bytes: int,
    project: str | None = None,
) -> list[Estimate]:
    """Quote files, all files in folders, and objects under `gs://bucket/prefix`.

    `options` override a file's own options, which come from its metadata or `NAME.meta.json`. A file that cannot be
    quoted gets an Estimate with its problem. Raises SettingsMissing if a bucket is named and there are no credentials.
    """

    def estimate(found: tuple[str, Source | None, Uploads | str]) -> Estimate:
        name, source, uploads = found
        if source is None or isinstance(uploads, str):
            return Estimate(name=name, problem=str(uploads))
        try:
            admission.check_object(source, max_bytes)
            parsed = parse_options({**source.metadata, **options})
            return Estimate(name=name, quote=admission.quote(source, parsed, uploads=uploads, prices=prices))
        except Rejected as error:
            return Estimate(name=name, problem=error.message)
        except NotFound as error:
            return Estimate(name=name, problem=str(error))
        except OSError as error:
            return Estimate(name=name, problem=error.strerror or type(error).__name__)

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(estimate, (each for target in targets for each in _expand(target, project))))


def total(rows: Iterable[Estimate], prices: PriceTable) -> Quote:
    """Add up the quotes."""
    quotes = [row.quote for row in rows if row.quote]
    return Quote(
        audio_seconds=sum(quote.audio_seconds for quote in quotes),
        exact=all(quote.exact for quote in quotes),
        compute_seconds={
            stage: sum(quote.compute_seconds.get(stage, 0.0) for quote in quotes)
            for stage in Stage
            if any(stage in quote.compute_seconds for quote in quotes)
        },
        cost=Cost(amount=sum(quote.cost.amount for quote in quotes if quote.cost), currency=prices.currency),
    )


def _expand(target: str, project: str | None) -> Iterator[tuple[str, Source | None, Uploads | str]]:
    """List the files of a target: name, source and where to read it, or name, None and the problem."""
    if target.startswith("gs://"):
        yield from _bucket_objects(target, project)
        return
    path = Path(target)
    if path.is_dir():
        folder = FolderUploads(path.resolve(), path / STATE_FOLDER)
        sources = list(folder.objects())
        yield from ((str(path / source.name), source, folder) for source in sources)
        if not sources:
            yield target, None, "the folder has no files"
    elif path.is_file():
        path = path.resolve()
        folder = FolderUploads(path.parent, path.parent / STATE_FOLDER)
        yield target, folder.find(path.name), folder
    else:
        yield target, None, "there is no such file or folder"


def _bucket_objects(uri: str, project: str | None) -> Iterator[tuple[str, Source | None, Uploads | str]]:
    from google.api_core.exceptions import GoogleAPICallError

    from speechpipe.backends import gcp

    name, _, prefix = uri.removeprefix("gs://").partition("/")
    bucket = gcp.bucket(name, project)
    try:
        sources = [source for source in bucket.objects(prefix) if not source.name.endswith("/")]
    except GoogleAPICallError as error:
        yield uri, None, f"{error.code} {error.reason or error.message}"
        return
    yield from ((source.uri, source, bucket) for source in sources)
    if not sources:
        yield uri, None, "no object name has this prefix"
