"""The timeline as SVG: coloured waveforms, one lane per label, turning points, an axis, and the scores as a table.

Every drawing spans the whole recording. Positions are percentages, so that text and patterns keep their shape at any
width. Windows are merged into at most 400 intervals per channel, however long the recording is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from speechpipe.contract import UNSURE, EmotionWindow, Record, TurningPoint, Vocabulary, Waveform
from speechpipe.record.align import leading, sorted_scores
from speechpipe.record.report.escaping import escape
from speechpipe.record.report.label_styles import PATTERNS, LabelStyle

MAX_INTERVALS = 400
TABLE_ROWS = 20
#: Seconds between ticks of the axis.
_TICK_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
_MAX_TICKS = 8
#: Turning points closer than this share of the recording share a marker.
_MERGED_SHARE = 1 / 100
#: A shorter gap does not end a run of the same emotion.
_GAP_SECONDS = 2.0


@dataclass(frozen=True)
class Interval:
    """A time interval of a channel with the mean scores of its windows. Times in seconds."""

    start: float
    end: float
    scores: dict[str, float]
    top: str  #: a label, or `unsure`


@dataclass(frozen=True)
class Timeline:
    """What the drawings need to know about a recording."""

    seconds: float
    channels: tuple[int, ...]
    intervals: dict[int, list[Interval]]  #: by channel, sorted, with gaps where nobody spoke
    styles: dict[str, LabelStyle]
    channel_names: dict[int, str]

    def channel_name(self, channel: int) -> str:
        """The name to show for a channel."""
        return self.channel_names.get(channel, f"Channel {channel}")

    def x(self, seconds: float) -> str:
        """A time as a horizontal position, in percent."""
        return f"{100 * min(max(seconds / self.seconds, 0.0), 1.0):.6g}%"

    def width(self, start: float, end: float) -> str:
        """A duration as a width, in percent."""
        return f"{100 * max(min(end, self.seconds) - start, 0.0) / self.seconds:.6g}%"


def clock_time(seconds: float) -> str:
    """Format seconds as `1:02:03` or `2:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def build_timeline(record: Record, styles: dict[str, LabelStyle]) -> Timeline | None:
    """The record's timeline; None if there is no audio or its duration is 0."""
    if record.audio is None or record.audio.duration <= 0:
        return None
    vocabulary = record.emotion_vocabulary
    spoken = {segment.channel for segment in record.segments} | {window.channel for window in record.emotion_windows}
    drawn = {waveform.channel for waveform in record.audio.waveforms}
    channels = tuple(sorted(spoken | drawn)) or (0,)
    intervals = {
        channel: _intervals(
            [w for w in record.emotion_windows if w.channel == channel], vocabulary, record.audio.duration
        )
        for channel in channels
    }
    single = len(channels) == 1 and record.options.channels == "mix"
    names = {channel: "Audio" if single else f"Channel {channel}" for channel in channels}
    return Timeline(record.audio.duration, channels, intervals, styles, names)


def _intervals(windows: Sequence[EmotionWindow], vocabulary: Vocabulary | None, seconds: float) -> list[Interval]:
    """One interval per window; if there are too many, equal slices of the recording with the mean of their windows."""
    slices: Iterable[tuple[float, float, list[tuple[float, EmotionWindow]]]]
    if len(windows) <= MAX_INTERVALS:
        slices = ((w.start, w.end, [(1.0, w)]) for w in sorted(windows, key=lambda w: w.start))
    else:
        slices = _slices(windows, seconds / MAX_INTERVALS)
    intervals = []
    for start, end, weighted in slices:
        total, sums = 0.0, defaultdict[str, float](float)
        for weight, window in weighted:
            total += weight
            for score in window.scores:
                sums[score.name] += weight * score.score
        means = {label: value / total for label, value in sums.items()}
        ranked = sorted_scores(means)
        top = leading(ranked, weighted, vocabulary) if vocabulary else ranked[0].name
        intervals.append(Interval(start, end, means, top or UNSURE))
    return intervals


def _slices(
    windows: Sequence[EmotionWindow], width: float
) -> Iterator[tuple[float, float, list[tuple[float, EmotionWindow]]]]:
    """(start, end, [(shared seconds, window)]) of each slice of `width` seconds that has windows."""
    by_slice = defaultdict[int, list[tuple[float, EmotionWindow]]](list)
    for window in windows:
        for number in range(int(window.start / width), min(int(window.end / width), MAX_INTERVALS - 1) + 1):
            shared = min(window.end, (number + 1) * width) - max(window.start, number * width)
            if shared > 0:
                by_slice[number].append((shared, window))
    for number in sorted(by_slice):
        yield number * width, (number + 1) * width, by_slice[number]


# ------------------------------------------------------------------------------------------------- drawings


def patterns() -> str:
    """Define the patterns that drawings refer to as `p0` and so on; the first is plain."""
    strokes = (
        "",
        "M-2 10 10-2M6 14 14 6M-6 6 6-6",  # diagonal lines
        "M0 4H8",
        "M1.5 1.5h2v2h-2zM5.5 5.5h2v2h-2z",
        "M-2-2 10 10M6-6 14 2M-6 6 2 14",
        "M4 0V8",
        "M0 4H8M4 0V8",
        "M0 2 2 6 4 2 6 6 8 2",
    )
    definitions = "".join(
        f'<pattern id=p{number} width=8 height=8 patternUnits=userSpaceOnUse><path class=hatch d="{stroke}"/></pattern>'
        for number, stroke in enumerate(strokes)
    )
    assert len(strokes) == PATTERNS
    return f"<svg class=defs aria-hidden=true><defs>{definitions}</defs></svg>"


def waveform(timeline: Timeline, channel: int, waveforms: Sequence[Waveform]) -> str:
    """A channel's loudness in the colours of its emotions, above a strip that shows them as patterns with letters."""
    mixed = len(waveforms) == 1 and len(timeline.channels) > 1  # then the peaks are not this channel's alone
    peaks = next((w.peaks for w in waveforms if w.channel == channel and not mixed), ())
    runs = _runs(timeline, channel)
    outline = _outline(peaks)
    coloured = "".join(
        f'<rect class="f e{style.slot}" x={1000 * start / timeline.seconds:.6g} '
        f"width={1000 * (end - start) / timeline.seconds:.6g} height=64></rect>"
        for start, end, style in runs
    )
    bands = "".join(_band(timeline, start, end, style) for start, end, style in runs)
    emotions = "; ".join(f"{style.label} from {clock_time(start)}" for start, _, style in runs[:12])
    more = f"; and {len(runs) - 12} more" if len(runs) > 12 else ""
    description = f"{timeline.channel_name(channel)}: loudness over time"
    if emotions:
        description += f". Emotions: {emotions}{more}"
    return (
        f'<svg class=wave viewBox="0 0 1000 64" preserveAspectRatio=none role=img aria-label="{escape(description)}">'
        f'<clipPath id=w{channel}><path d="{outline}"/></clipPath><path class=quiet d="{outline}"/>'
        f'<g clip-path="url(#w{channel})">{coloured}</g></svg>'
        + (f"<svg class=strip aria-hidden=true>{bands}</svg>" if bands else "")
    )


def _runs(timeline: Timeline, channel: int) -> list[tuple[float, float, LabelStyle]]:
    """(start, end, style) of each run of the same emotion."""
    runs: list[tuple[float, float, LabelStyle]] = []
    for interval in timeline.intervals[channel]:
        style = timeline.styles[interval.top]
        if runs and runs[-1][2] == style and interval.start - runs[-1][1] < _GAP_SECONDS:
            runs[-1] = (runs[-1][0], max(interval.end, runs[-1][1]), style)
        else:
            runs.append((interval.start, interval.end, style))
    return runs


def _outline(peaks: Sequence[int]) -> str:
    """A closed path in a box of 1000 by 64, symmetric about the middle; a thin line where it is silent."""
    if not peaks:
        return "M0 31H1000V33H0Z"
    step = 1000 / len(peaks)
    up = "".join(f"H{step * n:.5g}V{32 - max(0.5, 31 * peak / 255):.3g}" for n, peak in enumerate(peaks))
    down = "".join(
        f"H{step * (n + 1):.5g}V{32 + max(0.5, 31 * peaks[n] / 255):.3g}" for n in range(len(peaks) - 1, -1, -1)
    )
    return f"M0 32{up}H1000{down}H0Z"


def _band(timeline: Timeline, start: float, end: float, style: LabelStyle) -> str:
    share = (end - start) / timeline.seconds
    place = f"x={timeline.x(start)} width={timeline.width(start, end)} height=100%"
    rects = f'<rect class="f e{style.slot}" {place} />'
    if style.slot % PATTERNS:
        rects += f'<rect fill="url(#p{style.slot % PATTERNS})" {place} />'
    if share < 0.03:
        return rects
    narrow = " class=wide" if share < 0.1 else ""
    return f"{rects}<text{narrow} x={timeline.x((start + end) / 2)} y=15 text-anchor=middle>{escape(style.code)}</text>"


def lane(timeline: Timeline, channel: int, label: str) -> str:
    """A label's scores over time, from 0 at the bottom to 1 at the top."""
    path = "".join(
        f"M{1000 * interval.start / timeline.seconds:.5g} 20V{20 - 19 * interval.scores.get(label, 0.0):.3g}"
        f"H{1000 * interval.end / timeline.seconds:.5g}V20Z"
        for interval in timeline.intervals[channel]
    )
    return (
        f'<svg class=lane viewBox="0 0 1000 20" preserveAspectRatio=none aria-hidden=true>'
        f'<path class="f e{timeline.styles[label].slot}" d="{path}"/></svg>'
    )


def axis(timeline: Timeline) -> str:
    """A time axis with ticks at round times."""
    step = next((step for step in _TICK_SECONDS if timeline.seconds / step <= _MAX_TICKS), _TICK_SECONDS[-1])
    times = [step * number for number in range(int(timeline.seconds / step) + 1)]
    ticks = "".join(
        f"<text{' class=wide' if number % 2 else ''} x={timeline.x(time)} y=12>{clock_time(time)}</text>"
        f"<rect class=tick x={timeline.x(time)} width=1 height=4 />"
        for number, time in enumerate(times)
        if time < 0.97 * timeline.seconds
    )
    return f"<svg class=axis aria-hidden=true>{ticks}</svg>"


def turning_points(timeline: Timeline, record: Record) -> str:
    """Turning points as markers. Hidden from screen readers, which read the list in the summary instead."""
    groups: list[list[TurningPoint]] = []
    for point in record.summary.turning_points:
        if groups and point.at - groups[-1][0].at < _MERGED_SHARE * timeline.seconds:
            groups[-1].append(point)
        else:
            groups.append([point])
    markers = "".join(
        f'<svg x={timeline.x(point.at)} overflow=visible><a href="#t={point.at:.6g}" tabindex=-1>'
        f"<title>{clock_time(point.at)} {escape(timeline.channel_name(point.channel))}: "
        f"from {escape(point.before)} to {escape(point.after)}{f'; {len(rest)} more nearby' if rest else ''}</title>"
        f'<path class="f e{timeline.styles[point.after].slot}" d="M0 1 7 8 0 15-7 8Z"/></a></svg>'
        for point, *rest in groups
    )
    return f"<svg class=turns aria-hidden=true>{markers}</svg>"


def table(timeline: Timeline, channel: int, labels: Sequence[str]) -> str:
    """The lanes' scores as numbers: means over at most 20 equal slices."""
    count = min(TABLE_ROWS, max(1, int(timeline.seconds / 2)))
    width = timeline.seconds / count
    head = "".join(f"<th scope=col>{escape(label)}" for label in labels)
    rows = []
    for number in range(count):
        start, end = number * width, (number + 1) * width
        shares = [
            (min(interval.end, end) - max(interval.start, start), interval)
            for interval in timeline.intervals[channel]
            if interval.start < end and interval.end > start
        ]
        total = sum(share for share, _ in shares)
        cells = "".join(
            f"<td>{sum(share * interval.scores.get(label, 0.0) for share, interval in shares) / total:.0%}"
            if total
            else "<td>–"
            for label in labels
        )
        rows.append(f"<tr><th scope=row>{clock_time(start)}{cells}")
    name = escape(timeline.channel_name(channel))
    return (
        f'<div class=scroll tabindex=0 role=region aria-label="Emotion scores, {name}">'
        f"<table><caption>{name}: mean scores from each time to the next; – means no speech</caption>"
        f"<thead><tr><th scope=col>From{head}<tbody>{''.join(rows)}</table></div>"
    )
