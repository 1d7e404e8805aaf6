"""Keep spreadsheets from running text as a formula (https://owasp.org/www-community/attacks/CSV_Injection). Pure."""

from __future__ import annotations

import re
import unicodedata

#: What a cell begins with to be a formula. Excel takes the full-width forms, too.
_SIGNS = "=+\\-@＝＋－＠﹢﹣﹦﹫⁼₌"
_NUMBER = re.compile(r"[+\-]?(\d+([.,]\d+)*|[.,]\d+)([eE][+\-]?\d+)?\s*%?", re.ASCII)
#: Where semicolons or tabs separate the cells, as semicolons do for Excel in German or French, a cell begins behind
#: each, in quotes or not.
_IN_TEXT = re.compile(rf"(?<=[;\t\r\n])([^\S\t\r\n]*)(?=[{_SIGNS}])")


def disarmed(text: str) -> str:
    """The text with an apostrophe in front of what would be a formula; numbers such as -5.2 stay as they are.

    Spreadsheets trim spaces and invisible characters before they look for a formula, and separators make new cells.
    """
    if _NUMBER.fullmatch(unicodedata.normalize("NFKC", text).strip()):
        return text
    begin = next((character for character in text if not _passed_over(character)), "")
    safe = _IN_TEXT.sub(r"\1'", text)
    return f"'{safe}" if begin and re.match(f"[{_SIGNS}]", begin) else safe


def _passed_over(character: str) -> bool:
    """Whether a sign behind it may still begin a cell: spaces, controls, invisible characters, separators, percent."""
    return unicodedata.category(character)[0] in "ZC" or character in ";；,，%％|"
