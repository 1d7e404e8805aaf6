"""A waterfall as text for a terminal, and the same picture as SVG. Pure."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from speechpipe.observe.waterfall.layout import Row, Scale, duration, label

NAMES = 46  #: width of the names, in columns
_COLOURS = ("blue", "yellow", "magenta", "green", "red", "cyan")
_WORK, _WAIT = "█", "░"
SVG_WIDTH = 150  #: columns


def draw(rows: Sequence[Row], width: int) -> Text:
    """One line per span: its name, its bar and its duration. `width` is in columns."""
    scale = Scale(row.span for row in rows)
    services = list(dict.fromkeys(row.span.service for row in rows))
    room = max(20, width - NAMES - 9)
    text = Text()
    for row in rows:
        span = row.span
        colour = _COLOURS[services.index(span.service) % len(_COLOURS)]
        name = ("  " * row.depth + label(row))[: NAMES - 1]
        start = min(int(scale(span.start) * room), room - 1)
        length = max(1, round(scale(span.end) * room) - start)
        text.append(f"{name:<{NAMES}}", style="bold red" if span.error else "")
        text.append(" " * start + ((_WAIT if span.is_waiting else _WORK) * length)[: room - start], style=colour)
        text.append(f" {duration(span.end - span.start)}\n", style="dim")
    for service in services:
        colour = _COLOURS[services.index(service) % len(_COLOURS)]
        text.append(f"{_WORK} ", style=colour)
        text.append(service.removeprefix("speechpipe-") + "  ")
    text.append(f"{_WAIT} waiting" + ("; the upload is not to scale" if scale.squeezed else ""), style="dim")
    return text


def svg(rows: Sequence[Row], title: str) -> str:
    """The waterfall as SVG, with `title` at the top. It loads nothing: rich's web fonts are left out."""
    console = Console(record=True, width=SVG_WIDTH, file=io.StringIO(), color_system="truecolor", force_terminal=True)
    console.print(draw(rows, SVG_WIDTH), no_wrap=True, overflow="crop")
    return re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title=title), flags=re.S)
