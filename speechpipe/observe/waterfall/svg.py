"""A waterfall as SVG, readable on light and dark backgrounds. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from speechpipe.observe.waterfall.layout import Row, Scale, duration, label

WIDTH, ROW, TOP = 1200, 20, 74
LEFT, RIGHT = 330, 80  #: widths reserved for the names and for the durations after the bars

#: One per service, in order of appearance; they can be told apart on both backgrounds.
COLOURS = ("#2f81f7", "#d29922", "#a371f7", "#3fb950", "#db61a2", "#39c5cf")
_STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .paper { fill: #ffffff } .quiet { fill: #59636e } .line { stroke: #d1d9e0 } .error { fill: #d1242f }
  .wait { fill: none; stroke-dasharray: 3 2; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .paper { fill: #0d1117 } .quiet { fill: #9198a1 } .line { stroke: #3d444d }
    .error { fill: #ff7b72 }
  }
"""


def svg(rows: Sequence[Row], title: str) -> str:
    """The waterfall as SVG, with `title` at the top. It holds nothing but the names and numbers of the trace."""
    height = TOP + ROW * len(rows) + 12
    services = list(dict.fromkeys(row.span.service for row in rows))
    colours = {service: COLOURS[index % len(COLOURS)] for index, service in enumerate(services)}
    scale = Scale(row.span for row in rows)
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
        f'<text x="12" y="22" style="font-weight:600">{escape(title)}</text>',
        *_legend(colours),
        *_axis(scale, height),
    ]
    for index, row in enumerate(rows):
        body += _row(row, TOP + ROW * index, scale, colours[row.span.service])
    return "\n".join([*body, "</svg>", ""])


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _legend(colours: dict[str, str]) -> Iterator[str]:
    x = 12.0
    for service, colour in colours.items():
        name = service.removeprefix("speechpipe-")
        yield f'<rect x="{x:.0f}" y="33" width="11" height="11" rx="2" fill="{colour}"/>'
        yield f'<text x="{x + 16:.0f}" y="43" class="quiet">{escape(name)}</text>'
        x += 34 + 7 * len(name)
    yield f'<rect x="{x:.0f}" y="33" width="18" height="11" rx="2" class="wait" stroke="#888"/>'
    yield f'<text x="{x + 24:.0f}" y="43" class="quiet">waiting</text>'


def _axis(scale: Scale, height: int) -> Iterator[str]:
    """Marks at round times since the end of the upload, and a note if the upload is not to scale."""
    step = _step(scale.end - scale.upload_end)
    for mark in range(int((scale.end - scale.upload_end) / step) + 1):
        moment = scale.upload_end + mark * step
        x = _x(scale(moment))
        yield f'<line class="line" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{height - 6}"/>'
        text = duration(mark * step) if mark else "0"
        yield f'<text x="{x:.1f}" y="{TOP - 12}" class="quiet" text-anchor="middle">{text}</text>'
    if scale.squeezed:
        yield f'<text x="{_x(0):.1f}" y="{TOP - 12}" class="quiet">upload, not to scale</text>'


def _step(length: float) -> float:
    """The time between two marks: 1, 2 or 5 times a power of ten, such that there are four to ten marks."""
    power = 10.0 ** math.floor(math.log10(length / 4))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= length / 4)


def _row(row: Row, y: int, scale: Scale, colour: str) -> Iterator[str]:
    span = row.span
    x, end = _x(scale(span.start)), _x(scale(span.end))
    width = max(end - x, 2.0)
    indent, wrong = 12 + 11 * row.depth, ' class="error"' if span.error else ""
    text = label(row)
    room = max(8, int((LEFT - indent) / 6.2))
    shown = text if len(text) <= room else text[: room - 1] + "…"
    yield f"<g><title>{escape(text)}: {duration(span.end - span.start)}, {escape(span.service)}</title>"
    yield f'<text x="{indent}" y="{y + 14}"{wrong}>{escape(shown)}</text>'
    paint = f'class="wait" stroke="{colour}"' if span.is_waiting else f'fill="{colour}"'
    yield f'<rect x="{x:.1f}" y="{y + 4}" width="{width:.1f}" height="12" rx="2" {paint}/>'
    text = duration(span.end - span.start)
    yield f'<text x="{x + width + 5:.1f}" y="{y + 14}" class="quiet">{text}</text></g>'
