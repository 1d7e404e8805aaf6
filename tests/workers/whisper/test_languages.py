"""Which language each row is in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechpipe.contract import Language
from workers.whisper.languages import (
    MIN_RIVAL,
    MIN_SECONDS,
    SURE,
    SURE_TOGETHER,
    Shares,
    majority,
    may_be_mixed,
    path,
    smoothed,
)

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
        ([("en", 0.6), ("cy", MIN_RIVAL - 0.01)], EN, False),  # unsure, but of no other language
        ([("en", 0.9), ("cy", MIN_RIVAL)], EN, True),
        (DE, DE, True),  # differs from the row before
        (EN, DE, True),  # differs from the row after
        (EN, [("de", SURE - 0.01)], False),  # which is not sure
    ],
)
def test_a_row_may_be_mixed_where_it_has_a_second_language_or_differs_from_a_neighbour(
    own: list[tuple[str, float]], following: list[tuple[str, float]] | None, mixed: bool
) -> None:
    assert may_be_mixed("en", own, following) is mixed


# ---------------------------------------------------------------------------------------------------- inside a row

BOTH = [("en", 0.6), ("de", 0.3)]  #: of a whole row
E3, D3 = ([("en", 0.97), ("de", 0.01)], 3.0), ([("de", 0.97), ("en", 0.01)], 3.0)
UNSURE_E, UNSURE_D = ([("cy", 0.4), ("en", 0.2), ("de", 0.02)], 2.0), ([("nl", 0.4), ("de", 0.2), ("en", 0.02)], 2.0)
WORD = ([("de", 0.97), ("en", 0.01)], 0.6)  #: a name


@pytest.mark.parametrize(
    ("phrases", "previous", "following", "languages"),
    [
        ([E3, E3, D3, D3], "en", None, "en en de de"),
        ([D3, E3], "de", None, "de en"),
        ([E3, D3, E3], "en", None, "en de en"),  # one sentence in another language
        ([E3, WORD, E3], "en", None, "en en en"),  # a lone word
        ([E3, ([("de", 0.8), ("en", 0.1)], 3.0), E3], "en", None, "en en en"),
        ([E3, ([("de", 0.8), ("en", 0.1)], 8.0), E3], "en", None, "en en en"),
        ([E3, ([("de", 0.9), ("en", 0.03)], 3.0), E3], "en", None, "en en en"),
        ([E3, ([("de", 0.9), ("en", 0.03)], 8.0), E3], "en", None, "en de en"),  # long, and so nearly sure
        ([E3, E3, WORD], "en", None, "en en en"),
        ([UNSURE_D, D3], "en", None, "de de"),  # of these two languages, it is in the one it sounds more like
        ([E3, UNSURE_E, UNSURE_D, D3], "en", DE, "en en de de"),
        ([E3, UNSURE_D], "en", DE, "en de"),  # the next row helps
        ([D3], None, None, "de"),
        ([UNSURE_E], None, None, "en"),
    ],
)
def test_a_rows_phrases_are_in_the_languages_that_they_and_their_neighbours_sound_like(
    phrases: list[tuple[Shares, float]], previous: str | None, following: Shares | None, languages: str
) -> None:
    assert " ".join(path(phrases, previous, BOTH, following)) == languages


def test_a_language_that_a_phrase_surely_is_in_needs_no_share_of_the_row() -> None:
    french = ([("fr", 0.95), ("en", 0.01)], 3.0)
    assert path([E3, french], "en", [("en", 0.97), ("de", 0.02)], None) == ["en", "fr"]
    doubtful = ([("fr", 0.6), ("en", 0.01)], 3.0)
    assert path([E3, doubtful], "en", [("en", 0.97), ("de", 0.02)], None) == ["en", "en"]


@given(
    st.lists(st.tuples(shares, st.floats(0, 30)), min_size=1, max_size=8),
    st.none() | st.sampled_from(["en", "de"]),
    shares,
    st.none() | shares,
)
def test_every_phrase_gets_a_language_that_was_heard_or_came_before(
    phrases: list[tuple[Shares, float]], previous: str | None, row: Shares, following: Shares | None
) -> None:
    found = path(phrases, previous, row, following)
    assert len(found) == len(phrases)
    assert set(found) <= {"en", "de", "fr"}
