"""The timeline as SVG: waveforms in the colours of their emotions, a lane a label, turning points, a table of the same.

Every drawing is as wide as the recording is long: places are percentages, so that text and patterns keep their shape
at any width. Ten hours of windows are drawn as at most 400 parts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from speechpipe.contract import EmotionWindow, Record, TurningPoint, Waveform
from speechpipe.record.report.escaping import escape
from speechpipe.record.report.label_styles import PATTERNS, Look

PARTS = 400
TABLE_ROWS = 20
#: Seconds between marks of the axis.
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
_MARKS = 8
#: Turning points nearer than this share of the recording are one marker.
_NEAR = 1 / 100


@dataclass(frozen=True)
class Part:
    """A stretch of a channel with the mean scores of its windows."""

    start: float
    end: float
    scores: dict[str, float]
    top: str


@dataclass(frozen=True)
class Timeline:
    """What is drawn of a recording."""

    seconds: float
    channels: tuple[int, ...]
    parts: dict[int, list[Part]]  #: by channel, in order, with gaps where nobody spoke
    looks: dict[str, Look]
    names: dict[int, str]  #: of the channels

    def name(self, channel: int) -> str:
        """What a channel is called."""
        return self.names.get(channel, f"Channel {channel}")

    def at(self, seconds: float) -> str:
        """A place as a percentage."""
        return f"{100 * min(max(seconds / self.seconds, 0.0), 1.0):.6g}%"

    def width(self, start: float, end: float) -> str:
        """A length as a percentage."""
        return f"{100 * max(min(end, self.seconds) - start, 0.0) / self.seconds:.6g}%"


def clock_time(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def timeline_of(record: Record, looks: dict[str, Look]) -> Timeline | None:
    """None without audio, or of a recording without length."""
    if record.audio is None or record.audio.duration <= 0:
        return None
    primary = record.emotion_vocabulary.primary if record.emotion_vocabulary else ()
    spoken = {segment.channel for segment in record.segments} | {window.channel for window in record.emotion_windows}
    drawn = {waveform.channel for waveform in record.audio.waveforms}
    channels = tuple(sorted(spoken | drawn)) or (0,)
    parts = {
        channel: _parts([w for w in record.emotion_windows if w.channel == channel], primary, record.audio.duration)
        for channel in channels
    }
    single = len(channels) == 1 and record.options.channels == "mix"
    names = {channel: "Sound" if single else f"Channel {channel}" for channel in channels}
    return Timeline(record.audio.duration, channels, parts, looks, names)


def _parts(windows: Sequence[EmotionWindow], primary: Sequence[str], seconds: float) -> list[Part]:
    """A part a window; of more than fit, equal slices of the recording with the mean of what is in them."""
    spans: Iterable[tuple[float, float, list[tuple[float, EmotionWindow]]]]
    if len(windows) <= PARTS:
        spans = ((w.start, w.end, [(1.0, w)]) for w in sorted(windows, key=lambda w: w.start))
    else:
        spans = _slices(windows, seconds / PARTS)
    parts = []
    for start, end, weighted in spans:
        total, sums = 0.0, defaultdict[str, float](float)
        for weight, window in weighted:
            total += weight
            for score in window.scores:
                sums[score.name] += weight * score.score
        means = {label: value / total for label, value in sums.items()}
        named = [label for label in means if label in primary] or list(means)
        parts.append(Part(start, end, means, max(named, key=lambda label: means[label])))
    return parts


def _slices(
    windows: Sequence[EmotionWindow], width: float
) -> Iterator[tuple[float, float, list[tuple[float, EmotionWindow]]]]:
    inside = defaultdict[int, list[tuple[float, EmotionWindow]]](list)
    for window in windows:
        for number in range(int(window.start / width), min(int(window.end / width), PARTS - 1) + 1):
            shared = min(window.end, (number + 1) * width) - max(window.start, number * width)
            if shared > 0:
                inside[number].append((shared, window))
    for number in sorted(inside):
        yield number * width, (number + 1) * width, inside[number]


# ------------------------------------------------------------------------------------------------- drawings


def patterns() -> str:
    """The patterns that the drawings refer to, `p0` and so on; the first is plain."""
    strokes = (
        "",
        "M-2 10 10-2M6 14 14 6M-6 6 6-6",  # diagonal, and so on
        "M0 4H8",
        "M1.5 1.5h2v2h-2zM5.5 5.5h2v2h-2z",
        "M-2-2 10 10M6-6 14 2M-6 6 2 14",
        "M4 0V8",
        "M0 4H8M4 0V8",
        "M0 2 2 6 4 2 6 6 8 2",
    )
    made = "".join(
        f'<pattern id=p{number} width=8 height=8 patternUnits=userSpaceOnUse><path class=hatch d="{stroke}"/></pattern>'
        for number, stroke in enumerate(strokes)
    )
    assert len(strokes) == PATTERNS
    return f"<svg class=defs aria-hidden=true><defs>{made}</defs></svg>"


def waveform(timeline: Timeline, channel: int, waveforms: Sequence[Waveform]) -> str:
    """A channel's loudness in the colours of its emotions, and under it these as patterns with letters."""
    mixed = len(waveforms) == 1 and len(timeline.channels) > 1  # an outline of all channels is none of one channel
    peaks = next((w.peaks for w in waveforms if w.channel == channel and not mixed), ())
    runs = _runs(timeline, channel)
    outline = _outline(peaks)
    coloured = "".join(
        f'<rect class="f e{look.slot}" x={1000 * start / timeline.seconds:.6g} '
        f"width={1000 * (end - start) / timeline.seconds:.6g} height=64></rect>"
        for start, end, look in runs
    )
    bands = "".join(_band(timeline, start, end, look) for start, end, look in runs)
    heard = "; ".join(f"{look.label} from {clock_time(start)}" for start, _, look in runs[:12])
    more = f"; and {len(runs) - 12} changes more" if len(runs) > 12 else ""
    about = f"{timeline.name(channel)}: loudness over time" + (f". It sounds: {heard}{more}" if heard else "")
    return (
        f'<svg class=wave viewBox="0 0 1000 64" preserveAspectRatio=none role=img aria-label="{escape(about)}">'
        f'<clipPath id=w{channel}><path d="{outline}"/></clipPath><path class=quiet d="{outline}"/>'
        f'<g clip-path="url(#w{channel})">{coloured}</g></svg>'
        + (f"<svg class=strip aria-hidden=true>{bands}</svg>" if bands else "")
    )


def _runs(timeline: Timeline, channel: int) -> list[tuple[float, float, Look]]:
    """(start, end, look) of what sounds the same without a pause of two seconds."""
    runs: list[tuple[float, float, Look]] = []
    for part in timeline.parts[channel]:
        look = timeline.looks[part.top]
        if runs and runs[-1][2] == look and part.start - runs[-1][1] < 2.0:
            runs[-1] = (runs[-1][0], max(part.end, runs[-1][1]), look)
        else:
            runs.append((part.start, part.end, look))
    return runs


def _outline(peaks: Sequence[int]) -> str:
    """A closed path, in a box of 1000 by 64: as much above the middle as below; a thin line where all is silent."""
    if not peaks:
        return "M0 31H1000V33H0Z"
    step = 1000 / len(peaks)
    up = "".join(f"H{step * n:.5g}V{32 - max(0.5, 31 * peak / 255):.3g}" for n, peak in enumerate(peaks))
    down = "".join(
        f"H{step * (n + 1):.5g}V{32 + max(0.5, 31 * peaks[n] / 255):.3g}" for n in range(len(peaks) - 1, -1, -1)
    )
    return f"M0 32{up}H1000{down}H0Z"


def _band(timeline: Timeline, start: float, end: float, look: Look) -> str:
    share = (end - start) / timeline.seconds
    place = f"x={timeline.at(start)} width={timeline.width(start, end)} height=100%"
    rects = f'<rect class="f e{look.slot}" {place} />'
    if look.slot % PATTERNS:
        rects += f'<rect fill="url(#p{look.slot % PATTERNS})" {place} />'
    if share < 0.03:
        return rects
    narrow = " class=wide" if share < 0.1 else ""
    return f"{rects}<text{narrow} x={timeline.at((start + end) / 2)} y=15 text-anchor=middle>{escape(look.code)}</text>"


def lane(timeline: Timeline, channel: int, label: str) -> str:
    """How high a label scored over time, 0 to 1 from bottom to top."""
    path = "".join(
        f"M{1000 * part.start / timeline.seconds:.5g} 20V{20 - 19 * part.scores.get(label, 0.0):.3g}"
        f"H{1000 * part.end / timeline.seconds:.5g}V20Z"
        for part in timeline.parts[channel]
    )
    return (
        f'<svg class=lane viewBox="0 0 1000 20" preserveAspectRatio=none aria-hidden=true>'
        f'<path class="f e{timeline.looks[label].slot}" d="{path}"/></svg>'
    )


def axis(timeline: Timeline) -> str:
    """Marks at round times."""
    step = next((step for step in _STEPS if timeline.seconds / step <= _MARKS), _STEPS[-1])
    times = [step * number for number in range(int(timeline.seconds / step) + 1)]
    marks = "".join(
        f"<text{' class=wide' if number % 2 else ''} x={timeline.at(time)} y=12>{clock_time(time)}</text>"
        f"<rect class=tick x={timeline.at(time)} width=1 height=4 />"
        for number, time in enumerate(times)
        if time < 0.97 * timeline.seconds
    )
    return f"<svg class=axis aria-hidden=true>{marks}</svg>"


def turns(timeline: Timeline, record: Record) -> str:
    """Turning points as markers; the list of them is what a screen reader reads."""
    shown: list[list[TurningPoint]] = []
    for point in record.summary.turning_points:
        if shown and point.at - shown[-1][0].at < _NEAR * timeline.seconds:
            shown[-1].append(point)
        else:
            shown.append([point])
    marks = "".join(
        f'<svg x={timeline.at(point.at)} overflow=visible><a href="#t={point.at:.6g}" tabindex=-1>'
        f"<title>{clock_time(point.at)} {escape(timeline.name(point.channel))}: "
        f"from {escape(point.before)} to {escape(point.after)}{f'; {len(near)} more nearby' if near else ''}</title>"
        f'<path class="f e{timeline.looks[point.after].slot}" d="M0 1 7 8 0 15-7 8Z"/></a></svg>'
        for point, *near in shown
    )
    return f"<svg class=turns aria-hidden=true>{marks}</svg>"


def table(timeline: Timeline, channel: int, labels: Sequence[str]) -> str:
    """The lanes as numbers: means of at most 20 equal slices."""
    count = min(TABLE_ROWS, max(1, int(timeline.seconds / 2)))
    width = timeline.seconds / count
    head = "".join(f"<th scope=col>{escape(label)}" for label in labels)
    rows = []
    for number in range(count):
        start, end = number * width, (number + 1) * width
        shares = [
            (min(part.end, end) - max(part.start, start), part)
            for part in timeline.parts[channel]
            if part.start < end and part.end > start
        ]
        total = sum(share for share, _ in shares)
        cells = "".join(
            f"<td>{sum(share * part.scores.get(label, 0.0) for share, part in shares) / total:.0%}"
            if total
            else "<td>–"
            for label in labels
        )
        rows.append(f"<tr><th scope=row>{clock_time(start)}{cells}")
    name = escape(timeline.name(channel))
    return (
        f'<div class=scroll tabindex=0 role=region aria-label="Scores of {name}">'
        f"<table><caption>{name}: mean scores from the time on; – where nobody spoke</caption>"
        f"<thead><tr><th scope=col>from{head}<tbody>{''.join(rows)}</table></div>"
    )
