"""The rows of the console's list."""

from __future__ import annotations

import pytest

from speechpipe.console.rows import row_of
from speechpipe.contract import Quote, Recording
from tests.backends.examples import NOW, finished, recording


def quoted(*, exact: bool) -> Recording:
    return recording().model_copy(update={"quote": Quote(audio_seconds=278, exact=exact)})


@pytest.mark.parametrize(
    ("known", "seconds", "estimated"),
    [
        (quoted(exact=False), 278, True),
        (quoted(exact=True), 278, False),
        (finished(quoted(exact=False)), 12.345, False),  # measured by now
        (recording().model_copy(update={"quote": None}), None, False),
    ],
    ids=["estimated", "stated", "measured", "unknown"],
)
def test_a_length_that_is_an_estimate_is_marked_until_it_is_measured(
    known: Recording, seconds: float | None, estimated: bool
) -> None:
    row = row_of(known, NOW)
    assert (row["seconds"], row["estimated"]) == (seconds, estimated)
