"""Text that runs from right to left, beside text that does not. Pure.

Whatever shows a line orders it by the bidirectional algorithm, in the direction of its first letter or always from left
to right. Isolates keep a part of it together and in its own direction (https://www.unicode.org/reports/tr9/, 2.4).
"""

from __future__ import annotations

import unicodedata

_LEFT_TO_RIGHT, _RIGHT_TO_LEFT, _BY_FIRST_LETTER, _END = "\u2066", "\u2067", "\u2068", "\u2069"
#: Isolates, embeddings and overrides in a text: one without its end would order what follows.
_CONTROLS = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])


def runs_from_right(text: str) -> bool:
    """Whether the first letter is of Arabic, Hebrew or another script that runs from right to left."""
    return next((kind != "L" for kind in map(unicodedata.bidirectional, text) if kind in ("L", "R", "AL")), False)


def isolated(text: str) -> str:
    """Text to put in a line: in an isolate with its first letter's direction, if any of it runs from right to left."""
    return _isolate(_BY_FIRST_LETTER, text) if _has_right_to_left(text) else text


def line_of(text: str, *, from_right: bool) -> str:
    """A line of a longer text that runs from right to left, or does not, whatever letter the line begins with."""
    if from_right:
        return _isolate(_RIGHT_TO_LEFT, text)
    return _isolate(_LEFT_TO_RIGHT, text) if _has_right_to_left(text) else text


def _has_right_to_left(text: str) -> bool:
    return not text.isascii() and any(unicodedata.bidirectional(character) in ("R", "AL") for character in text)


def _isolate(begin: str, text: str) -> str:
    return begin + text.translate(_CONTROLS) + _END
