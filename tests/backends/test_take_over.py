"""The same bytes again: what ingest and join do with every backend's store, bus and buckets."""

from __future__ import annotations

import pytest

from speechpipe.contract import Source, Stage, Status
from speechpipe.pipeline import analyses, outcomes
from speechpipe.pipeline.ingest import ingest
from speechpipe.pipeline.join import join
from speechpipe.pipeline.operations import erase
from speechpipe.pipeline.world import World
from speechpipe.settings import Limits
from tests.backends.conftest import Harness
from tests.backends.examples import LATER, partial, recording, source


def upload(harness: Harness, generation: int, metadata: dict[str, str]) -> Source:
    name = f"{id(harness)} #1.wav"  # the emulators' topics are shared by all tests
    return source(name, str(generation)).model_copy(update={"metadata": metadata})


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    "metadata", [{"ref": "7"}, {"__class__": "call", "": "x", "k" * 1501: "y"}], ids=["plain", "odd"]
)
def test_a_finished_result_is_taken_over(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, large: bool, metadata: dict[str, str]
) -> None:
    if large:
        monkeypatch.setattr(analyses, "PARTIAL_INLINE_BYTES", 10)
    world = World.over(harness.backend, Limits(), lambda: LATER)
    store = world.store
    first = ingest(upload(harness, 20, metadata), world)
    assert first is not None
    assert [task.recording_id for stage in Stage for task in harness.pull_tasks(stage)].count(first.id) == 2
    for stage in Stage:
        store.create_partial(analyses.stored(partial(first, stage), world))
    assert (joined := join(first.id, 1, world)) is not None
    assert joined.status is Status.COMPLETED

    second = ingest(upload(harness, 21, metadata), world)
    assert second is not None
    ingest(upload(harness, 21, metadata), world)  # its event once more
    assert second.same_content_as == first.id
    for stage in Stage:  # a pull waits for a task, so there is one: of the first, and none of the second before it
        world.bus.publish_task(outcomes.task_of(first, stage, LATER))
        assert [task.recording_id for task in harness.pull_tasks(stage)] == [first.id]
    assert {found.stage: found.same_content_as for found in store.partials(second.id)} == dict.fromkeys(Stage, first.id)
    erase(first.id, world, upload=False)
    assert join(second.id, 1, world) is not None
    done = store.recording(second.id)
    assert done is not None
    assert (done.status, done.same_content_as, done.source.metadata) == (Status.COMPLETED, first.id, metadata)
    assert done.result is not None
    assert done.result.text == joined.result.text  # type: ignore[union-attr]
    assert done.result.source.metadata == metadata
    unknown = {"unknown_option"} if "__class__" in metadata else set()
    assert {warning.code for warning in done.warnings} == {"no_speech"} | unknown


def test_other_bytes_are_not_taken_for_the_same(harness: Harness) -> None:
    world = World.over(harness.backend, Limits(), lambda: LATER)
    first = upload(harness, 20, {})
    ingest(first, world)
    for stage in Stage:
        world.store.create_partial(partial(recording().model_copy(update={"id": first.recording_id}), stage))
    assert join(first.recording_id, 1, world) is not None
    other = upload(harness, 21, {}).model_copy(update={"crc32c": "yZRlqg=="})
    second = ingest(other, world)
    assert second is not None
    assert second.same_content_as is None
    assert world.store.partials(second.id) == []
