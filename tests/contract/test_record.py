"""Types of the record, where they promise more than their fields."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from speechpipe.contract import Audio, Quality, Summary, Word


def test_shares_of_emotions_are_sorted_however_a_store_returns_them() -> None:
    read = Summary.model_validate({"emotion_share": {"anger": 0.25, "happiness": 0.5, "neutral": 0.25}})
    assert list(read.emotion_share) == ["happiness", "anger", "neutral"]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_does_not_have_is_none_or_refused(number: float) -> None:
    quality = Quality(avg_logprob=number, no_speech_prob=number, compression_ratio=number)
    assert quality.model_dump(exclude_none=True) == {"temperature": 0.0, "suspect": False}
    assert Quality.model_validate_json(quality.model_dump_json()) == quality
    with pytest.raises(ValidationError):
        Word(word="a", start=0, end=number, confidence=1)
    with pytest.raises(ValidationError):
        Audio(duration=number, channels=1, sample_rate=8000, sha256="")


def test_a_partial_written_with_nan_before_it_was_refused_reads_back() -> None:
    old = '{"avg_logprob": null, "no_speech_prob": 0.5, "compression_ratio": null}'
    assert Quality.model_validate_json(old).avg_logprob is None
