"""Records as rows of one table, for BigQuery and Parquet. The schema is derived from the contract.

One row per recording. The record's lists become REPEATED columns, its objects RECORD, and its mappings REPEATED RECORD
of `key` and the value. Everything else is NULLABLE, so that a later version's table can be loaded into an earlier one.
`docs/schemas/bigquery.json` is this schema in the form that `bq load` takes. Waveforms are left out, because only the
report needs them.

https://cloud.google.com/bigquery/docs/schemas, https://cloud.google.com/bigquery/docs/nested-repeated
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from speechpipe.contract import Record

if TYPE_CHECKING:
    import pyarrow  # type: ignore[import-untyped]

Field = dict[str, Any]  #: name, type, mode and, if a RECORD, fields

_OMITTED = frozenset({"waveforms"})
_TYPES: dict[type, str] = {bool: "BOOLEAN", int: "INTEGER", float: "FLOAT", str: "STRING", datetime: "TIMESTAMP"}
#: Rows in a Parquet row group. Few, because records are large.
_ROWS_PER_GROUP = 100


def schema() -> list[Field]:
    """The table's schema in BigQuery's JSON form."""
    return _fields(Record)


def row(record: Record) -> dict[str, Any]:
    """A record as a row of the table, times as RFC 3339."""
    return _object(record.model_dump(mode="json"), schema())


def write_bigquery(records: Iterable[Record], file: Path) -> int:
    """Write newline-delimited JSON for `bq load` and return the number of rows."""
    count = 0
    with file.open("w", encoding="utf-8") as lines:
        for record in records:
            lines.write(json.dumps(row(record), ensure_ascii=False) + "\n")
            count += 1
    return count


def write_parquet(records: Iterable[Record], file: Path) -> int:
    """Write a Parquet file and return the number of rows. Raises ImportError without pyarrow (the extra `parquet`)."""
    import pyarrow
    from pyarrow import parquet

    columns, count = _arrow(schema()), 0
    with parquet.ParquetWriter(file, columns, compression="zstd") as writer:
        for rows in _batches(map(row, records)):
            for each in rows:
                _parse_times(each, schema())
            writer.write_table(pyarrow.Table.from_pylist(rows, columns))
            count += len(rows)
    return count


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for each in rows:
        batch.append(each)
        if len(batch) == _ROWS_PER_GROUP:
            yield batch
            batch = []
    if batch:
        yield batch


# ------------------------------------------------------------------------------------------------------ the schema


def _fields(model: type[BaseModel]) -> list[Field]:
    return [_field(name, info.annotation) for name, info in model.model_fields.items() if name not in _OMITTED]


def _field(name: str, annotation: Any) -> Field:
    """A column with its type and mode."""
    annotation = _unwrap(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is tuple:
        return {**_field(name, arguments[0]), "mode": "REPEATED"}
    if origin is dict:
        value = _field("value", arguments[1])
        key = _field("key", str)
        inner = value["fields"] if value["type"] == "RECORD" else [value]
        return {"name": name, "type": "RECORD", "mode": "REPEATED", "fields": [key, *inner]}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {"name": name, "type": "RECORD", "mode": "NULLABLE", "fields": _fields(annotation)}
    return {"name": name, "type": _scalar(annotation), "mode": "NULLABLE"}


def _unwrap(annotation: Any) -> Any:
    """Strip `Annotated` and `None`; a union of several types becomes a string."""
    if get_origin(annotation) is Annotated:
        return _unwrap(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        members = [each for each in get_args(annotation) if each is not type(None)]
        return _unwrap(members[0]) if len(members) == 1 else str
    return annotation


def _scalar(annotation: Any) -> str:
    if get_origin(annotation) is Literal or (isinstance(annotation, type) and issubclass(annotation, Enum)):
        return "STRING"
    return _TYPES[annotation]


def _arrow(fields: list[Field]) -> pyarrow.Schema:
    import pyarrow

    scalars = {
        "BOOLEAN": pyarrow.bool_(),
        "INTEGER": pyarrow.int64(),
        "FLOAT": pyarrow.float64(),
        "STRING": pyarrow.string(),
        "TIMESTAMP": pyarrow.timestamp("ms", tz="UTC"),
    }

    def column(field: Field) -> pyarrow.Field:
        kind = pyarrow.struct(map(column, field["fields"])) if field["type"] == "RECORD" else scalars[field["type"]]
        return pyarrow.field(field["name"], pyarrow.list_(kind) if field["mode"] == "REPEATED" else kind)

    return pyarrow.schema(map(column, fields))


# --------------------------------------------------------------------------------------------------------- values


def _object(content: dict[str, Any], fields: list[Field]) -> dict[str, Any]:
    return {field["name"]: _cell(content.get(field["name"]), field) for field in fields}


def _cell(content: Any, field: Field) -> Any:
    if field["mode"] == "REPEATED":
        if isinstance(content, dict):
            return [_entry(key, value, field["fields"]) for key, value in content.items()]
        return [_cell(each, {**field, "mode": "NULLABLE"}) for each in content or ()]
    if field["type"] == "RECORD":
        return None if content is None else _object(content, field["fields"])
    if field["type"] == "STRING" and content is not None and not isinstance(content, str):
        return json.dumps(content)
    return content


def _entry(key: str, value: Any, fields: list[Field]) -> dict[str, Any]:
    """A mapping's entry as a RECORD: `key` and `value`, or `key` and the value's own fields."""
    inner = fields[1:]
    if [field["name"] for field in inner] == ["value"] and not isinstance(value, dict):
        return {"key": key, "value": _cell(value, inner[0])}
    return {"key": key, **_object(value, inner)}


def _parse_times(content: dict[str, Any], fields: list[Field]) -> None:
    """Replace timestamp strings with datetimes, as Arrow wants them."""
    for field in fields:
        found = content[field["name"]]
        if field["type"] == "TIMESTAMP" and found is not None:
            content[field["name"]] = datetime.fromisoformat(found)
        elif field["type"] == "RECORD":
            for each in found if field["mode"] == "REPEATED" else filter(None, [found]):
                _parse_times(each, field["fields"])
