"""Which language each row is in. Pure.

Whisper detects a language for every row. A short or unsure row follows its neighbours, so that a lone name or a cough
never turns a recording into another language.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from speechpipe.contract import Language

#: The detected languages of a row with their probabilities, likeliest first.
Shares = Sequence[tuple[str, float]]

#: How sure a row must be to differ from the one before it, alone and if the next row agrees.
SURE, SURE_TOGETHER = 0.8, 0.5
#: Seconds of speech without which a row never differs.
MIN_SECONDS = 2.0


def majority(votes: Sequence[tuple[str, float]]) -> Language:
    """The language with most votes. In a tie the one with the higher total probability wins."""
    shares: dict[str, list[float]] = defaultdict(list)
    for code, share in votes:
        shares[code].append(share)
    code = max(shares, key=lambda code: (len(shares[code]), sum(shares[code])))
    return Language(code=code, confidence=min(1.0, max(shares[code])))


def smoothed(previous: str, own: Shares, following: Shares | None, seconds: float) -> str:
    """The language of a row between a row of language `previous` and one that sounds like `following`.

    `seconds`: of speech in the row.
    """
    code, share = own[0]
    if code == previous or seconds < MIN_SECONDS:
        return previous
    agreed = following is not None and following[0][0] == code
    return code if share >= (SURE_TOGETHER if agreed else SURE) else previous


def may_be_mixed(previous: str, own: Shares, following: Shares | None) -> bool:
    """Whether the language may change inside a row: it differs from a neighbour, or is not sure."""
    code, share = own[0]
    differs = code != previous or (following is not None and following[0][0] != code and following[0][1] >= SURE)
    return differs or share < SURE
