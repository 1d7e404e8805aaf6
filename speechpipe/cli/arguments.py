"""Arguments and options that several commands share, and how their text is read."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from speechpipe.client import Client

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def split_option(text: str) -> tuple[str, str]:
    """Split NAME=VALUE. Raises BadParameter if the name or the equals sign is missing."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--option")
    return name.replace("-", "_"), value


def parse_time(text: str) -> datetime:
    """Read an ISO 8601 time, in UTC unless it has an offset, or an age such as 2h. Raises BadParameter."""
    age = re.fullmatch(r"(\d{1,5})([mhdw])", text)
    if age:
        return datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is neither a time, such as 2026-11-25T14:30 (UTC), nor an age, such as 2h or 3d"
        raise typer.BadParameter(message) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


RECORDING_HELP = "Recording id, gs:// or file:// URI, or name."
RecordingName = Annotated[str, typer.Argument(metavar="ID|URI|NAME", help=RECORDING_HELP)]
RecordingNames = Annotated[list[str], typer.Argument(metavar="ID|URI|NAME", help=RECORDING_HELP)]
OptionalRecordingNames = Annotated[list[str] | None, typer.Argument(metavar="ID|URI|NAME", help=RECORDING_HELP)]
OptionList = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", metavar="NAME=VALUE", help="Set an option of the recording, e.g. language=en."),
]
Since = Annotated[
    datetime | None,
    typer.Option(
        parser=parse_time,
        metavar="TIME",
        help="Select recordings first seen since TIME: 2026-11-25T14:30 (UTC), or an age such as 2h or 3d.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done and change nothing.")]


def connect(context: typer.Context) -> Client:
    """Return a client of the folder given with --dir, or of the cloud."""
    return Client(context.find_object(Path))
