"""Types of the record, where they promise more than their fields."""

from __future__ import annotations

from speechpipe.contract import Summary


def test_shares_of_emotions_are_sorted_however_a_store_returns_them() -> None:
    read = Summary.model_validate({"emotion_share": {"anger": 0.25, "happiness": 0.5, "neutral": 0.25}})
    assert list(read.emotion_share) == ["happiness", "anger", "neutral"]
