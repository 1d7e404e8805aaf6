"""The report's player and its timeline: waveforms, turning points, one lane per label, and the scores as a table."""

from __future__ import annotations

from speechpipe.contract import Record
from speechpipe.record.report.charts import Timeline, axis, lane, table, turning_points, waveform
from speechpipe.record.report.escaping import escape


def render_player(record: Record, timeline: Timeline) -> str:
    """The controls and the timeline of a record that has audio."""
    assert record.audio is not None
    rows = [
        _row(escape(timeline.channel_name(channel)), waveform(timeline, channel, record.audio.waveforms), "sound")
        for channel in timeline.channels
    ]
    if record.summary.turning_points:
        rows.append(_row("Turning points", turning_points(timeline, record), "points"))
    rows.append(_row("", axis(timeline), "times"))
    return (
        f"{_CONTROLS}<section class=player aria-label='Waveform and emotions over time'><div class=timeline>"
        f"{''.join(rows)}<div class=cursor hidden></div></div>"
        f"{_lanes(record, timeline)}</section>"
    )


#: Hidden until the script makes them work.
_CONTROLS = """<section class=controls aria-label=Player hidden>
<button type=button id=play class=primary aria-label=Play disabled>
<span aria-hidden=true>▶</span> <span>Play</span></button>
<button type=button id=back>−5<span class=away> seconds</span></button>
<button type=button id=forward>+5<span class=away> seconds</span></button>
<input type=range id=seek min=0 step=0.1 value=0 aria-label=Position>
<output id=clock for=seek></output>
<label class=speed><span class=away>Speed</span><select id=speed>
<option>0.5<option>0.75<option value=1 selected>1×<option>1.25<option>1.5<option>2</select></label>
<label><input type=checkbox id=follow checked> Auto-scroll</label>
<label class=open id=open hidden><input type=file id=file accept="audio/*,video/*">
<span>Open the recording to listen</span></label>
<p id=said role=status></p>
<audio id=audio preload=none></audio>
</section>"""


def _row(label: str, drawing: str, kind: str) -> str:
    return f"<div class='row {kind}'><div class=label>{label}</div><div class=plot>{drawing}</div></div>"


def _lanes(record: Record, timeline: Timeline) -> str:
    """The scores of every label in every channel over time, as lanes and as a table."""
    vocabulary = record.emotion_vocabulary
    if vocabulary is None or not record.emotion_windows:
        return ""
    scored = {label for each in timeline.intervals.values() for interval in each for label in interval.scores}
    share = record.summary.emotion_share
    labels = sorted(
        dict.fromkeys([*vocabulary.labels, *sorted(scored)]),
        key=lambda label: (label not in vocabulary.primary, -share.get(label, 0.0)),
    )
    channels = [channel for channel in timeline.channels if timeline.intervals[channel]]
    charts, tables = [], []
    for channel in channels:
        title = f"<h3>{escape(timeline.channel_name(channel))}</h3>" if len(channels) > 1 else ""
        rows = "".join(
            _row(f"{timeline.styles[label].chip} {escape(label)}", lane(timeline, channel, label), "thin")
            for label in labels
        )
        name = f"Emotion scores over time, {timeline.channel_name(channel)}"
        description = (
            f"One lane for each of {len(labels)} labels, from 0 at the bottom to 1 at the top. "
            "The table below gives the numbers."
        )
        charts.append(f"{title}<div role=img aria-label='{escape(name)}. {description}'>{rows}</div>")
        tables.append(table(timeline, channel, labels))
    return (
        "<h2>Emotion scores by label</h2><div class='timeline lanes'>"
        f"{''.join(charts)}{_row('', axis(timeline), 'times')}<div class=cursor hidden></div></div>"
        f"<details><summary>Show as a table</summary>{''.join(tables)}</details>"
    )
