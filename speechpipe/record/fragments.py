"""Split a segment into fragments, the units that subtitles never break: words, or characters of text without spaces.

Widths are columns on the screen: a Chinese or Japanese character takes two, a Thai vowel sign none. Pure.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from speechpipe.contract import Segment
from speechpipe.record.direction import runs_from_right
from speechpipe.record.joining import needs_space

#: Characters that must not end a line: opening brackets, and Thai and Lao vowels, which precede their consonant.
NEVER_LAST = "เแโใไເແໂໃໄ([{「『（《〈“‘"
#: Characters that must not begin a line, besides closing punctuation and marks: small kana, ー, ๆ and ฯ.
_NEVER_FIRST = "ーっゃゅょぁぃぅぇぉッャュョァィゥェォๆฯ"


@dataclass(frozen=True)
class Fragment:
    """A word or a character, with its time in seconds."""

    text: str
    start: float
    end: float
    spaced: bool  # a space precedes it
    from_right: bool = False  # its segment runs from right to left


def width(text: str) -> int:
    """Columns that a text takes: two for a wide character, none for a combining mark."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fragments(segment: Segment, max_width: int, *, before: str = "") -> Iterator[Fragment]:
    """The segment's words, or its text with evenly spread times if it has no words. None is wider than `max_width`.

    `before`: the text of the previous segment, which decides with this one's whether a space separates them.
    """
    text = " ".join(_clean(segment.text).split())
    if not text:
        return
    spaced, from_right = needs_space(_clean(before), text), runs_from_right(text)
    words = [(" ".join(_clean(word.word).split()), word.start, word.end) for word in segment.words]
    words = [word for word in words if word[0]]
    spaces = _spaces(text, [word[0] for word in words])
    if spaces is None:  # no words, or they do not match the text
        yield from _split(Fragment(text, segment.start, max(segment.end, segment.start), spaced, from_right), max_width)
        return
    spaces[0] = spaced
    for (word, start, end), space in zip(words, spaces, strict=True):
        yield from _split(Fragment(word, start, max(end, start), space, from_right), max_width)


def _clean(text: str) -> str:
    """Replace control characters, which subtitles cannot contain, with spaces."""
    return "".join(" " if unicodedata.category(character) in ("Cc", "Zl", "Zp") else character for character in text)


def _spaces(text: str, words: Sequence[str]) -> list[bool] | None:
    """Whether a space precedes each word in the text; None unless the words make up the whole text."""
    spaces, at = [], 0
    for word in words:
        spaced = text[at : at + 1] == " "
        at += spaced
        if not text.startswith(word, at):
            return None
        at += len(word)
        spaces.append(spaced)
    return spaces if words and at == len(text) else None


def _split(fragment: Fragment, max_width: int) -> Iterator[Fragment]:
    """Split at spaces, and split wider words between characters. Each part gets time in proportion to its width."""
    parts: list[tuple[str, bool]] = []
    for word in fragment.text.split(" "):
        pieces = _break_word(word, max_width) if width(word) > max_width else [word]
        parts += [(pieces[0], True), *((piece, False) for piece in pieces[1:])]
    parts[0] = (parts[0][0], fragment.spaced)
    total = sum(width(text) for text, _ in parts) or 1
    seconds, done = fragment.end - fragment.start, 0
    for text, spaced in parts:
        start = fragment.start + seconds * done / total
        done += width(text)
        yield replace(fragment, text=text, start=start, end=fragment.start + seconds * done / total, spaced=spaced)


def _break_word(word: str, max_width: int) -> list[str]:
    """Break wherever a line may break: not before a mark or closing punctuation, nor between ASCII characters."""
    pieces: list[str] = []
    for character in word:
        joined = pieces and (
            _columns(character) == 0
            or unicodedata.category(character) in ("Pe", "Pf", "Po", "Mc")
            or character in _NEVER_FIRST
            or pieces[-1][-1] in NEVER_LAST
            or (character.isascii() and pieces[-1][-1].isascii())
        )
        if joined and width(pieces[-1]) + _columns(character) <= max_width:
            pieces[-1] += character
        else:
            pieces.append(character)
    return pieces
