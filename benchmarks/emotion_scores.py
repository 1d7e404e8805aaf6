"""How right an emotion model is, and whether its confidence says so. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: What models and corpora call the emotions that are counted. A label that is in no row keeps its own name, so that a
#: model may give it, and is then wrong about a clip of another emotion. `calm` is not `neutral`: RAVDESS has both.
NAMES: dict[str, tuple[str, ...]] = {
    "anger": ("anger", "angry", "ang", "male_angry", "female_angry", "生气/angry"),
    "happiness": ("happiness", "happy", "hap", "joy", "joyful", "male_happy", "female_happy", "开心/happy"),
    "neutral": ("neutral", "neu", "neutrality", "male_neutral", "female_neutral", "中立/neutral"),
    "sadness": ("sadness", "sad", "male_sad", "female_sad", "难过/sad"),
    "fear": ("fear", "fearful", "fea", "fearfulness", "恐惧/fearful"),
    "disgust": ("disgust", "disgusted", "dis", "厌恶/disgusted"),
    "surprise": ("surprise", "surprised", "sur", "ps", "pleasant_surprise", "吃惊/surprised"),
    "calm": ("calm", "calmness"),
    "boredom": ("boredom", "bored"),
}
_NAME_OF = {label: name for name, labels in NAMES.items() for label in labels}
#: Shares of the clips, most confident first, at which the curve gives the accuracy.
SHARES = (1.0, 0.75, 0.5, 0.25)
_BINS = 10


def name_of(label: str) -> str:
    """The emotion that a label means; the label itself in lower case if the table has none."""
    lower = label.strip().lower()
    return _NAME_OF.get(lower, lower)


@dataclass(frozen=True)
class Answer:
    """What a model said of a clip."""

    acted: str
    given: str
    confidence: float  #: the score of the answer, 0 to 1
    named: bool = True  #: whether the model is sure enough to name it

    @property
    def right(self) -> bool:
        """Whether it said what was acted."""
        return self.acted == self.given


def accuracy(answers: Sequence[Answer]) -> float:
    """The share of right answers."""
    return sum(answer.right for answer in answers) / len(answers)


def unweighted_recall(answers: Sequence[Answer]) -> float:
    """The mean over the acted emotions of the share that was recognised."""
    recalls = [accuracy([one for one in answers if one.acted == acted]) for acted in {one.acted for one in answers}]
    return sum(recalls) / len(recalls)


def calibration_error(answers: Sequence[Answer]) -> float:
    """Expected calibration error: how far confidence is from accuracy, over ten equal bins of confidence.

    Guo et al., On Calibration of Modern Neural Networks, 2017.
    """
    bins: dict[int, list[Answer]] = {}
    for answer in answers:
        bins.setdefault(min(int(answer.confidence * _BINS), _BINS - 1), []).append(answer)
    gaps = [abs(sum(one.right - one.confidence for one in each)) for each in bins.values()]
    return sum(gaps) / len(answers)


def calibration_error_of_chance(answers: Sequence[Answer], trials: int = 1000) -> float:
    """The calibration error to expect of so many answers if every confidence were the true chance of being right.

    With few answers in a bin it is far from 0, which a measured error has to be compared with.
    """
    rng = np.random.default_rng(0)
    confidence = np.array([answer.confidence for answer in answers])
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = (rng.random((trials, len(answers))) < confidence) - confidence
    sums = np.stack([np.abs(gaps[:, bins == one].sum(axis=1)) for one in np.unique(bins)])
    return float(sums.sum(axis=0).mean() / len(answers))


def named(answers: Sequence[Answer]) -> dict[str, float | None]:
    """The share of the answers that the model names, and how many of these are right; None if it names none."""
    sure = [answer for answer in answers if answer.named]
    return {"share": round(len(sure) / len(answers), 4), "accuracy": round(accuracy(sure), 4) if sure else None}


def curve(answers: Sequence[Answer]) -> dict[str, float]:
    """Accuracy if only the most confident share of the clips is answered, for each of SHARES."""
    ranked = sorted(answers, key=lambda answer: -answer.confidence)
    return {f"{share:.0%}": round(accuracy(ranked[: max(1, round(share * len(ranked)))]), 4) for share in SHARES}


def confusion(answers: Sequence[Answer]) -> dict[str, dict[str, int]]:
    """For each acted emotion, how often each answer was given."""
    table: dict[str, dict[str, int]] = {}
    for answer in answers:
        row = table.setdefault(answer.acted, {})
        row[answer.given] = row.get(answer.given, 0) + 1
    return {acted: dict(sorted(row.items())) for acted, row in sorted(table.items())}


def figures(answers: Sequence[Answer]) -> dict[str, Any]:
    """All of these for a group of clips."""
    return {
        "clips": len(answers),
        "accuracy": round(accuracy(answers), 4),
        "unweighted_recall": round(unweighted_recall(answers), 4),
        "mean_confidence": round(sum(answer.confidence for answer in answers) / len(answers), 4),
        "calibration_error": round(calibration_error(answers), 4),
        "calibration_error_of_chance": round(calibration_error_of_chance(answers), 4),
        "named": named(answers),
        "accuracy_by_share_answered": curve(answers),
        "confusion": confusion(answers),
    }
