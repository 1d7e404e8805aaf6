"""How a label looks: a colour and, since colour alone says nothing to many, a pattern and two letters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from speechpipe.record.report.escaping import escape

#: Colours of report.css, `.e0` and so on; a pattern each, of `PATTERNS`.
SLOTS = 16
PATTERNS = 8

_USUAL = {
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
class Look:
    """How one label of a vocabulary is shown."""

    label: str
    slot: int
    code: str  #: two of its letters, that no other has

    @property
    def chip(self) -> str:
        """The letters on the colour, for beside the label."""
        return f'<i class="chip e{self.slot}" aria-hidden=true>{escape(self.code)}</i>'


def looks_of(labels: Iterable[str]) -> dict[str, Look]:
    """A look for each label, the usual emotions always in the same colour."""
    labels = list(dict.fromkeys(labels))
    free = [slot for slot in range(SLOTS) if slot not in {_USUAL.get(label.lower()) for label in labels}]
    looks: dict[str, Look] = {}
    slots: set[int] = set()
    codes: set[str] = set()
    for number, label in enumerate(labels):
        slot = _USUAL.get(label.lower())
        if slot is None or slot in slots:
            slot = free.pop(0) if free else number % SLOTS
        code = _code(label, codes) or str(number)
        slots.add(slot)
        codes.add(code)
        looks[label] = Look(label, slot, code)
    return looks


def _code(label: str, taken: set[str]) -> str | None:
    """The first letter and the next that tells it from the others: the second, if it can be."""
    codes = ((label[:1] + letter).capitalize() for letter in label[1:])
    return next((code for code in codes if code not in taken), None)
