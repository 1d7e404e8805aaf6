"""Object names that break careless code. Cloud Storage allows all of them except the one with line breaks."""

from __future__ import annotations

import posixpath


def filled(name: str, size: int) -> str:
    """Pad a name at the front to exactly `size` bytes."""
    return "é" * ((size - len(name.encode())) // 2) + "x" * ((size - len(name.encode())) % 2) + name


ODD_NAMES = [
    "a b  c.wav",
    "a#b?c=1&d;e.wav",
    "100%20%2F%00%.wav",
    "line\nbreak\r\nand more.wav",
    "🎧 e\u0301 東京 «צהריים».wav",
    "a\u202egnp.wav",
    "\u200f\u2066rtl\u2069.wav",
    "<img src=x onerror=alert(1)>\"'&amp;.wav",
    "a\x1b]0;pwned\x07[red]\x9b2J.wav",
    "-rf $(id) `id` |x.wav",
    "a\\b\\c.wav",
    "deep/er//./call.wav",
    "{}%s%(a)s{0}.wav",
]
#: Those that are normalised paths. A folder stores the others under other names.
FILE_NAMES = [name for name in ODD_NAMES if name == posixpath.normpath(name)]
#: 1024 bytes, the most that Cloud Storage allows. Each part of the first is short enough for a file name.
PARTED_NAME = "/".join(["ü" * 100] * 5) + "/" + filled("#1?.wav", 1024 - 5 * 201)
LONGEST_NAME = filled("/%\u202e🎧.wav", 1024)
