"""Which language each row is in. Pure.

Whisper detects a language for every row. A short or unsure row follows its neighbours, so that a lone name or a cough
never turns a recording into another language.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from speechpipe.contract import Language

#: The detected languages of a row with their probabilities, likeliest first.
Shares = Sequence[tuple[str, float]]

#: How sure a row must be to differ from the one before it, alone and if the next row agrees.
SURE, SURE_TOGETHER = 0.8, 0.5
#: The least probability at which a row may be partly in its second language, and at which all of it may be.
MIN_RIVAL, MIN_RIVAL_OF_ALL = 0.05, 0.15
#: Seconds of speech without which a row never differs.
MIN_SECONDS = 2.0
#: The cost of a change of language between two phrases of a row, a log probability: a sentence of three seconds that is
#: surely in another language is worth two of them, a lone word is not.
CHANGE = -2.2
#: Seconds of speech whose probability counts as it is, how much more that of a long phrase may count, and the least
#: probability.
FULL_SECONDS, MOST_WEIGHT, LEAST_SHARE = 3.0, 2.0, 0.005


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


def path(
    phrases: Sequence[tuple[Shares, float]], previous: str | None, row: Shares, following: Shares | None
) -> list[str]:
    """The likeliest language of each phrase of a row, where every change has its cost (Viterbi).

    `phrases`: the detected languages of each, and its seconds of speech; `previous`: the language of the row before;
    `row`: the detected languages of the whole row. Only languages that a phrase surely is in, or the row or a
    neighbouring row is likely to be in, come into question: the probabilities of a short phrase are spread over many
    languages, but it still tells which of a few it is in.
    """
    after = following[0][0] if following and following[0][1] >= SURE else None
    codes = [code for code, share in row if share >= MIN_RIVAL or code == row[0][0]]
    codes += [shares[0][0] for shares, _ in phrases if shares[0][1] >= SURE]
    codes = sorted({*codes, *(code for code in (previous, after) if code)})

    def evidence(shares: Shares, seconds: float) -> list[float]:
        known = dict(shares)
        found = [max(known.get(code, 0.0), LEAST_SHARE) for code in codes]
        return [min(MOST_WEIGHT, seconds / FULL_SECONDS) * math.log(share / sum(found)) for share in found]

    def change(one: str | None, other: str | None) -> float:
        return CHANGE if one and other and one != other else 0.0

    score = [change(previous, code) for code in codes]
    steps: list[list[int]] = []
    for number, phrase in enumerate(phrases):
        if number:
            best = [max(range(len(codes)), key=lambda n: score[n] + change(codes[n], code)) for code in codes]
            score = [score[n] + change(codes[n], code) for n, code in zip(best, codes, strict=True)]
            steps.append(best)
        score = [total + more for total, more in zip(score, evidence(*phrase), strict=True)]
    at = max(range(len(codes)), key=lambda n: score[n] + change(codes[n], after))
    found = [codes[at]]
    for best in reversed(steps):
        at = best[at]
        found.append(codes[at])
    return found[::-1]


def may_be_mixed(previous: str, own: Shares, following: Shares | None) -> bool:
    """Whether the language may change inside a row: it differs from a neighbour, or is not the only one."""
    code = own[0][0]
    differs = code != previous or (following is not None and following[0][0] != code and following[0][1] >= SURE)
    return differs or any(share >= MIN_RIVAL for _, share in own[1:2])
