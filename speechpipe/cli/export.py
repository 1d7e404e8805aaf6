"""`speechpipe export`: records as a table, for BigQuery or as Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from speechpipe.client import Client
from speechpipe.contract import Record, Recording, Status
from speechpipe.contract.errors import SettingsMissing

err = Console(stderr=True, soft_wrap=True)


class Table(StrEnum):
    """What `export` writes."""

    BIGQUERY = "bigquery"
    PARQUET = "parquet"


def export(
    context: typer.Context,
    table: Annotated[Table, typer.Argument(help="bigquery: JSON lines and a schema for `bq load`. parquet: one file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="Only later ones (UTC).")
    ] = None,
    status: Annotated[Status | None, typer.Option(help="Only recordings in this state.")] = None,
) -> None:
    """Write the records of finished recordings as a table, a row each. An existing file is replaced."""
    from speechpipe.record import tables

    client = Client(context.find_object(Path))
    chosen = [recording for recording in client.recordings(status=status, limit=1_000_000) if _wanted(recording, since)]
    staged = output.with_name(f"{output.name}.part")  # a file that is there is whole
    try:
        records = map(client.record, (recording.id for recording in _shown(chosen)))
        write = tables.write_bigquery if table is Table.BIGQUERY else _write_parquet
        rows = write(records, staged)
        staged.replace(output)
    finally:
        staged.unlink(missing_ok=True)
    err.print(f"{rows} rows in {escape(str(output))}", highlight=False)
    if table is Table.BIGQUERY:
        schema = output.with_name(f"{output.name}.schema.json")
        schema.write_text(json.dumps(tables.schema(), indent=2) + "\n")
        load = f"bq load --source_format=NEWLINE_DELIMITED_JSON DATASET.TABLE {output} {schema}"
        err.print(f"load it with: {escape(load)}", highlight=False)


def _wanted(recording: Recording, since: datetime | None) -> bool:
    return recording.artifacts is not None and (since is None or recording.queued_at >= since.replace(tzinfo=UTC))


def _shown(recordings: list[Recording]) -> Iterable[Recording]:
    return track(recordings, "exporting", console=err, transient=True, disable=not err.is_terminal)


def _write_parquet(records: Iterable[Record], file: Path) -> int:
    from speechpipe.record import tables

    try:
        return tables.write_parquet(records, file)
    except ImportError:
        raise SettingsMissing("Parquet wants pyarrow: pip install 'speechpipe[parquet]'") from None
