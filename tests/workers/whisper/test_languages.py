"""Which language each row is in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechpipe.contract import Language
from workers.whisper.languages import MIN_SECONDS, SURE, SURE_TOGETHER, majority, may_be_mixed, smoothed

EN, DE, FR = [("en", 0.95)], [("de", 0.95)], [("fr", 0.95)]
LONG = 20.0


def test_the_language_is_that_of_most_rows() -> None:
    assert majority([("en", 0.5), ("de", 0.99), ("en", 0.6)]) == Language(code="en", confidence=0.6)
    assert majority([("en", 0.5), ("de", 0.9)]) == Language(code="de", confidence=0.9)


def test_a_probability_that_rounding_put_above_one_is_one() -> None:
    assert majority([("en", 1.0000001)]) == Language(code="en", confidence=1.0)


@pytest.mark.parametrize(
    ("own", "following", "seconds", "language"),
    [
        (EN, DE, LONG, "en"),  # nothing changes
        (DE, None, LONG, "de"),  # sure, and alone
        (DE, EN, LONG, "de"),  # sure, though the next row is English again
        ([("de", SURE)], EN, LONG, "de"),
        ([("de", SURE - 0.01)], EN, LONG, "en"),  # unsure, and alone
        ([("de", SURE - 0.01)], None, LONG, "en"),
        ([("de", SURE - 0.01)], FR, LONG, "en"),  # the next one does not agree
        ([("de", 0.6)], [("de", 0.55)], LONG, "de"),  # two unsure rows agree
        ([("de", SURE_TOGETHER)], [("de", 0.3)], LONG, "de"),
        ([("de", SURE_TOGETHER - 0.01)], DE, LONG, "en"),  # hardly a guess
        ([("de", 0.4), ("en", 0.39)], DE, LONG, "en"),
        (DE, EN, MIN_SECONDS - 0.01, "en"),  # a lone name or a cough
        (DE, DE, MIN_SECONDS - 0.01, "en"),
        (DE, EN, MIN_SECONDS, "de"),
    ],
)
def test_a_row_differs_from_the_one_before_only_if_it_is_sure_or_not_alone(
    own: list[tuple[str, float]], following: list[tuple[str, float]] | None, seconds: float, language: str
) -> None:
    assert smoothed("en", own, following, seconds) == language


shares = st.lists(st.tuples(st.sampled_from(["en", "de", "fr"]), st.floats(0, 1)), min_size=1, max_size=3)


@given(shares, st.none() | shares, st.floats(0, MIN_SECONDS, exclude_max=True))
def test_a_short_row_never_differs(
    own: list[tuple[str, float]], following: list[tuple[str, float]] | None, seconds: float
) -> None:
    assert smoothed("en", own, following, seconds) == "en"


@given(st.sampled_from(["en", "de"]), shares, st.none() | shares, st.floats(0, 30))
def test_a_row_is_in_the_language_before_or_in_its_own(
    previous: str, own: list[tuple[str, float]], following: list[tuple[str, float]] | None, seconds: float
) -> None:
    assert smoothed(previous, own, following, seconds) in (previous, own[0][0])


@pytest.mark.parametrize(
    ("own", "following", "mixed"),
    [
        (EN, EN, False),
        (EN, None, False),
        ([("en", SURE)], EN, False),
        ([("en", SURE - 0.01)], EN, True),  # not sure of itself
        (DE, DE, True),  # differs from the row before
        (EN, DE, True),  # differs from the row after
        (EN, [("de", SURE - 0.01)], False),  # which is not sure
    ],
)
def test_a_row_may_be_mixed_where_it_is_unsure_or_differs_from_a_neighbour(
    own: list[tuple[str, float]], following: list[tuple[str, float]] | None, mixed: bool
) -> None:
    assert may_be_mixed("en", own, following) is mixed
