"""What every bus promises (`ports.Bus`, `ports.Completions`, `ports.DeadLetters`)."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from speechpipe.backends.ports import Backend
from speechpipe.contract import Stage
from tests.backends.conftest import Ready
from tests.backends.examples import completion, recording, task


def test_a_task_comes_out_of_its_stages_topic_as_it_went_in(ready: Ready) -> None:
    for stage in Stage:
        ready.backend.bus.publish_task(task(recording(), stage))
    for stage in Stage:
        assert ready.taken(stage) == [task(recording(), stage)]


def test_completions_come_as_they_were_published(backend: Backend) -> None:
    published = [completion(recording(number)) for number in range(3)]
    for one in published:
        backend.bus.publish_completion(one)
    received = list(backend.completions.receive(timeout=1))
    assert sorted(received, key=lambda one: one.id) == sorted(published, key=lambda one: one.id)


def test_a_completion_is_acknowledged_when_it_is_taken_and_the_others_stay(backend: Backend) -> None:
    for number in range(2):
        backend.bus.publish_completion(completion(recording(number)))
    first = next(iter(backend.completions.receive(timeout=5)))
    (second,) = backend.completions.receive(timeout=1)
    assert first != second


def test_receiving_ends_when_nothing_comes(backend: Backend) -> None:
    began = time.monotonic()
    assert list(backend.completions.receive(timeout=0.5)) == []
    assert 0.4 < time.monotonic() - began < 5


@pytest.fixture
def nobody_dead(ready: Ready) -> Ready:
    """A backend without dead letters: the emulator's are of all tests, and looking for none takes seconds."""
    letters = ready.backend.dead_letters
    letters.acknowledge([letter.id for letter in letters.peek()])
    return ready


def test_a_dead_letter_is_the_task_and_stays_however_often_it_is_looked_at(nobody_dead: Ready) -> None:
    nobody_dead.bury(task(recording()))
    (letter,) = nobody_dead.backend.dead_letters.peek()
    assert letter.task == task(recording())
    assert letter.deliveries == 5
    assert abs((datetime.now(UTC) - letter.at).total_seconds()) < 60
    assert nobody_dead.backend.dead_letters.peek() == [letter]


def test_dead_letters_come_oldest_first_and_those_that_are_acknowledged_go(nobody_dead: Ready) -> None:
    made = [task(recording(number)) for number in range(3)]
    for one in made:
        nobody_dead.bury(one)
    letters = nobody_dead.backend.dead_letters
    first, second, third = letters.peek()
    assert [letter.task for letter in (first, second, third)] == made
    letters.acknowledge([first.id, third.id, "0"])
    assert letters.peek() == [second]
    letters.acknowledge([second.id])
    assert letters.peek() == []
    letters.acknowledge([second.id])
