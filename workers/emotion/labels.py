"""Interpret an emotion model's outputs: its labels, how logits become scores, and which sentiment they amount to.

Pure. Labels never leave this package without the vocabulary they belong to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from speechpipe.contract import LabelScore, Vocabulary
from speechpipe.contract.errors import EngineUnavailable

#: The family of the default model, whose config.json does not name its labels. They are in the order of its training
#: code (HLTCHKUST/elderly_ser, train.py). Each label was trained with its own binary loss, on only some of the corpora,
#: so a softmax over all 13 is meaningless (models/modeling_wav2vec2.py, data_loader.py; arXiv 2306.14517).
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
#: Labels that stand for no emotion. They are never dominant.
_NO_EMOTION = frozenset({"other", "unknown", "<unk>", "unk"})


class UnreadableModel(EngineUnavailable):
    """The model's output cannot be interpreted as emotions."""


def vocabulary_of(name: str, config: Any) -> Vocabulary:
    """The vocabulary of a model, from its name (a hub id or a folder's name) and its transformers config.

    Raises UnreadableModel if the labels are not known for this number of outputs, or do not differ.
    """
    if name.rstrip("/").rsplit("/", 1)[-1].startswith(_CAIRE):
        if config.num_labels != len(_CAIRE_LABELS):
            raise UnreadableModel(f"{name} has {config.num_labels} outputs, but its family has {len(_CAIRE_LABELS)}")
        return _vocabulary(name, _CAIRE_LABELS, _CAIRE_CORE, "sigmoid")
    labels = tuple(str(config.id2label[index]) for index in range(config.num_labels))
    if len(set(labels)) < max(2, len(labels)):
        raise UnreadableModel(f"{name} has the labels {', '.join(labels)}, but must have two or more different ones")
    primary = tuple(label for label in labels if label.lower() not in _NO_EMOTION) or labels
    multi_label = getattr(config, "problem_type", None) == "multi_label_classification"
    return _vocabulary(name, labels, primary, "sigmoid" if multi_label else "softmax")


def _vocabulary(
    name: str, labels: tuple[str, ...], primary: tuple[str, ...], activation: Literal["sigmoid", "softmax"]
) -> Vocabulary:
    sentiment = {label: side for label in primary for side, names in _SENTIMENTS.items() if label.lower() in names}
    # If a side has no label, the shares of the others would be made up.
    complete = set(sentiment.values()) == set(_SENTIMENTS)
    return Vocabulary(
        id=name, labels=labels, primary=primary, activation=activation, sentiment=sentiment if complete else {}
    )


def scores_of(logits: npt.NDArray[np.float32], vocabulary: Vocabulary) -> list[tuple[LabelScore, ...]]:
    """Convert logits of shape (windows, labels) to scores: all labels of each window, highest first.

    Raises UnreadableModel for NaN or infinite logits: no result is better than an emotion made up from these.
    """
    if not np.isfinite(logits).all():
        raise UnreadableModel(f"{vocabulary.id} returned values that are not finite numbers")
    wide = logits.astype(np.float64)
    if vocabulary.activation == "sigmoid":
        scores = 0.5 * (1 + np.tanh(wide / 2))  # never overflows
    else:
        powers = np.exp(wide - wide.max(axis=1, keepdims=True))
        scores = powers / powers.sum(axis=1, keepdims=True)
    return [_ranked(zip(vocabulary.labels, row.tolist(), strict=True)) for row in scores]


def sentiment_of(scores: Sequence[LabelScore], vocabulary: Vocabulary) -> tuple[LabelScore, ...]:
    """POSITIVE, NEGATIVE and NEUTRAL, each scored by the highest label on its side, as shares of 1.

    Empty if the vocabulary does not assign labels to sides.
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
