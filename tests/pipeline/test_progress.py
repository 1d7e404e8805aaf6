"""Progress and the remaining time of halves and recordings."""

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


def test_the_expected_end_is_extrapolated_from_the_progress_so_far() -> None:
    assert progress.expected_at(0.25, START, NOW) == NOW + timedelta(seconds=90)
    assert progress.expected_at(1.0, START, NOW) == NOW
    assert progress.expected_at(0.001, START, NOW) is None


def test_progress_is_the_mean_of_the_halves_and_the_longer_remaining_time_counts() -> None:
    both = recording(half(HalfStatus.PROCESSING, 0.5, left=20), half(HalfStatus.PROCESSING, 0.25, left=90))
    assert progress.of_recording(both, NOW) == progress.Progress(share=0.375, remaining_seconds=90)
    one_finished = recording(half(HalfStatus.PROCESSING, 0.5, left=20), DONE)
    assert progress.of_recording(one_finished, NOW) == progress.Progress(share=0.75, remaining_seconds=20)
    assert progress.of_recording(recording(half(HalfStatus.PROCESSING, 0.5, left=20), FAILED), NOW).share == 0.75


def test_a_half_that_was_not_requested_does_not_count() -> None:
    only_stt = recording(half(HalfStatus.PROCESSING, 0.5, left=20), half(HalfStatus.SKIPPED), emotion="off")
    assert progress.of_recording(only_stt, NOW) == progress.Progress(share=0.5, remaining_seconds=20)


def test_no_remaining_time_is_given_while_a_half_is_queued_or_has_just_started() -> None:
    assert progress.of_recording(recording(half(HalfStatus.PROCESSING, 0.5, left=20), QUEUED), NOW) == (
        progress.Progress(share=0.25)
    )
    assert progress.of_half(half(HalfStatus.PROCESSING, 0.001), NOW).remaining_seconds is None


def test_the_remaining_time_of_an_overdue_half_is_never_negative() -> None:
    overdue = half(HalfStatus.PROCESSING, 0.9, left=-5)
    assert progress.of_half(overdue, NOW) == progress.Progress(share=0.9, remaining_seconds=0)


def test_a_final_recording_is_done_even_if_its_halves_failed() -> None:
    final = recording(FAILED, FAILED, status=Status.FAILED)
    assert progress.of_recording(final, NOW) == progress.Progress(share=1, remaining_seconds=0)


@pytest.mark.parametrize(
    ("left", "words"), [(None, "42%"), (0, "42%, 0 s left"), (12.3, "42%, 12 s left"), (80, "42%, 1:20 min left")]
)
def test_progress_is_put_in_words(left: float | None, words: str) -> None:
    assert progress.in_words(progress.Progress(share=0.42, remaining_seconds=left)) == words
