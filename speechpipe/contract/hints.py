"""Clean the hints to the recogniser: they are pasted from web pages, documents and chats. Pure."""

from __future__ import annotations

import re
import unicodedata

#: Scripts in which a joiner between two letters is spelling: Hebrew to Georgian, with Arabic and those of India, and
#: Khmer and Mongolian (https://www.unicode.org/versions/latest/core-spec/, chapter 23).
_JOINED = "\u0590-\u10ff\u1780-\u18af"
_STRAY_JOINER = re.compile(f"(?<![{_JOINED}])[\u200c\u200d]|[\u200c\u200d](?![{_JOINED}])")
#: Variation selectors, keycaps and skin tones: parts of emoji, and choices between pictures of one character.
_PICTURES = re.compile("[\ufe00-\ufe0f\u20e3\U0001f3fb-\U0001f3ff\U000e0100-\U000e01ef]")
#: Blocks of emoji and dingbats, without the notes that Whisper writes for music.
_EMOJI = re.compile("[\u231a-\u23ff\u2600-\u2668\u2670-\u27bf\u2b05-\u2b55\U0001f000-\U0001faff]")


def cleaned(text: str) -> str:
    """The text with single spaces for every kind of blank and line break, and nothing that cannot be heard.

    Leaves out emoji, soft hyphens, marks of direction and joiners that are no spelling. May be empty.
    """
    text = _STRAY_JOINER.sub("", unicodedata.normalize("NFC", text))
    return " ".join("".join(map(_heard, _PICTURES.sub("", text))).split())


def loses_signs(text: str) -> bool:
    """Whether `cleaned` leaves out something that people see, such as an emoji."""
    return any(_EMOJI.match(char) or unicodedata.category(char) in ("Co", "Cn") for char in text)


def _heard(char: str) -> str:
    """The character, a space for one that stands between words, or nothing for one inside a word."""
    if char in "\u200c\u200d":  # those that are left are spelling
        return char
    category = unicodedata.category(char)
    if category == "Cf":
        return ""
    return " " if category[0] in "CZ" or _EMOJI.match(char) else char
