"""Escape untrusted text for HTML."""

from __future__ import annotations

import html
import re

#: Characters that HTML forbids, including those that start terminal escape sequences.
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]")


def escape(text: str) -> str:
    """Escape for an element or a quoted attribute; forbidden characters become U+FFFD."""
    return html.escape(_CONTROLS.sub("\ufffd", text))
