"""Hints in the text: which were said, and which the model made up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.workers.whisper.segments import found
from workers.whisper import hints

HINTS = "Kaltblut, Quittengelee. A meeting about the Falcon release, 東京タワー"


@pytest.mark.parametrize(
    ("text", "without", "invented"),
    [
        ("Kaltblut, Kaltblut", "", True),
        ("Kaltblut, Kaltblut", "Uh huh", True),
        ("so we went home. Kaltblut", "So we went home.", True),
        ("we like kaltblut horses", "we like cold blood horses", False),  # heard nearly so without the hint
        ("we like Kaltblut horses", "we like Kaltblut horses!", False),
        ("the Falcon release is due", "the falcon release is due", False),
        ("the Falcon release is due", "the problem is due", True),
        ("about the house", "about a house", False),
        ("東京タワー", "はい", True),
        ("東京タワー", "東京タワー", False),
        ("home", "", False),  # no hint
    ],
)
def test_a_hint_is_invented_if_nothing_like_it_is_heard_without_hints(text: str, without: str, invented: bool) -> None:
    assert hints.invented(text, without, HINTS) is invented


@pytest.mark.parametrize(
    ("text", "probability", "doubtful"),
    [
        ("Kaltblut!", 0.01, True),
        ("Kaltblut!", 0.9, False),
        ("about", 0.01, True),
        ("the", 0.01, False),  # too short to tell anything
        ("horses", 0.01, False),
    ],
)
def test_only_hints_that_the_sound_makes_unlikely_are_doubtful(text: str, probability: float, doubtful: bool) -> None:
    segment = found((0, 1), text=text)
    segment = replace(segment, words=[replace(segment.words[0], probability=probability)])
    assert hints.doubtful([segment], HINTS) is doubtful


def test_nothing_is_doubtful_where_there_is_no_text() -> None:
    assert not hints.doubtful([], HINTS)
    assert not hints.doubtful([found(words=None)], HINTS)
