"""`speechpipe export`: records as a table, for BigQuery or as Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import track

from speechpipe.cli.arguments import connect
from speechpipe.cli.terminal import err, plural
from speechpipe.contract import Record, Recording, Status
from speechpipe.contract.errors import SettingsMissing


class Table(StrEnum):
    """Formats of `export`."""

    BIGQUERY = "bigquery"
    PARQUET = "parquet"


def export(
    context: typer.Context,
    table: Annotated[
        Table, typer.Argument(help="bigquery: JSON lines, and a schema for `bq load`. parquet: one Parquet file.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="Export only recordings first seen since then (UTC)."
        ),
    ] = None,
    status: Annotated[Status | None, typer.Option(help="Export only recordings in this state.")] = None,
) -> None:
    """Write the records of finished recordings as a table, one row per record. Replaces an existing file."""
    from speechpipe.record import tables

    client = connect(context)
    chosen = [each for each in client.recordings(status=status, limit=1_000_000) if _is_selected(each, since)]
    staged = output.with_name(f"{output.name}.part")  # so that `output` is always complete
    try:
        records = map(client.record, (recording.id for recording in _with_progress(chosen)))
        write = tables.write_bigquery if table is Table.BIGQUERY else _write_parquet
        rows = write(records, staged)
        staged.replace(output)
    finally:
        staged.unlink(missing_ok=True)
    err.print(f"{plural(rows, 'row')} written to {escape(str(output))}", highlight=False)
    if table is Table.BIGQUERY:
        schema = output.with_name(f"{output.name}.schema.json")
        schema.write_text(json.dumps(tables.schema(), indent=2) + "\n")
        load = f"bq load --source_format=NEWLINE_DELIMITED_JSON DATASET.TABLE {output} {schema}"
        err.print(f"load with: {escape(load)}", highlight=False)


def _is_selected(recording: Recording, since: datetime | None) -> bool:
    return recording.artifacts is not None and (since is None or recording.queued_at >= since.replace(tzinfo=UTC))


def _with_progress(recordings: list[Recording]) -> Iterable[Recording]:
    return track(recordings, "exporting", console=err, transient=True, disable=not err.is_terminal)


def _write_parquet(records: Iterable[Record], file: Path) -> int:
    from speechpipe.record import tables

    try:
        return tables.write_parquet(records, file)
    except ImportError:
        raise SettingsMissing("Parquet needs pyarrow: pip install 'speechpipe[parquet]'") from None
