"""The report's transcript: one entry per segment, with time, speaker and emotion."""

from __future__ import annotations

from collections.abc import Sequence

from speechpipe.contract import UNSURE, HalfStatus, Record, Segment, Stage
from speechpipe.record.report.charts import clock_time
from speechpipe.record.report.escaping import escape
from speechpipe.record.report.label_styles import LabelStyle

#: Segments per list. Browsers skip the layout of lists far off the screen (content-visibility).
SEGMENTS_PER_LIST = 40


def render_transcript(record: Record, styles: dict[str, LabelStyle]) -> str:
    """The transcript's section. Two channels are shown side by side."""
    if not record.segments:
        missing = record.halves[Stage.STT].status is not HalfStatus.COMPLETED
        text = "There is no transcript." if missing else "No speech was found in this recording."
        return f"<section id=transcript tabindex=-1><h2>Transcript</h2><p class=empty>{text}</p></section>"
    channels = sorted({segment.channel for segment in record.segments})
    sides = {channel: f" side{place}" for place, channel in enumerate(channels)} if len(channels) == 2 else {}
    language = escape(record.language.code) if record.language and record.options.task == "transcribe" else "en"
    rows = [_segment(segment, sides, styles) for segment in record.segments]
    lists = "".join(
        f"<ol class=chunk>{''.join(rows[at : at + SEGMENTS_PER_LIST])}</ol>"
        for at in range(0, len(rows), SEGMENTS_PER_LIST)
    )
    names = [_speaker(record.segments, channel) for channel in channels] if sides else []
    heads = "".join(f"<span dir=auto>{escape(name)}</span>" for name in names)
    unsure = (
        "<p class=dim>Dotted underline: the recogniser was unsure.</p>"
        if any(segment.quality.suspect for segment in record.segments)
        else ""
    )
    return (
        f"<section id=transcript tabindex=-1><h2>Transcript</h2><p class=keys hidden>Click a word to jump to it, or "
        f"move with the arrow keys and press Enter.</p>{unsure}"
        + (f"<div class=heads aria-hidden=true>{heads}</div>" if heads else "")
        + f"<div class='text{' two' if sides else ''}' lang='{language}'>{lists}</div></section>"
    )


def _speaker(segments: Sequence[Segment], channel: int) -> str:
    return next((s.speaker for s in segments if s.channel == channel and s.speaker), f"channel {channel}")


def _segment(segment: Segment, sides: dict[int, str], styles: dict[str, LabelStyle]) -> str:
    emotion = segment.emotion
    style = styles[emotion.top or UNSURE] if emotion else None
    classes = "s" + (f" e{style.slot}" if style else "") + sides.get(segment.channel, "")
    tag = ""
    if emotion and style:
        confidence = f" {emotion.confidence:.0%}" if emotion.top else ""
        tag = f"<small>{style.chip} {escape(style.label)}{confidence}</small>"
    speaker = f"<b dir=auto>{escape(segment.speaker)}</b>" if segment.speaker else ""
    unsure = " class=unsure" if segment.quality.suspect else ""
    return (
        f"<li class='{classes}'><a href='#t={segment.start:.6g}' tabindex=-1>{clock_time(segment.start)}</a>"
        f"{speaker}{tag}<p dir=auto{unsure}>{escape(segment.text.strip())}</p>"
    )
