"""The report's summary: emotion shares, trend and turning points."""

from __future__ import annotations

from speechpipe.contract import UNSURE, Record
from speechpipe.record.report.charts import Timeline, clock_time
from speechpipe.record.report.escaping import escape
from speechpipe.record.report.label_styles import PATTERNS, LabelStyle

#: Turning points shown before the rest is folded away.
_LISTED_TURNING_POINTS = 8


def render_summary(record: Record, timeline: Timeline | None, styles: dict[str, LabelStyle]) -> str:
    """The summary's section; empty if no emotions were scored."""
    parts = []
    summary = record.summary
    shares = dict(summary.emotion_share)
    if summary.unsure_share:
        shares[UNSURE] = summary.unsure_share
    if shares:
        most = summary.shown_emotion or UNSURE
        parts.append(f"<p>Mostly <b>{escape(most)}</b>: {shares.get(most, 0.0):.0%} of the scored time.</p>")
        parts.append("<ul class=shares>")
        for label, share in shares.items():
            style, size = styles[label], f"width={share:.1%} height=100%"
            bar = f"<rect class='f e{style.slot}' {size} />"
            if style.slot % PATTERNS:
                bar += f"<rect fill='url(#p{style.slot % PATTERNS})' {size} />"
            bar = f"<svg class=bar aria-hidden=true>{bar}</svg>"
            parts.append(f"<li>{style.chip} <span>{escape(label)}</span>{bar}<b>{share:.0%}</b>")
        parts.append("</ul>")
    if timeline and len({slice_.emotion for slice_ in summary.trend if slice_.emotion}) > 1:
        quarters = " → ".join(
            f"{styles[slice_.emotion or UNSURE].chip} {escape(slice_.emotion or UNSURE)}" if slice_.scores else "–"
            for slice_ in summary.trend
        )
        parts.append(f"<h3>Trend by quarter</h3><p class=trend>{quarters}</p>")
    if summary.turning_points and timeline:
        several = len(timeline.channels) > 1
        items = [
            f"<li><a href='#t={point.at:.6g}'>{clock_time(point.at)}</a> "
            f"{styles[point.before].chip} {escape(point.before)} → {styles[point.after].chip} {escape(point.after)}"
            + (f" <span class=dim>{escape(timeline.channel_name(point.channel))}</span>" if several else "")
            for point in summary.turning_points
        ]
        parts.append(f"<h3>Turning points</h3><ul class=points>{''.join(items[:_LISTED_TURNING_POINTS])}</ul>")
        if len(items) > _LISTED_TURNING_POINTS:
            more = f"<details><summary>{len(items) - _LISTED_TURNING_POINTS} more</summary>"
            parts.append(f"{more}<ul class=points>{''.join(items[_LISTED_TURNING_POINTS:])}</ul></details>")
    if not parts:
        return ""
    return f"<section class=glance><h2>At a glance</h2>{''.join(parts)}</section>"
