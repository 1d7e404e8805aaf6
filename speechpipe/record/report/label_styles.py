"""How emotion labels are drawn: a colour, and for readers who cannot tell colours apart a pattern and two letters."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count

from speechpipe.contract import UNSURE
from speechpipe.record.report.escaping import escape

SLOTS = 16  #: colours in report.css, `.e0` to `.e15`; after them the grey of `unsure`
PATTERNS = 8  #: slot n has pattern n modulo this

_FIXED_SLOTS = {
    name: slot
    for slot, names in enumerate(
        (
            "neutral calm neu",
            "happiness happy joy joyful hap",
            "anger angry ang",
            "sadness sad",
            "fear fearful fea",
            "disgust disgusted dis",
            "surprise surprised sur",
            "positive",
            "negative",
            "excitement excited exc",
            "frustrated frustration fru",
            "other",
            "unknown",
        )
    )
    for name in names.split()
}


@dataclass(frozen=True)
class LabelStyle:
    """How one label is drawn."""

    label: str
    slot: int
    code: str  #: two letters of the label, unique among the labels

    @property
    def chip(self) -> str:
        """The code on the label's colour, to show next to the label."""
        return f'<i class="chip e{self.slot}" aria-hidden=true>{escape(self.code)}</i>'


def label_styles(labels: Iterable[str]) -> dict[str, LabelStyle]:
    """A style for each label, and a grey one for `unsure`. Common emotions have the same colour in every report."""
    labels = [label for label in dict.fromkeys(labels) if label != UNSURE]
    free = [slot for slot in range(SLOTS) if slot not in {_fixed_slot(label) for label in labels}]
    styles: dict[str, LabelStyle] = {}
    slots: set[int] = set()
    codes: set[str] = set()
    for number, label in enumerate(labels):
        slot = _fixed_slot(label)
        if slot is None or slot in slots:
            slot = free.pop(0) if free else number % SLOTS
        code = _code(label, codes) or next(str(n) for n in count(number) if str(n) not in codes)
        slots.add(slot)
        codes.add(code)
        styles[label] = LabelStyle(label, slot, code)
    styles[UNSURE] = LabelStyle(UNSURE, SLOTS, "?")
    return styles


def _fixed_slot(label: str) -> int | None:
    """The slot of a common emotion, by any of its names where a label has it in several languages: `生气/angry`."""
    names = (name.strip(" _<>[]()").lower() for name in re.split(r"[/|,;]", label))
    return next((_FIXED_SLOTS[name] for name in names if name in _FIXED_SLOTS), None)


def _code(label: str, taken: set[str]) -> str | None:
    """The label's first letter and the first later one that makes the code unique; None if there is none."""
    letters = "".join(character for character in label if character.isalnum())
    codes = ((letters[:1] + letter).capitalize() for letter in letters[1:])
    return next((code for code in codes if code not in taken), None)
