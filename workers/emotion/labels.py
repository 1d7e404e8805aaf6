"""Interpret an emotion model's outputs: its labels, how logits become scores, and which sentiment they amount to.

Pure. Labels never leave this package without the vocabulary they belong to.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from speechpipe.contract import LabelScore, Vocabulary
from workers.emotion.head import Head, UnreadableModel, head_of

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


#: Scales instead of emotions: what a dimensional model estimates.
_SCALES = frozenset({"arousal", "valence", "dominance", "activation"})
#: The shape of the default model's family: wav2vec 2.0 large.
_CAIRE_SHAPE = ("wav2vec2", 1024, 24)
#: transformers' names for outputs without names, and bare numbers.
_NO_NAME = re.compile(r"(LABEL[_ -]?)?\d*", re.IGNORECASE)
_LONGEST_LABEL = 100  #: characters
#: Names the outputs of a model.
SETTING = "SPEECHPIPE_SER_LABELS"


def vocabulary_of(name: str, config: Any, given: Sequence[str] | None = None) -> Vocabulary:
    """The vocabulary of a model, from its name (a hub id or a folder's name) and its Head or its transformers config.

    `given`: the labels in the order of the outputs, which then count instead of the model's own.
    Raises UnreadableModel, with a sentence that names the setting that helps, if the labels are unknown, do not match
    the outputs, do not differ, or are scales.
    """
    head = config if isinstance(config, Head) else head_of(config)
    count = head.outputs or len(given or head.labels)
    is_caire = name.rstrip("/").rsplit("/", 1)[-1].startswith(_CAIRE)
    if given is not None:
        labels = _cleaned(given)
        if len(labels) != count:
            raise UnreadableModel(f"{SETTING} names {len(labels)} labels, but {name} has {_outputs(count)}")
    elif is_caire and count != len(_CAIRE_LABELS):
        raise UnreadableModel(f"{name} has {_outputs(count)}, but its family has {len(_CAIRE_LABELS)}")
    elif is_caire or recognised(name, head):
        labels = _CAIRE_LABELS
    else:
        labels = _own_labels(name, head, count)
    _check_kind(name, head, labels)
    if labels == _CAIRE_LABELS:
        return _vocabulary(name, labels, _CAIRE_CORE, "sigmoid", head)
    primary = tuple(label for label in labels if not _names(label) & _NO_EMOTION and _is_name(label)) or labels
    multi_label = head.problem_type == "multi_label_classification"
    return _vocabulary(name, labels, primary, "sigmoid" if multi_label else "softmax", head)


def recognised(name: str, head: Head) -> bool:
    """Whether a model under another name has the default model's shape, and outputs without names as it has."""
    return (
        not name.rstrip("/").rsplit("/", 1)[-1].startswith(_CAIRE)
        and head.shape == _CAIRE_SHAPE
        and (head.outputs or len(head.labels)) == len(_CAIRE_LABELS)
        and not any(map(_is_name, head.labels.values()))
    )


def _own_labels(name: str, head: Head, count: int) -> tuple[str, ...]:
    """The labels of the model's own table. Raises UnreadableModel if it does not name every output."""
    table = head.labels
    remedy = f"name its {_outputs(count)} in their order with {SETTING}"
    if not any(map(_is_name, table.values())):
        raise UnreadableModel(f"{name}: its labels have no names; {remedy}")
    if sorted(table) != list(range(count)):
        in_order = ",".join(table[key].strip() for key in sorted(table))
        example = f"{SETTING}={in_order}" if len(table) == count else f"{SETTING}=..."
        numbers = ", ".join(map(str, sorted(table)))
        raise UnreadableModel(
            f"{name}: its label table is for the outputs {numbers}, but its outputs are 0 to {count - 1}; {remedy}"
            f" ({example}, if that is their order)"
        )
    return _cleaned([table[key] for key in range(count)])


def _check_kind(name: str, head: Head, labels: tuple[str, ...]) -> None:
    """Raises UnreadableModel unless the outputs are two or more different classes."""
    if head.problem_type == "regression" or any(_names(label) & _SCALES for label in labels):
        shown = ", ".join(labels)
        raise UnreadableModel(f"{name} estimates scales ({shown}), not emotions: speechpipe needs a model of emotions")
    if len(labels) < 2:
        raise UnreadableModel(f"{name} has {_outputs(len(labels))}: a model of emotions has two or more")
    if len(set(labels)) < len(labels):
        raise UnreadableModel(
            f"{name} has the labels {', '.join(labels)}, but must have two or more different ones: {SETTING} names"
            " them anew"
        )


def _outputs(count: int) -> str:
    return "1 output" if count == 1 else f"{count or ''} outputs".strip()


def _cleaned(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels in one line each, without characters that cannot be written; one without a name has its number."""
    cleaned = []
    for number, label in enumerate(labels):
        written = label.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be stored
        written = "".join(c if c.isprintable() else " " for c in unicodedata.normalize("NFC", written))
        cleaned.append(" ".join(written.split())[:_LONGEST_LABEL].strip() or f"LABEL_{number}")
    return tuple(cleaned)


def _is_name(label: str) -> bool:
    return not _NO_NAME.fullmatch(label.strip())


def _names(label: str) -> frozenset[str]:
    """The words that a label may be known by: itself, and its parts where it is written in two languages."""
    whole = label.casefold()
    parts = (part.strip(" _<>[]()") for part in re.split(r"[/|,;]", whole))
    return frozenset({whole, *parts})


def _vocabulary(
    name: str,
    labels: tuple[str, ...],
    primary: tuple[str, ...],
    activation: Literal["sigmoid", "softmax"],
    head: Head,
) -> Vocabulary:
    sentiment = {label: side for label in primary for side, names in _SENTIMENTS.items() if _names(label) & names}
    # If a side has no label, the shares of the others would be made up.
    complete = set(sentiment.values()) == set(_SENTIMENTS)
    return Vocabulary(
        id=name,
        labels=labels,
        primary=primary,
        activation=activation,
        sure_from=head.sure_from,
        calibrated=head.calibrated,
        sentiment=sentiment if complete else {},
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
