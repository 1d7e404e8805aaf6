"""`report.html`: one self-contained page a person can read. Pure; every text from a recording is escaped."""

from __future__ import annotations

from html import escape

from speechpipe.contract import Record, Segment, Stage
from speechpipe.prices import about

#: Colours by sentiment-neutral hue; the label is always written too, so that colour is never the only cue.
_HUES = {
    "neutral": 210,
    "happiness": 90,
    "happy": 90,
    "anger": 0,
    "angry": 0,
    "sadness": 240,
    "sad": 240,
    "fear": 280,
    "disgust": 60,
    "surprise": 30,
}

_STYLE = """
:root{color-scheme:light dark;--l:92%;--t:25%}
@media(prefers-color-scheme:dark){:root{--l:22%;--t:80%}}
body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.3rem;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .6rem;vertical-align:top}
.meta td:first-child,time{color:GrayText;white-space:nowrap;font-variant-numeric:tabular-nums}
.tag{border-radius:.3rem;padding:0 .4rem;white-space:nowrap;background:hsl(var(--h) 60% var(--l));
color:hsl(var(--h) 60% var(--t))}
.bar{display:flex;height:1.6rem;border-radius:.3rem;overflow:hidden;margin:.5rem 0}
.bar span{background:hsl(var(--h) 60% var(--l));color:hsl(var(--h) 60% var(--t));font-size:.8rem;padding:0 .3rem;
overflow:hidden;white-space:nowrap;line-height:1.6rem}
.warn{border-left:.3rem solid #c80;padding-left:.8rem}.suspect{opacity:.6}
footer{color:GrayText;font-size:.85rem;margin-top:2rem}
"""


def render_report(record: Record) -> str:
    """The page."""
    title = escape(record.source.name)
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width,initial-scale=1">',
        f"<title>{title} - speechpipe</title><style>{_STYLE}</style>",
        f"<h1>{title}</h1>",
        _facts(record),
        _cautions(record),
        _share(record),
        _turning_points(record),
        _transcript(record),
        _footer(record),
        "</html>",
    ]
    return "\n".join(part for part in parts if part)


def clock_time(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _facts(record: Record) -> str:
    rows = [("Status", record.status.value)]
    if record.audio:
        rows.append(("Length", clock_time(record.audio.duration)))
    if record.language:
        rows.append(("Language", f"{record.language.code} ({record.language.confidence:.0%})"))
    if record.options.ref:
        rows.append(("Reference", record.options.ref))
    rows.append(("Words", str(record.summary.words)))
    if record.cost:
        rows.append(("Compute", about(record.cost)))
    if record.summary.dominant_emotion:
        rows.append(("Mostly", record.summary.dominant_emotion))
    cells = "".join(f"<tr><td>{escape(name)}<td>{escape(value)}" for name, value in rows)
    return f"<table class=meta>{cells}</table>"


def _cautions(record: Record) -> str:
    notes = [caution.message for caution in record.warnings]
    if record.error:
        notes.insert(0, f"{record.error.code.value}: {record.error.message}")
    return "".join(f"<p class=warn>{escape(note)}</p>" for note in notes)


def _share(record: Record) -> str:
    if not record.summary.emotion_share:
        return ""
    spans = "".join(
        f'<span style="--h:{_hue(label)};width:{share:.1%}" title="{escape(label)} {share:.0%}">'
        f"{escape(label)} {share:.0%}</span>"
        for label, share in record.summary.emotion_share.items()
    )
    return f"<h2>How it was said</h2><div class=bar>{spans}</div>"


def _turning_points(record: Record) -> str:
    items = "".join(
        f"<li><time>{clock_time(point.at)}</time> from {_tag(point.before)} to {_tag(point.after)}"
        for point in record.summary.turning_points
    )
    return f"<h2>Turning points</h2><ul>{items}</ul>" if items else ""


def _transcript(record: Record) -> str:
    if not record.segments:
        return ""
    rows = "".join(_row(segment) for segment in record.segments)
    return f"<h2>What was said</h2><table>{rows}</table>"


def _row(segment: Segment) -> str:
    speaker = f"<b>{escape(segment.speaker)}</b> " if segment.speaker else ""
    emotion = _tag(segment.emotion.top, f" {segment.emotion.confidence:.0%}") if segment.emotion else ""
    suspect = ' class=suspect title="the recogniser was unsure here"' if segment.quality.suspect else ""
    return (
        f"<tr{suspect}><td><time>{clock_time(segment.start)}</time><td>{speaker}{escape(segment.text.strip())}"
        f"<td>{emotion}"
    )


def _footer(record: Record) -> str:
    models = [
        f"{half.model.name} ({half.model.revision[:12]})" for stage in Stage if (half := record.halves[stage]).model
    ]
    return (
        f"<footer>Made by {escape(', '.join(models) or 'no model')}; recording {escape(record.recording_id)}, "
        f"revision {record.revision}. Emotion scores say how speech sounds to a model; they are not a diagnosis of "
        "what anybody feels.</footer>"
    )


def _tag(label: str, extra: str = "") -> str:
    return f'<span class=tag style="--h:{_hue(label)}">{escape(label)}{extra}</span>'


def _hue(label: str) -> int:
    return _HUES.get(label.lower(), 170)
