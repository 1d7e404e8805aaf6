"""Texts of strangers as HTML."""

from __future__ import annotations

import html
import re

#: Characters that HTML has no place for, escape sequences of terminals among them.
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]")


def escape(text: str) -> str:
    """For an element or a quoted attribute; what HTML forbids is shown as a replacement character."""
    return html.escape(_CONTROLS.sub("\ufffd", text))
