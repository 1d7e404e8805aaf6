"""What an emotion model's numbers mean: its labels, how its logits become scores, and which sentiment they add up to.

Pure. A label never leaves this package without the vocabulary that it belongs to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from speechpipe.contract import LabelScore, Vocabulary
from speechpipe.contract.errors import EngineUnavailable

#: The default model's family: config.json names none of its labels. Order as in its training code
#: (HLTCHKUST/elderly_ser, train.py); trained with a binary loss per label, each label on only some of the corpora, so
#: that a softmax over all 13 means nothing (models/modeling_wav2vec2.py, data_loader.py; arXiv 2306.14517).
_CAIRE = "SER-wav2vec2-large-xlsr-53-eng-zho-"
_CAIRE_CORE = ("sadness", "fear", "angry", "happiness", "disgust", "neutral", "surprise")
_CAIRE_LABELS = (*_CAIRE_CORE, "positive", "negative", "excitement", "frustrated", "other", "unknown")

_SENTIMENTS: dict[str, frozenset[str]] = {
    "POSITIVE": frozenset({"happiness", "happy", "hap", "joy", "joyful"}),
    "NEGATIVE": frozenset(
        {"anger", "angry", "ang", "sadness", "sad", "fear", "fearful", "fea", "disgust", "disgusted", "dis"}
    ),
    "NEUTRAL": frozenset({"neutral", "neu", "calm"}),
}
#: Labels for "none of these": never called dominant.
_NO_EMOTION = frozenset({"other", "unknown", "<unk>", "unk"})


class UnreadableModel(EngineUnavailable):
    """The model's output cannot be read as emotions."""


def vocabulary_of(name: str, config: Any) -> Vocabulary:
    """The vocabulary of a model by its name (a hub id or a folder's name) and its transformers config.

    Raises UnreadableModel if the number of outputs is not what the labels say.
    """
    if name.rstrip("/").rsplit("/", 1)[-1].startswith(_CAIRE):
        if config.num_labels != len(_CAIRE_LABELS):
            raise UnreadableModel(f"{name} has {config.num_labels} outputs, {len(_CAIRE_LABELS)} are known")
        return _vocabulary(name, _CAIRE_LABELS, _CAIRE_CORE, "sigmoid")
    labels = tuple(str(config.id2label[index]) for index in range(config.num_labels))
    if len(set(labels)) < max(2, len(labels)):
        raise UnreadableModel(f"{name} has the labels {', '.join(labels)}: they must be two or more different ones")
    primary = tuple(label for label in labels if label.lower() not in _NO_EMOTION) or labels
    several = getattr(config, "problem_type", None) == "multi_label_classification"
    return _vocabulary(name, labels, primary, "sigmoid" if several else "softmax")


def _vocabulary(
    name: str, labels: tuple[str, ...], primary: tuple[str, ...], activation: Literal["sigmoid", "softmax"]
) -> Vocabulary:
    sentiment = {
        label: feeling for label in primary for feeling, names in _SENTIMENTS.items() if label.lower() in names
    }
    # Without a label on each side, the share of the others would be made up.
    complete = set(sentiment.values()) == set(_SENTIMENTS)
    return Vocabulary(
        id=name, labels=labels, primary=primary, activation=activation, sentiment=sentiment if complete else {}
    )


def scores_of(logits: npt.NDArray[np.float32], vocabulary: Vocabulary) -> list[tuple[LabelScore, ...]]:
    """Logits of shape (windows, labels) as scores: all labels of each window, highest first.

    Raises UnreadableModel for values that are no numbers: better no result than an emotion made of them.
    """
    if not np.isfinite(logits).all():
        raise UnreadableModel(f"{vocabulary.id} gave values that are no numbers")
    wide = logits.astype(np.float64)
    if vocabulary.activation == "sigmoid":
        scores = 0.5 * (1 + np.tanh(wide / 2))  # never overflows
    else:
        powers = np.exp(wide - wide.max(axis=1, keepdims=True))
        scores = powers / powers.sum(axis=1, keepdims=True)
    return [_ranked(zip(vocabulary.labels, row.tolist(), strict=True)) for row in scores]


def sentiment_of(scores: Sequence[LabelScore], vocabulary: Vocabulary) -> tuple[LabelScore, ...]:
    """POSITIVE, NEGATIVE and NEUTRAL beside the fine labels: the highest label of each side, as shares of 1.

    Empty where the vocabulary does not say which label is on which side.
    """
    if not vocabulary.sentiment:
        return ()
    strongest = _strongest(scores, vocabulary.sentiment)
    total = sum(strongest.values())
    if total == 0:
        return ()
    return _ranked((name, score / total) for name, score in strongest.items())


def _strongest(scores: Sequence[LabelScore], sides: Mapping[str, str]) -> dict[str, float]:
    strongest = dict.fromkeys(_SENTIMENTS, 0.0)
    for score in scores:
        side = sides.get(score.name)
        if side is not None:
            strongest[side] = max(strongest[side], score.score)
    return strongest


def _ranked(pairs: Any) -> tuple[LabelScore, ...]:
    scores = [LabelScore(name=name, score=min(1.0, max(0.0, score))) for name, score in pairs]
    return tuple(sorted(scores, key=lambda score: -score.score))
