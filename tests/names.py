"""Object names that break what is careless with them; all of them are allowed in Cloud Storage but the line break."""

from __future__ import annotations

import posixpath


def filled(name: str, size: int) -> str:
    """A name of exactly so many bytes that ends so."""
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
#: The same without what a folder has another name for: so has the Cloud Storage emulator, which keeps a folder.
FILE_NAMES = [name for name in ODD_NAMES if name == posixpath.normpath(name)]
#: As many bytes as an object's name may have; the first in parts that can be names of files.
PARTED_NAME = "/".join(["ü" * 100] * 5) + "/" + filled("#1?.wav", 1024 - 5 * 201)
LONGEST_NAME = filled("/%\u202e🎧.wav", 1024)
