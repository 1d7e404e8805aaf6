"""What is read: the recording at a glance, and its transcript."""

from __future__ import annotations

from collections.abc import Sequence

from speechpipe.contract import HalfStatus, Record, Segment, Stage
from speechpipe.record.report.charts import Timeline, clock_time
from speechpipe.record.report.escaping import escape
from speechpipe.record.report.label_styles import PATTERNS, Look

#: Segments laid out together: what is far from the window is not laid out at all (content-visibility).
CHUNK = 40
_LISTED_TURNS = 8


def glance(record: Record, timeline: Timeline | None, looks: dict[str, Look]) -> str:
    """What it mostly sounds like, and where that changes; nothing where no emotion was scored."""
    parts = []
    summary = record.summary
    if summary.dominant_emotion:
        share = summary.emotion_share.get(summary.dominant_emotion, 0.0)
        parts.append(
            f"<p>Mostly <b>{escape(summary.dominant_emotion)}</b>: {share:.0%} of the time that was scored.</p>"
        )
        parts.append("<ul class=shares>")
        for label, part in summary.emotion_share.items():
            bar = (
                f"<svg class=bar aria-hidden=true><rect class='f e{looks[label].slot}' width={part:.1%} height=100% />"
            )
            if looks[label].slot % PATTERNS:
                bar += f"<rect fill='url(#p{looks[label].slot % PATTERNS})' width={part:.1%} height=100% />"
            parts.append(f"<li>{looks[label].chip} <span>{escape(label)}</span>{bar}</svg><b>{part:.0%}</b>")
        parts.append("</ul>")
    if timeline and len({part.emotion for part in summary.trend if part.emotion}) > 1:
        quarters = " → ".join(
            f"{looks[part.emotion].chip} {escape(part.emotion)}" if part.emotion else "–" for part in summary.trend
        )
        parts.append(f"<h3>From beginning to end</h3><p class=trend>{quarters}</p>")
    if summary.turning_points and timeline:
        items = [
            f"<li><a href='#t={point.at:.6g}'>{clock_time(point.at)}</a> "
            f"{looks[point.before].chip} {escape(point.before)} → {looks[point.after].chip} {escape(point.after)}"
            + (f" <span class=dim>{escape(timeline.name(point.channel))}</span>" if len(timeline.channels) > 1 else "")
            for point in summary.turning_points
        ]
        parts.append(f"<h3>Turning points</h3><ul class=points>{''.join(items[:_LISTED_TURNS])}</ul>")
        if len(items) > _LISTED_TURNS:
            more = f"<details><summary>{len(items) - _LISTED_TURNS} more</summary>"
            parts.append(f"{more}<ul class=points>{''.join(items[_LISTED_TURNS:])}</ul></details>")
    if not parts:
        return ""
    return f"<section class=glance><h2>At a glance</h2>{''.join(parts)}</section>"


def transcript(record: Record, looks: dict[str, Look]) -> str:
    """Every segment with its time, speaker and emotion; two channels side by side."""
    if not record.segments:
        missing = record.halves[Stage.STT].status is not HalfStatus.COMPLETED
        text = "There is no transcript." if missing else "No speech was found in this recording."
        return f"<section id=transcript tabindex=-1><h2>Transcript</h2><p class=empty>{text}</p></section>"
    channels = sorted({segment.channel for segment in record.segments})
    sides = {channel: f" side{place}" for place, channel in enumerate(channels)} if len(channels) == 2 else {}
    language = escape(record.language.code) if record.language and record.options.task == "transcribe" else "en"
    rows = [_segment(segment, sides, looks) for segment in record.segments]
    chunks = "".join(f"<ol class=chunk>{''.join(rows[at : at + CHUNK])}</ol>" for at in range(0, len(rows), CHUNK))
    heads = (
        "".join(f"<span>{escape(_speaker(record.segments, channel))}</span>" for channel in channels) if sides else ""
    )
    unsure = (
        "<p class=dim>Dotted: the recogniser was unsure.</p>"
        if any(segment.quality.suspect for segment in record.segments)
        else ""
    )
    return (
        f"<section id=transcript tabindex=-1><h2>Transcript</h2><p class=keys hidden>Click a word to go there, or move "
        f"with the arrow keys and press Enter.</p>{unsure}"
        + (f"<div class=heads aria-hidden=true>{heads}</div>" if heads else "")
        + f"<div class='text{' two' if sides else ''}' lang='{language}'>{chunks}</div></section>"
    )


def _speaker(segments: Sequence[Segment], channel: int) -> str:
    return next((s.speaker for s in segments if s.channel == channel and s.speaker), f"channel {channel}")


def _segment(segment: Segment, sides: dict[int, str], looks: dict[str, Look]) -> str:
    emotion = segment.emotion
    classes = "s" + (f" e{looks[emotion.top].slot}" if emotion else "") + sides.get(segment.channel, "")
    tag = ""
    if emotion:
        tag = f"<small>{looks[emotion.top].chip} {escape(emotion.top)} {emotion.confidence:.0%}</small>"
    who = f"<b>{escape(segment.speaker)}</b>" if segment.speaker else ""
    unsure = " class=unsure" if segment.quality.suspect else ""
    return (
        f"<li class='{classes}'><a href='#t={segment.start:.6g}' tabindex=-1>{clock_time(segment.start)}</a>{who}{tag}"
        f"<p dir=auto{unsure}>{escape(segment.text.strip())}</p>"
    )
