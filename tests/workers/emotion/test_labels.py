from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from speechpipe.contract import LabelScore
from workers.emotion.head import UnreadableModel
from workers.emotion.labels import scores_of, sentiment_of, vocabulary_of

CAIRE = "CAiRE/SER-wav2vec2-large-xlsr-53-eng-zho-all-age"
CAIRE_ORDER = (
    "sadness fear angry happiness disgust neutral surprise positive negative excitement frustrated other unknown"
)


def config(*labels: str, problem_type: str | None = None) -> Any:
    return SimpleNamespace(num_labels=len(labels), id2label=dict(enumerate(labels)), problem_type=problem_type)


def as_dict(scores: tuple[LabelScore, ...]) -> dict[str, float]:
    return {score.name: score.score for score in scores}


def test_the_default_models_labels_are_those_of_its_training() -> None:
    vocabulary = vocabulary_of(CAIRE, config(*(f"LABEL_{n}" for n in range(13))))
    assert " ".join(vocabulary.labels) == CAIRE_ORDER
    assert vocabulary.primary == vocabulary.labels[:7]
    assert vocabulary.activation == "sigmoid"
    logits = np.full((1, 13), -4, np.float32)
    logits[0, [2, 10, 12]] = [2, 3, 9]  # angry, and frustrated and unknown, which were trained on other corpora
    [scores] = scores_of(logits, vocabulary)
    assert len(scores) == 13
    assert as_dict(scores)["angry"] == pytest.approx(0.880797, abs=1e-6)
    assert [score.name for score in scores][:3] == ["unknown", "frustrated", "angry"]
    sentiment = as_dict(sentiment_of(scores, vocabulary))
    assert next(iter(sentiment)) == "NEGATIVE"
    assert sum(sentiment.values()) == pytest.approx(1, abs=1e-5)
    low = 1 / (1 + np.exp(4))
    assert sentiment["NEGATIVE"] == pytest.approx(0.880797 / (0.880797 + 2 * low), abs=1e-4)


def test_sentiment_takes_the_strongest_of_each_side_not_their_number() -> None:
    vocabulary = vocabulary_of(CAIRE, config(*(f"LABEL_{n}" for n in range(13))))
    logits = np.full((1, 13), -20, np.float32)
    logits[0, [0, 1, 2, 4]] = -1  # four weak negatives
    logits[0, 3] = 0  # one happiness
    [scores] = scores_of(logits, vocabulary)
    assert sentiment_of(scores, vocabulary)[0].name == "POSITIVE"


def test_a_folder_with_the_default_model_is_recognised_and_a_wrong_one_refused() -> None:
    name = "SER-wav2vec2-large-xlsr-53-eng-zho-all-age"
    assert vocabulary_of(name, config(*"abcdefghijklm")).labels[0] == "sadness"
    with pytest.raises(UnreadableModel, match="4 outputs"):
        vocabulary_of(name, config(*"abcd"))


def test_another_model_has_the_labels_of_its_config() -> None:
    vocabulary = vocabulary_of("superb/hubert-large-superb-er", config("neu", "hap", "ang", "sad"))
    assert vocabulary.activation == "softmax"
    assert vocabulary.sentiment == {"neu": "NEUTRAL", "hap": "POSITIVE", "ang": "NEGATIVE", "sad": "NEGATIVE"}
    [scores] = scores_of(np.array([[1, 2, 3, 900]], np.float32), vocabulary)
    assert [score.name for score in scores] == ["sad", "neu", "hap", "ang"]  # equal scores stay in the model's order
    assert sum(score.score for score in scores) == pytest.approx(1)


def test_the_scores_of_a_multi_label_model_need_not_add_up_to_one() -> None:
    vocabulary = vocabulary_of("x", config("angry", "happy", problem_type="multi_label_classification"))
    [scores] = scores_of(np.array([[5, 5]], np.float32), vocabulary)
    assert [score.score for score in scores] == [pytest.approx(0.993307, abs=1e-6)] * 2


def test_other_and_unknown_are_never_dominant_and_an_incomplete_set_of_labels_gives_no_sentiment() -> None:
    vocabulary = vocabulary_of("x", config("angry", "other", "<unk>", "calm"))
    assert vocabulary.primary == ("angry", "calm")
    assert vocabulary.sentiment == {}  # no positive label: a share of the others would be made up
    [scores] = scores_of(np.zeros((1, 4), np.float32), vocabulary)
    assert sentiment_of(scores, vocabulary) == ()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused(bad: float) -> None:
    with pytest.raises(UnreadableModel):
        scores_of(np.array([[bad, 1]], np.float32), vocabulary_of("x", config("a", "b")))


def test_identical_labels_are_refused() -> None:
    with pytest.raises(UnreadableModel):
        vocabulary_of("x", config("a", "a"))
