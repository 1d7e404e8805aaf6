"""What every bus promises (`ports.Bus`, `ports.Completions`)."""

from __future__ import annotations

import time

from speechpipe.contract import Stage
from speechpipe.ports import Backend
from tests.contract.conftest import Ready
from tests.contract.examples import completion, recording, task


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
