"""Subtitles worth having: words cut into cues on pauses and at the ends of sentences, within the usual limits. Pure.

At most two lines of 42 characters, at most 20 characters a second wherever the times of the words allow (a cue stays on
into the pause behind it), from 0.7 to 7 s, and never two at a time of one channel: the limits of Netflix's style guide
(partnerhelp.netflixstudios.com, "Timed Text Style Guide"), with one cue a run of one voice in one emotion. Text without
spaces is cut by its width on the screen, where a Chinese or Japanese character counts twice and a Thai vowel sign not
at all. Text from right to left is left as it is: players order it.
"""

from __future__ import annotations

import math
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from speechpipe.contract import Record, Segment

LINE_WIDTH = 42  #: characters
CHARACTERS_PER_SECOND = 20.0
SHORTEST, LONGEST = 0.7, 7.0  #: seconds of a cue
PAUSE = 0.8  #: seconds: a longer pause ends a cue

_SENTENCE_END = re.compile(r"[.!?…。！？؟۔।]['\"’”)\]」』）]*$")
_CLAUSE_END = re.compile(r"[,;:،؛、，；：—–-]['\"’”)\]」』）]*$")
#: Longer than this a speaker's name leaves too little of the line, and is left out of SubRip.
_LONGEST_NAME = 16
#: What fits into a line behind the longest name: a word may be cut only if it is wider.
_UNCUT = LINE_WIDTH - _LONGEST_NAME
#: Pieces to look at: at least as many as fit into one cue.
_AHEAD = 2 * LINE_WIDTH + 4
#: A Thai or Lao vowel that stands before its consonant, and an opening bracket: no line ends with them.
_NEVER_LAST = "เแโใไເແໂໃໄ([{「『（《〈“‘"


@dataclass(frozen=True)
class Cue:
    """A subtitle: what is on the screen from start to end (seconds), and who says it how."""

    start: float
    end: float
    lines: tuple[str, ...]  #: one or two
    channel: int = 0
    speaker: str | None = None
    emotion: str | None = None  #: label
    label: str = ""  #: the speaker's name as SubRip shows it, `channel 0: `; its room in the first line is kept

    @property
    def width(self) -> int:
        """What there is to read, in characters of ordinary width."""
        return width(self.label) + sum(map(width, self.lines))


@dataclass(frozen=True)
class _Piece:
    """What is never cut: a word, or a character of text without spaces."""

    text: str
    start: float
    end: float
    spaced: bool  # a space stands before it


@dataclass(frozen=True)
class _Voice:
    """What all of a cue has in common."""

    channel: int
    speaker: str | None
    emotion: str | None


def cues(record: Record) -> list[Cue]:
    """Its subtitles by time. Those of one channel never overlap; two channels' do where both speak."""
    several = len({segment.speaker for segment in record.segments}) > 1
    channels: dict[int, list[Segment]] = {}
    for segment in record.segments:
        channels.setdefault(segment.channel, []).append(segment)
    untimed: list[Cue] = []
    for segments in channels.values():
        segments.sort(key=lambda segment: (segment.start, segment.id))
        untimed += _untimed(segments, named=several)
    return _timed(untimed)


def width(text: str) -> int:
    """Columns that a text takes: two for a wide character, none for a mark that stands on another."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


# ----------------------------------------------------------------------------------------- what is one cue


def _untimed(segments: Sequence[Segment], *, named: bool) -> Iterator[Cue]:
    """Cues that end with their last word. A run of one voice without a pause is cut as its sentences are."""
    spoken = (
        (_Voice(segment.channel, segment.speaker, segment.emotion.top if segment.emotion else None), piece)
        for segment in segments
        for piece in _pieces(segment)
    )
    for voice, group in groupby(_in_order(spoken), key=lambda one: one[0]):
        label = f"{' '.join(voice.speaker.split())}: " if named and voice.speaker else ""
        if width(label) > _LONGEST_NAME:
            label = ""
        for run in _runs(piece for _, piece in group):
            for part in _cut(run, width(label)):
                lines = _lines(part, width(label))
                assert lines is not None
                yield Cue(
                    part[0].start, part[-1].end, lines, voice.channel, voice.speaker, emotion=voice.emotion, label=label
                )


def _in_order(spoken: Iterable[tuple[_Voice, _Piece]]) -> Iterator[tuple[_Voice, _Piece]]:
    """Recognisers give words that overlap, or end before they start: none goes back in time."""
    last = 0.0
    for voice, piece in spoken:
        start = max(piece.start, last)
        last = max(piece.end, start)
        yield voice, replace(piece, start=start, end=last)


def _runs(pieces: Iterable[_Piece]) -> Iterator[list[_Piece]]:
    run: list[_Piece] = []
    for piece in pieces:
        if run and piece.start - run[-1].end >= PAUSE:
            yield run
            run = []
        run.append(piece)
    if run:
        yield run


def _cut(pieces: Sequence[_Piece], label: int) -> Iterator[Sequence[_Piece]]:
    """Cut a run into what fits, and that again between its sentences."""
    at = 0
    while at < len(pieces):
        ahead = pieces[at : at + _AHEAD]
        count = len(ahead)
        if at + count < len(pieces) or not _fits(ahead, label):
            count = _best(ahead, label)
        yield from _sentences(ahead[:count])
        at += count


def _fits(pieces: Sequence[_Piece], label: int) -> bool:
    return _lines(pieces, label) is not None and pieces[-1].end - pieces[0].start <= LONGEST


def _best(pieces: Sequence[_Piece], label: int) -> int:
    """How many of the first pieces make the best cue, where all are too many; a single one is a cue in any case."""
    if len(pieces) == 1:
        return 1
    last = 1
    while last < len(pieces) - 1 and _fits(pieces[: last + 1], label):
        last += 1
    return max(range(1, last + 1), key=lambda count: _merit(pieces, count, last))


def _sentences(pieces: Sequence[_Piece]) -> Iterator[Sequence[_Piece]]:
    """A cue for each sentence, unless it, or the rest, would only flash up."""
    begin = 0
    for at in range(1, len(pieces)):
        if (
            _SENTENCE_END.search(pieces[at - 1].text)
            and _readable(pieces[begin:at], pieces[at].start)
            and _readable(pieces[at:], pieces[-1].end)
        ):
            yield pieces[begin:at]
            begin = at
    yield pieces[begin:]


def _readable(pieces: Sequence[_Piece], until: float) -> bool:
    seconds = until - pieces[0].start
    return seconds >= 2 * SHORTEST and _width(pieces) <= CHARACTERS_PER_SECOND * seconds


def _merit(pieces: Sequence[_Piece], at: int, last: int) -> float:
    """How good a place is: the end of a sentence, of a clause, a pause; rather late, and nothing lonely left over."""
    before, after = pieces[at - 1], pieces[at]
    merit = 4.0 if _SENTENCE_END.search(before.text) else 2.0 if _CLAUSE_END.search(before.text) else 0.0
    merit += 3 * min(after.start - before.end, PAUSE) / PAUSE
    if not _readable(pieces[:at], after.start):
        merit -= 3
    merit += 3 * at / last
    if before.text[-1] in _NEVER_LAST:
        merit -= 4
    if len(pieces) - at <= 2 and not _SENTENCE_END.search(before.text):
        merit -= 2
    return merit


# ------------------------------------------------------------------------------------------------ its lines


def _lines(pieces: Sequence[_Piece], label: int) -> tuple[str, ...] | None:
    """One or two lines, or None if it does not fit. A second line is begun where the two are most alike."""
    total = _width(pieces)
    if label + total <= LINE_WIDTH:
        return (_text(pieces),)
    if label + total > 2 * LINE_WIDTH + 1:
        return None
    best: tuple[float, int] | None = None
    first = label
    for at in range(1, len(pieces)):
        first += width(pieces[at - 1].text) + (pieces[at - 1].spaced and at > 1)
        second = label + total - first - pieces[at].spaced
        if first > LINE_WIDTH:
            break
        if second > LINE_WIDTH:
            continue
        uneven = abs(first - second) + (first > second) / 2
        if _CLAUSE_END.search(pieces[at - 1].text) or _SENTENCE_END.search(pieces[at - 1].text):
            uneven -= 10
        if pieces[at - 1].text[-1] in _NEVER_LAST:
            uneven += 20
        if best is None or uneven < best[0]:
            best = (uneven, at)
    if best is None:
        return None
    return _text(pieces[: best[1]]), _text(pieces[best[1] :])


def _text(pieces: Sequence[_Piece]) -> str:
    return pieces[0].text + "".join((" " if piece.spaced else "") + piece.text for piece in pieces[1:])


def _width(pieces: Sequence[_Piece]) -> int:
    return sum(width(piece.text) + piece.spaced for piece in pieces) - pieces[0].spaced


# ---------------------------------------------------------------------------------------------- its pieces


def _pieces(segment: Segment) -> Iterator[_Piece]:
    """A segment's words with their times; without words its text, as if every character took as long."""
    text = " ".join(_clean(segment.text).split())
    if not text:
        return
    apart = _columns(text[0]) < 2  # Chinese and Japanese have no spaces between sentences either
    words = [(" ".join(_clean(word.word).split()), word.start, word.end) for word in segment.words]
    words = [word for word in words if word[0]]
    spaces = _spaces(text, [word[0] for word in words])
    if spaces is None:  # no words, or not this text's
        end = max(segment.end, segment.start)
        yield from _split(_Piece(text, segment.start, end, spaced=apart))
        return
    spaces[0] = apart
    for (word, start, end), spaced in zip(words, spaces, strict=True):
        yield from _split(_Piece(word, start, max(end, start), spaced))


def _clean(text: str) -> str:
    """Without what a subtitle cannot hold: control characters become spaces."""
    return "".join(" " if unicodedata.category(character) in ("Cc", "Zl", "Zp") else character for character in text)


def _spaces(text: str, words: Sequence[str]) -> list[bool] | None:
    """Whether a space stands before each word of the text; None unless the words are all of it."""
    spaces, at = [], 0
    for word in words:
        spaced = text[at : at + 1] == " "
        at += spaced
        if not text.startswith(word, at):
            return None
        at += len(word)
        spaces.append(spaced)
    return spaces if words and at == len(text) else None


def _split(piece: _Piece) -> Iterator[_Piece]:
    """Cut at spaces, and what is wider than a line or written without spaces between characters; times by width."""
    parts: list[tuple[str, bool]] = []
    for word in piece.text.split(" "):
        characters = _characters(word) if width(word) > _UNCUT else [word]
        parts += [(characters[0], True), *((character, False) for character in characters[1:])]
    parts[0] = (parts[0][0], piece.spaced)
    total = sum(width(text) for text, _ in parts) or 1
    seconds, done = piece.end - piece.start, 0
    for text, spaced in parts:
        start = piece.start + seconds * done / total
        done += width(text)
        yield _Piece(text, start, piece.start + seconds * done / total, spaced)


def _characters(word: str) -> list[str]:
    """Where a word without spaces may be cut: not before a mark or a closing sign, nor between Latin letters."""
    made: list[str] = []
    for character in word:
        glued = made and (
            _columns(character) == 0
            or unicodedata.category(character) in ("Pe", "Pf", "Po", "Mc")
            or character in "ーっゃゅょぁぃぅぇぉッャュョァィゥェォๆฯ"
            or made[-1][-1] in _NEVER_LAST
            or (character.isascii() and made[-1][-1].isascii())
        )
        if glued and width(made[-1]) + _columns(character) <= _UNCUT:
            made[-1] += character
        else:
            made.append(character)
    return made


# ----------------------------------------------------------------------------------------------- its times


def _timed(untimed: Sequence[Cue]) -> list[Cue]:
    """Let each stay as long as there is to read, but not into the next one; in order, in whole milliseconds.

    A cue whose words are all at one moment gets a millisecond of its own: no format has cues without any time.
    """
    made: list[Cue] = []
    ended: dict[int, float] = {}  # by channel
    ordered = sorted(untimed, key=lambda cue: (cue.start, cue.channel))
    starts = [cue.start for cue in ordered]
    following = {cue.channel: math.inf for cue in ordered}
    limits = []
    for number in range(len(ordered) - 1, -1, -1):
        cue = ordered[number]
        after = max(bisect_left(starts, cue.end), bisect_right(starts, cue.start))
        anyone = starts[after] if after < len(starts) else math.inf  # who speaks already is not waited for
        limits.append(min(following[cue.channel], anyone))
        following[cue.channel] = cue.start
    for cue, limit in zip(ordered, reversed(limits), strict=True):
        start = max(round(cue.start, 3), ended.get(cue.channel, 0.0))
        wanted = max(cue.end, start + SHORTEST, start + cue.width / CHARACTERS_PER_SECOND)
        end = min(wanted, limit, start + LONGEST)
        ended[cue.channel] = max(round(end, 3), round(start + 0.001, 3))
        made.append(replace(cue, start=start, end=ended[cue.channel]))
    return sorted(made, key=lambda cue: (cue.start, cue.channel))
