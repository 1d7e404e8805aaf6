"""What every bus guarantees (`ports.Bus`, `ports.Completions`, `ports.DeadLetters`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from itertools import islice

import pytest

from speechpipe.backends.ports import Backend
from speechpipe.contract import Letter, Stage
from tests.backends.conftest import Harness
from tests.backends.examples import completion, recording, task

#: How long a busy machine may take, in seconds.
PATIENCE = 60.0


def test_a_task_is_delivered_unchanged_from_its_stages_topic(harness: Harness) -> None:
    for stage in Stage:
        harness.backend.bus.publish_task(task(recording(), stage))
    for stage in Stage:
        assert harness.pull_tasks(stage) == [task(recording(), stage)]


def test_completions_are_received_as_published(backend: Backend) -> None:
    published = [completion(recording(number)) for number in range(3)]
    for one in published:
        backend.bus.publish_completion(one)
    received = list(islice(backend.completions.receive(timeout=PATIENCE), len(published)))
    assert list(backend.completions.receive(timeout=1)) == []
    assert sorted(received, key=lambda one: one.id) == sorted(published, key=lambda one: one.id)


def test_a_completion_is_acknowledged_when_received_and_the_others_stay(backend: Backend) -> None:
    for number in range(2):
        backend.bus.publish_completion(completion(recording(number)))
    first = next(iter(backend.completions.receive(timeout=PATIENCE)))
    second = next(iter(backend.completions.receive(timeout=PATIENCE)))
    assert list(backend.completions.receive(timeout=1)) == []
    assert first != second


def test_receiving_ends_when_nothing_comes(backend: Backend) -> None:
    began = time.monotonic()
    assert list(backend.completions.receive(timeout=0.5)) == []
    assert 0.4 < time.monotonic() - began < PATIENCE


@pytest.fixture
def no_letters(harness: Harness) -> Harness:
    """A backend without dead letters: all tests share the emulator's, and finding none takes seconds."""
    letters = harness.backend.dead_letters
    while found := letters.peek():
        letters.acknowledge([letter.id for letter in found])
    return harness


def peek_until(
    backend: Backend, condition: Callable[[list[Letter]], bool], *, acknowledging: Collection[str] = ()
) -> list[Letter]:
    """Acknowledge and list dead letters until the condition holds: a slow emulator may leave some out at first."""
    deadline = time.monotonic() + PATIENCE
    while True:
        if acknowledging:
            backend.dead_letters.acknowledge(acknowledging)
        letters = backend.dead_letters.peek()
        if condition(letters) or time.monotonic() > deadline:
            return letters


def test_a_dead_letter_has_the_task_and_stays_however_often_it_is_listed(no_letters: Harness) -> None:
    no_letters.publish_dead_letter(task(recording()))
    (letter,) = peek_until(no_letters.backend, lambda letters: len(letters) == 1)
    assert letter.task == task(recording())
    assert letter.deliveries == 5
    assert abs((datetime.now(UTC) - letter.at).total_seconds()) < 2 * PATIENCE
    assert peek_until(no_letters.backend, lambda letters: len(letters) == 1) == [letter]


def test_dead_letters_are_listed_oldest_first_until_acknowledged(no_letters: Harness) -> None:
    made = [task(recording(number)) for number in range(3)]
    for one in made:
        no_letters.publish_dead_letter(one)
    first, second, third = peek_until(no_letters.backend, lambda letters: len(letters) == 3)
    assert [letter.task for letter in (first, second, third)] == made
    gone = [first.id, third.id, "0"]
    assert peek_until(no_letters.backend, lambda letters: letters == [second], acknowledging=gone) == [second]
    assert peek_until(no_letters.backend, lambda letters: letters == [], acknowledging=[second.id]) == []
    no_letters.backend.dead_letters.acknowledge([second.id])
