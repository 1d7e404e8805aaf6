"""How a label looks: a colour and, since colour alone says nothing to many, a pattern and one or two letters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

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
    code: str  #: its first letters, as many as tell it from the others

    @property
    def chip(self) -> str:
        """The letters on the colour, for beside the label."""
        return f'<i class="chip e{self.slot}" aria-hidden=true>{escape(self.code)}</i>'


def looks_of(labels: Iterable[str]) -> dict[str, Look]:
    """A look for each label, the usual emotions always in the same colour."""
    labels = list(dict.fromkeys(labels))
    free = [slot for slot in range(SLOTS) if slot not in {_USUAL.get(label.lower()) for label in labels}]
    looks: dict[str, Look] = {}
    taken: set[int] = set()
    for number, label in enumerate(labels):
        slot = _USUAL.get(label.lower())
        if slot is None or slot in taken:
            slot = free.pop(0) if free else number % SLOTS
        taken.add(slot)
        looks[label] = Look(label, slot, _code(label, labels))
    return looks


def _code(label: str, labels: Iterable[str]) -> str:
    """Two letters that no other label begins with; or a third that tells it from them."""
    others = [other.lower() for other in labels if other != label]
    start = label[:2]
    if any(other.startswith(start.lower()) for other in others):
        for letter in label[2:]:
            if not any(other.startswith(start[:1].lower()) and letter.lower() in other[1:] for other in others):
                return (start[:1] + letter).capitalize()
    return start.capitalize()
