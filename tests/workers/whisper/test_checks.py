"""The checks of a row's text."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from workers.whisper.checks import (
    ATTEMPTS,
    MAX_CHARACTERS_PER_SECOND,
    DecodingResult,
    best,
    decoding_result,
    is_silence,
)


def result(**changes: Any) -> DecodingResult:
    fields: dict[str, Any] = {"tokens": (1,), "avg_logprob": -0.2, "no_speech_prob": 0.0, "compression_ratio": 1.2}
    return DecodingResult(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "failed", "silence"),
    [
        ({}, False, False),
        ({"compression_ratio": 2.5, "truncated": True}, True, False),
        ({"compression_ratio": 2.5, "characters_per_second": MAX_CHARACTERS_PER_SECOND + 1}, True, False),
        ({"avg_logprob": -1.1}, True, False),
        ({"avg_logprob": float("-inf")}, True, False),
        ({"avg_logprob": -1.1, "no_speech_prob": 0.7}, False, True),
        ({"no_speech_prob": 0.7}, False, False),
    ],
)
def test_a_decoding_result_is_judged_by_whispers_thresholds(
    changes: dict[str, Any], failed: bool, silence: bool
) -> None:
    assert (result(**changes).failed, is_silence(result(**changes))) == (failed, silence)


@pytest.mark.parametrize(
    ("changes", "loops"),
    [
        ({"compression_ratio": 9.0}, False),  # somebody says the same again and again
        ({"compression_ratio": 9.0, "characters_per_second": MAX_CHARACTERS_PER_SECOND}, False),
        ({"compression_ratio": 9.0, "truncated": True}, True),  # it never came to an end
        ({"compression_ratio": 9.0, "characters_per_second": 60.0}, True),  # nobody speaks so fast
        ({"compression_ratio": 1.2, "truncated": True}, False),  # long, but no repetition
        ({"compression_ratio": 1.2, "characters_per_second": 60.0}, False),
    ],
)
def test_true_repetitions_do_not_loop_and_truncated_ones_do(changes: dict[str, Any], loops: bool) -> None:
    assert result(**changes).loops is loops


def test_if_all_results_failed_the_likeliest_that_does_not_repeat_itself_is_best() -> None:
    looping = result(compression_ratio=9, truncated=True)
    unsure, worse = result(avg_logprob=-1.2), result(avg_logprob=-2)
    assert best([looping, unsure, worse]) is unsure
    assert best([looping, result(compression_ratio=9, truncated=True, avg_logprob=-3)]) is looping
    passed = result(avg_logprob=-0.9)
    assert best([looping, passed]) is passed


class Letters:
    """A tokenizer whose tokens are letters, the end token after them."""

    eot = 1000

    def decode(self, tokens: list[int]) -> str:
        return "".join(map(chr, tokens))


def decoded(text: str, *, seconds: float, limit: int = 200) -> DecodingResult:
    generated = SimpleNamespace(sequences_ids=[[ord(letter) for letter in text]], scores=[-0.5], no_speech_prob=0.1)
    return decoding_result(generated, Letters(), 1, seconds=seconds, limit=limit)


def test_a_sentence_said_twelve_times_in_the_time_it_takes_is_no_loop() -> None:
    said = "I ordered a blue phone. " * 12
    assert decoded(said, seconds=24, limit=1000).compression_ratio > 2.4
    assert not decoded(said, seconds=24, limit=1000).loops
    assert decoded(said, seconds=6, limit=1000).loops
    assert decoded(said, seconds=24, limit=len(said)).loops


def test_the_values_of_a_result_are_those_of_its_text() -> None:
    found = decoded("  hello there", seconds=2.0)
    assert found.attempt == 1
    assert found.characters_per_second == 5.5  # leading spaces are nothing said
    assert found.avg_logprob == pytest.approx(-0.5 * 13 / 14)  # the end token counts
    assert not found.truncated
    assert decoded("hello there", seconds=0.1).characters_per_second == 11  # a second at least


def test_no_attempt_depends_on_chance() -> None:
    assert ATTEMPTS[0] == {}
    assert not any("sampling" in name for attempt in ATTEMPTS for name in attempt)
