from __future__ import annotations

from datetime import timedelta

import pytest

from speechpipe.contract import Half, HalfStatus, Options, Recording, Stage, Status
from speechpipe.pipeline import progress
from tests.doubles import START, source

NOW = START + timedelta(seconds=30)


def half(status: HalfStatus, share: float = 0.0, *, left: float | None = None) -> Half:
    return Half(status=status, progress=share, expected_at=None if left is None else NOW + timedelta(seconds=left))


def recording(stt: Half, ser: Half, *, status: Status = Status.PROCESSING, emotion: str = "on") -> Recording:
    return Recording(
        id="rec_1",
        status=status,
        source=source(),
        options=Options.model_validate({"emotion": emotion}),
        results_uri="gs://results/rec_1/r1",
        queued_at=START,
        deadline_at=START,
        halves={Stage.STT: stt, Stage.SER: ser},
    )


QUEUED, DONE, FAILED = half(HalfStatus.QUEUED), half(HalfStatus.COMPLETED, 1.0), half(HalfStatus.FAILED, 0.3)


def test_what_is_left_follows_from_what_was_done_in_the_time_so_far() -> None:
    assert progress.expected_at(0.25, START, NOW) == NOW + timedelta(seconds=90)
    assert progress.expected_at(1.0, START, NOW) == NOW
    assert progress.expected_at(0.001, START, NOW) is None


def test_the_whole_is_the_mean_of_its_halves_and_takes_as_long_as_the_longer() -> None:
    both = recording(half(HalfStatus.PROCESSING, 0.5, left=20), half(HalfStatus.PROCESSING, 0.25, left=90))
    assert progress.of_recording(both, NOW) == progress.Progress(share=0.375, remaining_seconds=90)
    one_ended = recording(half(HalfStatus.PROCESSING, 0.5, left=20), DONE)
    assert progress.of_recording(one_ended, NOW) == progress.Progress(share=0.75, remaining_seconds=20)
    assert progress.of_recording(recording(half(HalfStatus.PROCESSING, 0.5, left=20), FAILED), NOW).share == 0.75


def test_a_half_that_was_not_asked_for_does_not_count() -> None:
    alone = recording(half(HalfStatus.PROCESSING, 0.5, left=20), half(HalfStatus.SKIPPED), emotion="off")
    assert progress.of_recording(alone, NOW) == progress.Progress(share=0.5, remaining_seconds=20)


def test_nothing_is_said_of_the_time_while_a_half_waits_or_has_just_begun() -> None:
    assert progress.of_recording(recording(half(HalfStatus.PROCESSING, 0.5, left=20), QUEUED), NOW) == (
        progress.Progress(share=0.25)
    )
    assert progress.of_half(half(HalfStatus.PROCESSING, 0.001), NOW).remaining_seconds is None


def test_a_half_that_takes_longer_than_expected_has_no_time_below_nothing() -> None:
    late = half(HalfStatus.PROCESSING, 0.9, left=-5)
    assert progress.of_half(late, NOW) == progress.Progress(share=0.9, remaining_seconds=0)


def test_what_has_ended_is_done_whatever_its_halves_say() -> None:
    ended = recording(FAILED, FAILED, status=Status.FAILED)
    assert progress.of_recording(ended, NOW) == progress.Progress(share=1, remaining_seconds=0)


@pytest.mark.parametrize(
    ("left", "words"), [(None, "42%"), (0, "42%, 0 s left"), (12.3, "42%, 12 s left"), (80, "42%, 1:20 min left")]
)
def test_in_words(left: float | None, words: str) -> None:
    assert progress.in_words(progress.Progress(share=0.42, remaining_seconds=left)) == words
