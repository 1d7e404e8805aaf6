"""Cut words into subtitle cues at pauses and at the ends of sentences, within the usual limits. Pure.

A cue has at most two lines of 42 columns and lasts 0.7 to 7 s. Where time allows, it shows at most 20 characters per
second: a cue stays on the screen during the pause that follows it. Cues of one channel never overlap. These are the
limits of Netflix's style guide (partnerhelp.netflixstudios.com, "Timed Text Style Guide"). In addition, speaker and
emotion never change within a cue.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from speechpipe.contract import UNSURE, Record, Segment
from speechpipe.record.direction import isolated
from speechpipe.record.fragments import NEVER_LAST, Fragment, fragments, width

LINE_WIDTH = 42  #: columns
CHARACTERS_PER_SECOND = 20.0
MIN_SECONDS, MAX_SECONDS = 0.7, 7.0  #: duration of a cue
PAUSE_SECONDS = 0.8  #: a pause this long ends a cue

_SENTENCE_END = re.compile(r"[.!?…。！？؟۔।]['\"’”)\]」』）]*$")
_CLAUSE_END = re.compile(r"[,;:،؛、，；：—–-]['\"’”)\]」』）]*$")
#: A wider speaker label would leave too little room for text, so SubRip does without.
_MAX_LABEL_WIDTH = 16
#: Wider words are broken. A fragment fits on a line after the widest label.
_MAX_FRAGMENT_WIDTH = LINE_WIDTH - _MAX_LABEL_WIDTH
#: Fragments to look at when filling a cue: at least as many as fit.
_LOOKAHEAD = 2 * LINE_WIDTH + 4


@dataclass(frozen=True)
class Cue:
    """One subtitle: what is on the screen from start to end (seconds), who says it and with which emotion."""

    start: float
    end: float
    lines: tuple[str, ...]  #: one or two
    channel: int = 0
    speaker: str | None = None
    emotion: str | None = None  #: label, or `unsure`
    label: str = ""  #: the speaker as SubRip shows it, `channel 0: `; the first line leaves room for it
    from_right: bool = False  #: the text runs from right to left, whatever letter a line begins with

    @property
    def width(self) -> int:
        """Columns of text to read, including the label."""
        return width(self.label) + sum(map(width, self.lines))


@dataclass(frozen=True)
class _Voice:
    """What is the same throughout a cue."""

    channel: int
    speaker: str | None
    emotion: str | None


def cues(record: Record) -> list[Cue]:
    """The record's subtitles, sorted by time. Only cues of different channels overlap, while both speak."""
    several = len({segment.speaker for segment in record.segments}) > 1
    channels: dict[int, list[Segment]] = {}
    for segment in record.segments:
        channels.setdefault(segment.channel, []).append(segment)
    spoken: list[Cue] = []
    for segments in channels.values():
        ordered = sorted(segments, key=lambda segment: (segment.start, segment.id))
        spoken += _channel_cues([one for one in ordered if one.text.strip()], show_speaker=several)
    return _extend(spoken)


# -------------------------------------------------------------------------------------------- cutting into cues


def _channel_cues(segments: Sequence[Segment], *, show_speaker: bool) -> Iterator[Cue]:
    """One channel's cues, each from its first word's start to its last word's end."""
    spoken = (
        (
            _Voice(segment.channel, segment.speaker, (segment.emotion.top or UNSURE) if segment.emotion else None),
            fragment,
        )
        for segment, before in zip(segments, ["", *(segment.text for segment in segments)], strict=False)
        for fragment in fragments(segment, _MAX_FRAGMENT_WIDTH, before=before)
    )
    for voice, group in groupby(_monotonic(spoken), key=lambda pair: pair[0]):
        label = f"{isolated(' '.join(voice.speaker.split()))}: " if show_speaker and voice.speaker else ""
        if width(label) > _MAX_LABEL_WIDTH:
            label = ""
        for run in _runs(fragment for _, fragment in group):
            for part in _cut(run, width(label)):
                lines = _lines(part, width(label))
                assert lines is not None
                yield Cue(
                    part[0].start,
                    part[-1].end,
                    lines,
                    voice.channel,
                    voice.speaker,
                    emotion=voice.emotion,
                    label=label,
                    from_right=part[0].from_right,
                )


def _monotonic(spoken: Iterable[tuple[_Voice, Fragment]]) -> Iterator[tuple[_Voice, Fragment]]:
    """Keep times from going backwards: recognisers return words that overlap, or end before they start."""
    last = 0.0
    for voice, fragment in spoken:
        start = max(fragment.start, last)
        last = max(fragment.end, start)
        yield voice, replace(fragment, start=start, end=last)


def _runs(spoken: Iterable[Fragment]) -> Iterator[list[Fragment]]:
    """Fragments between two pauses."""
    run: list[Fragment] = []
    for fragment in spoken:
        if run and fragment.start - run[-1].end >= PAUSE_SECONDS:
            yield run
            run = []
        run.append(fragment)
    if run:
        yield run


def _cut(run: Sequence[Fragment], label: int) -> Iterator[Sequence[Fragment]]:
    """Cut a run into parts that fit in a cue, then cut each part between its sentences."""
    at = 0
    while at < len(run):
        ahead = run[at : at + _LOOKAHEAD]
        count = len(ahead)
        if at + count < len(run) or not _fits(ahead, label):
            count = _best_cut(ahead, label)
        yield from _sentences(ahead[:count])
        at += count


def _fits(part: Sequence[Fragment], label: int) -> bool:
    return _lines(part, label) is not None and part[-1].end - part[0].start <= MAX_SECONDS


def _best_cut(ahead: Sequence[Fragment], label: int) -> int:
    """How many of the fragments, which do not all fit, make the best cue. At least one, even if it does not fit."""
    if len(ahead) == 1:
        return 1
    last = 1
    while last < len(ahead) - 1 and _fits(ahead[: last + 1], label):
        last += 1
    return max(range(1, last + 1), key=lambda count: _merit(ahead, count, last))


def _sentences(part: Sequence[Fragment]) -> Iterator[Sequence[Fragment]]:
    """One cue per sentence, unless it or the rest would be too short to read."""
    begin = 0
    for at in range(1, len(part)):
        if (
            _SENTENCE_END.search(part[at - 1].text)
            and _readable(part[begin:at], part[at].start)
            and _readable(part[at:], part[-1].end)
        ):
            yield part[begin:at]
            begin = at
    yield part[begin:]


def _readable(part: Sequence[Fragment], until: float) -> bool:
    seconds = until - part[0].start
    return seconds >= 2 * MIN_SECONDS and _width(part) <= CHARACTERS_PER_SECOND * seconds


def _merit(ahead: Sequence[Fragment], at: int, last: int) -> float:
    """Score a cut before `at`: best after a sentence, a clause or a pause, and late; not if it leaves a word or two."""
    before, after = ahead[at - 1], ahead[at]
    merit = 4.0 if _SENTENCE_END.search(before.text) else 2.0 if _CLAUSE_END.search(before.text) else 0.0
    merit += 3 * min(after.start - before.end, PAUSE_SECONDS) / PAUSE_SECONDS
    if not _readable(ahead[:at], after.start):
        merit -= 3
    merit += 3 * at / last
    if before.text[-1] in NEVER_LAST:
        merit -= 4
    if len(ahead) - at <= 2 and not _SENTENCE_END.search(before.text):
        merit -= 2
    return merit


# ----------------------------------------------------------------------------------------- breaking into lines


def _lines(part: Sequence[Fragment], label: int) -> tuple[str, ...] | None:
    """One line, or two of similar width broken preferably after a clause; None if the text does not fit."""
    total = _width(part)
    if label + total <= LINE_WIDTH:
        return (_text(part),)
    if label + total > 2 * LINE_WIDTH + 1:
        return None
    best: tuple[float, int] | None = None
    first = label
    for at in range(1, len(part)):
        first += width(part[at - 1].text) + (part[at - 1].spaced and at > 1)
        second = label + total - first - part[at].spaced
        if first > LINE_WIDTH:
            break
        if second > LINE_WIDTH:
            continue
        uneven = abs(first - second) + (first > second) / 2
        if _CLAUSE_END.search(part[at - 1].text) or _SENTENCE_END.search(part[at - 1].text):
            uneven -= 10
        if part[at - 1].text[-1] in NEVER_LAST:
            uneven += 20
        if best is None or uneven < best[0]:
            best = (uneven, at)
    if best is None:
        return None
    return _text(part[: best[1]]), _text(part[best[1] :])


def _text(part: Sequence[Fragment]) -> str:
    return part[0].text + "".join((" " if fragment.spaced else "") + fragment.text for fragment in part[1:])


def _width(part: Sequence[Fragment]) -> int:
    return sum(width(fragment.text) + fragment.spaced for fragment in part) - part[0].spaced


# ------------------------------------------------------------------------------------------------ setting times


def _extend(spoken: Sequence[Cue]) -> list[Cue]:
    """Keep each cue on the screen long enough to read, but not past the start of the next; sorted, in milliseconds.

    A cue whose words all have the same time lasts one millisecond, because no format allows a cue of zero length.
    """
    extended: list[Cue] = []
    ended: dict[int, float] = {}  # by channel
    ordered = sorted(spoken, key=lambda cue: (cue.start, cue.channel))
    starts = [cue.start for cue in ordered]
    following = {cue.channel: math.inf for cue in ordered}
    limits = []
    for number in range(len(ordered) - 1, -1, -1):
        cue = ordered[number]
        # The next cue of any channel, unless it starts while this one is spoken.
        after = max(bisect_left(starts, cue.end), bisect_right(starts, cue.start))
        next_start = starts[after] if after < len(starts) else math.inf
        limits.append(min(following[cue.channel], next_start))
        following[cue.channel] = cue.start
    for cue, limit in zip(ordered, reversed(limits), strict=True):
        start = max(round(cue.start, 3), ended.get(cue.channel, 0.0))
        wanted = max(cue.end, start + MIN_SECONDS, start + cue.width / CHARACTERS_PER_SECOND)
        end = min(wanted, limit, start + MAX_SECONDS)
        ended[cue.channel] = max(round(end, 3), round(start + 0.001, 3))
        extended.append(replace(cue, start=start, end=ended[cue.channel]))
    return sorted(extended, key=lambda cue: (cue.start, cue.channel))
