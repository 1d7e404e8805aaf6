"""Join texts the way their scripts do: with a space, or without one in Chinese, Japanese, Thai, Lao, Khmer and Burmese.

Pure.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

#: First and last characters of the Unicode blocks of scripts without spaces between words. Korean has spaces.
_UNSPACED = (
    ("\u0e00", "\u0eff"),  # Thai, Lao
    ("\u1000", "\u109f"),  # Burmese
    ("\u1780", "\u17ff"),  # Khmer
    ("\u19e0", "\u19ff"),  # Khmer symbols
    ("\u2e80", "\u2fdf"),  # radicals of Chinese characters
    ("\u3000", "\u312f"),  # punctuation, Hiragana, Katakana, Bopomofo
    ("\u3190", "\u9fff"),  # Chinese characters and their marks
    ("\ua9e0", "\ua9ff"),  # Burmese, extended
    ("\uaa60", "\uaa7f"),  # Burmese, extended
    ("\uf900", "\ufaff"),  # Chinese characters
    ("\ufe30", "\ufe4f"),  # punctuation
    ("\uff01", "\uff9f"),  # full-width punctuation, half-width Katakana
    ("\U0001b000", "\U0001b16f"),  # Hiragana, Katakana
    ("\U00020000", "\U0003ffff"),  # Chinese characters
)


def join_texts(texts: Iterable[str]) -> str:
    """Join texts in order, each stripped of the white space around it. Empty ones are left out."""
    parts: list[str] = []
    for text in filter(None, map(str.strip, texts)):
        if parts and needs_space(parts[-1], text):
            parts.append(" ")
        parts.append(text)
    return "".join(parts)


def needs_space(left: str, right: str) -> bool:
    """Whether a space belongs between two texts: not if either is written without spaces where they meet."""
    return not (_is_unspaced(reversed(left)) or _is_unspaced(right))


def _is_unspaced(characters: Iterable[str]) -> bool:
    """Whether the first of the characters that tells is of a script without spaces. Quotation marks and "!" do not."""
    for character in characters:
        if any(first <= character <= last for first, last in _UNSPACED):
            return True
        if unicodedata.category(character)[0] not in "PZ":
            return False
    return False
