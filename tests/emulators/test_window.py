"""The push window and the backoff behave as Google's page says: https://cloud.google.com/pubsub/docs/push#push_backoff."""

from __future__ import annotations

import pytest

from speechpipe.contract.resources import SUBSCRIPTIONS
from speechpipe.emulators.window import PushWindow, backoff_seconds


def test_the_window_starts_in_single_digits_and_grows_exponentially_while_everything_is_acknowledged() -> None:
    window, sizes = PushWindow(), []
    for _ in range(4):  # four rounds, in each of which the whole window is answered
        sizes.append(window.size)
        for _ in range(window.size):
            window.answered(204)
    assert sizes == [3, 6, 12, 24]


@pytest.mark.parametrize("status", [429, 500, 503, 401, None])
def test_each_failure_halves_the_window_and_one_message_is_always_tried(status: int | None) -> None:
    window = PushWindow()
    for _ in range(9):
        window.answered(200)
    sizes = []
    for _ in range(6):
        window.answered(status)
        sizes.append(window.size)
    assert sizes == [6, 3, 1, 1, 1, 1]


def test_the_backoff_of_a_task_doubles_from_a_second_to_two_minutes() -> None:
    tasks = next(each for each in SUBSCRIPTIONS if each.name == "stt-tasks")
    assert [backoff_seconds(tasks, failures) for failures in (1, 2, 3, 7, 8, 100)] == [1, 2, 4, 64, 120, 120]


@pytest.mark.parametrize(("name", "hours"), [("stt-tasks", 3), ("ser-tasks", 3), ("upload-events", 15)])
def test_a_message_that_is_always_refused_becomes_a_dead_letter_only_after_hours(name: str, hours: int) -> None:
    subscription = next(each for each in SUBSCRIPTIONS if each.name == name)
    assert subscription.max_delivery_attempts is not None
    pauses = [backoff_seconds(subscription, failures) for failures in range(1, subscription.max_delivery_attempts)]
    assert hours * 3600 <= sum(pauses) < subscription.retention_seconds
