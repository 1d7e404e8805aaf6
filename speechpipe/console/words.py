"""Texts and searches as words for FTS5's tokenizer `ascii`, which keeps other characters as they are. Pure.

Case, accents and other marks beside letters do not count: Hebrew points, Arabic vowels, tatweel, joiners, direction
marks. Vowel signs, tones and viramas do: without its vowels a Hindi word is another word. Digits of every script are
the same.

A search finds the beginnings of words. In scripts that write no spaces between words (Chinese, Japanese, Thai), or
write small words and the next as one (Arabic, Hebrew, Korean), it finds any part of a word. Their text is indexed as
overlapping pairs of characters, which are found by the pairs in a row: `天气很` is `天气 气很 很`.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable
from functools import cache

#: Hebrew to N'Ko, Thai, Lao, Tibetan, Burmese, Khmer and their neighbours, Hangul, kana, Chinese.
_INSIDE = (
    "\u0590-\u07ff\u0860-\u08ff\u0e00-\u109f\u1780-\u17ff\u1950-\u1aaf\u1b00-\u1b7f\u3005-\u3007\u3021-\u312f"
    "\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua980-\ua9ff\uaa60-\uaadf\uac00-\ud7a3\uf900-\ufaff"
    "\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)


def indexed(text: str) -> str:
    """A text's words, separated by spaces or whatever else the tokenizer splits at."""
    if text.isascii():
        return re.sub("([0-9]+)", r" \1 ", text)
    return " ".join(_pairs(part) if inside else part for part, inside in _parts(text))


def query(text: str) -> str:
    """A search as an FTS5 query: what stands between spaces occurs in this order. Empty if it has no word in it."""
    found = (_phrase(term) for term in text.split())
    return " ".join(phrase for phrase in found if phrase)


def _phrase(term: str) -> str:
    """The words of a term in a row; the last one is the beginning of one."""
    parts = list(_parts(term))
    if not parts:
        return ""
    *before, (last, inside) = parts
    words = [_pairs(part) if within else part for part, within in before]
    # The last character alone would be the end of the text's word.
    words.append(_pairs(last).rpartition(" ")[0] if inside and len(last) > 1 else last)
    return f'"{" ".join(words)}"*'


def _pairs(part: str) -> str:
    return " ".join(part[at : at + 2] for at in range(len(part)))


def _parts(text: str) -> list[tuple[str, bool]]:
    """Words, runs of digits, and runs of characters of which any part is found (true), in order."""
    return [(match[0], match.lastgroup == "inside") for match in _words().finditer(_folded(text))]


def _folded(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    kept = _ignored().sub("", decomposed)
    digits = re.sub(r"(?![0-9])\d", lambda match: str(unicodedata.decimal(match[0])), kept)
    return unicodedata.normalize("NFC", digits)


@cache
def _words() -> re.Pattern[str]:
    marks = _class(lambda character: unicodedata.category(character).startswith("M"))
    inside, others = f"(?=[\\w{marks}])[{_INSIDE}]", f"(?![0-9_{_INSIDE}])[\\w{marks}]"
    return re.compile(f"(?P<inside>(?:{inside})+)|[0-9]+|(?:{others})+")


@cache
def _ignored() -> re.Pattern[str]:
    """Format characters, tatweel, variation selectors and marks beside letters.

    Combining classes: https://www.unicode.org/reports/tr44/#Canonical_Combining_Class_Values. 7 are nuktas, which many
    leave out, 10 to 36 points and vowels of Hebrew, Arabic and Syriac, above 200 accents. 0 are vowel signs, 8 the
    voicing of kana, 9 viramas, 103 to 132 vowels and tones of Thai, Lao and Tibetan.
    """

    def ignored(character: str) -> bool:
        beside = unicodedata.combining(character)
        return (
            beside == 7
            or 10 <= beside <= 36
            or beside >= 200
            or unicodedata.category(character) == "Cf"
            or character == "\u0640"
            or "\ufe00" <= character <= "\ufe0f"
            or "\U000e0100" <= character <= "\U000e01ef"
        )

    return re.compile(f"[{_class(ignored)}]+")


def _class(belongs: Callable[[str], bool]) -> str:
    """The characters that belong, as ranges for a regular expression."""
    ranges: list[list[int]] = []
    for code in range(0x80, sys.maxunicode + 1):
        if belongs(chr(code)):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)
