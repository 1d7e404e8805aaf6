"""The same bytes once more under the same name: the finished result is taken over, whatever happens meanwhile."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from speechpipe.client.explain import history
from speechpipe.contract import Cost, Recording, Source, Stage, Status
from speechpipe.contract.errors import ErrorCode, NotFound, Rejected
from speechpipe.contract.prices import PriceTable
from speechpipe.pipeline import operations
from speechpipe.pipeline.ingest import ingest
from speechpipe.settings import Limits
from tests.doubles import TRANSCRIPT, FixedEngine, segment, source
from tests.pipeline.test_holds import wav
from tests.simulation import Crash, Simulation

PRICES = PriceTable(currency="EUR", per_hour=dict.fromkeys(Stage, 3600.0), speed=dict.fromkeys(Stage, 10.0))


def upload(generation: int = 20, *, crc32c: str | None = "yZRlqg==", **fields: Any) -> Source:
    return source(generation=str(generation), **fields).model_copy(update={"crc32c": crc32c})


def read(sim: Simulation, of: Source) -> Recording:
    recording = sim.store.recording(of.recording_id)
    assert recording is not None
    return recording


def arrive(sim: Simulation, its: Source) -> Recording:
    sim.arrive(its)
    sim.settle()
    return read(sim, its)


def runs(sim: Simulation) -> int:
    return sum(engine.runs for engine in sim.engines.values())


def tasks(sim: Simulation) -> int:
    return sum(topic.endswith("-tasks") for _, topic, _ in sim.pending())


def test_the_same_bytes_again_take_over_the_result_and_say_so() -> None:
    sim = Simulation(limits=Limits(prices=PRICES))
    first = arrive(sim, upload(20, metadata={"ref": "case-7"}))
    second = arrive(sim, upload(21, metadata={"ref": "case-8"}))  # a reference changes nothing in the result
    third = arrive(sim, upload(22, metadata={"ref": "case-8"}))
    assert runs(sim) == 2
    assert first.result is not None
    assert second.result is not None
    assert (second.status, second.supersedes) == (Status.COMPLETED, first.id)
    assert first.same_content_as is None
    assert second.same_content_as == second.result.same_content_as == first.id
    assert third.same_content_as == second.id
    for of in ("text", "segments", "languages", "emotion_windows", "summary", "audio", "warnings"):
        assert getattr(second.result, of) == getattr(first.result, of), of
    assert second.result.options.ref == "case-8"
    files = [uri for uri in sim.results.objects if second.id in uri]
    assert sorted(uri.rpartition("/")[2] for uri in files) == [
        "emotion.vtt",
        "record.json",
        "report.html",
        "transcript.srt",
        "transcript.vtt",
    ]
    events = [event.data for event in sim.completions()]
    assert [event.recording_id for event in events] == [first.id, second.id, third.id]
    assert [event.same_content_as for event in events] == [None, first.id, second.id]


def test_what_is_taken_over_took_no_work_and_cost_nothing() -> None:
    sim = Simulation(limits=Limits(prices=PRICES, max_cost_per_day=100.0))
    first, second = (arrive(sim, upload(generation)) for generation in (20, 21))
    assert first.result is not None
    assert first.result.cost == Cost(amount=0.5, currency="EUR")
    assert second.result is not None
    assert second.result.cost == Cost(amount=0, currency="EUR")
    assert second.result.timing.compute_seconds == 0
    assert second.result.timing.audio_seconds == first.result.timing.audio_seconds
    assert [half.model for half in second.halves.values()] == [half.model for half in first.halves.values()]
    assert second.quote is None
    spent = sim.store.accepted_since(first.queued_at)
    assert first.quote is not None
    assert spent.audio_seconds == first.quote.audio_seconds


def test_a_result_is_taken_over_even_over_a_cap() -> None:
    sim = Simulation()
    sim.uploads.bodies["call.wav"] = wav(60)
    size = 44 + 60 * 32_000
    arrive(sim, upload(20, size=size))
    sim.limits = Limits(max_duration=30)
    assert arrive(sim, upload(21, size=size)).status is Status.COMPLETED
    assert arrive(sim, upload(22, size=size, crc32c="AAAAAQ==")).status is Status.HELD


def test_the_history_says_where_the_result_comes_from() -> None:
    sim = Simulation()
    first, second = (arrive(sim, upload(generation)) for generation in (20, 21))
    moments = history(second, sim.store.partials(second.id), [], sim.clock())
    story = "\n".join(f"{moment.what}: {moment.detail}" for moment in moments)
    assert f"same content as {first.id}" in story
    assert f"partial: taken over from {first.id}" in story
    assert "task published" not in story


@pytest.mark.parametrize(
    "other",
    [
        {"crc32c": "AAAAAQ=="},
        {"size": 10},
        {"name": "another.wav"},
        {"metadata": {"language": "de"}},
        {"metadata": {"emotion": "off"}},
    ],
    ids=str,
)
def test_other_bytes_another_name_and_other_options_run(other: dict[str, Any]) -> None:
    sim = Simulation()
    arrive(sim, upload(20))
    second = arrive(sim, upload(21, **other))
    assert (second.status, second.same_content_as) == (Status.COMPLETED, None)
    assert runs(sim) == 2 + len(second.options.stages)


class Hashing(FixedEngine):
    """An engine that hashes what it analyses, as the decoder does."""

    def __call__(self, path: Any, options: Any, progress: Any, part: Any = None) -> Any:
        analysis = super().__call__(path, options, progress)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        return analysis.model_copy(update={"audio": analysis.audio.model_copy(update={"sha256": sha256})})


def test_without_a_checksum_as_in_a_folder_the_bytes_themselves_are_compared() -> None:
    sim = Simulation()
    sim.engines = {stage: Hashing(stage) for stage in Stage}
    first, second = (arrive(sim, upload(generation, crc32c=None)) for generation in (20, 21))
    assert second.same_content_as == first.id
    assert runs(sim) == 2
    sim.uploads.bodies["call.wav"] = b"call.WAV"
    other = arrive(sim, upload(22, crc32c=None))
    assert (other.status, other.same_content_as) == (Status.COMPLETED, None)
    assert runs(sim) == 4
    sim.uploads.gone.add("call.wav")
    gone = arrive(sim, upload(23, crc32c=None))
    assert (gone.status, gone.same_content_as) == (Status.REJECTED, None)


def test_while_the_first_runs_the_second_runs_too() -> None:
    """The first one's object has been overwritten, so the second may be the only one that can be read."""
    sim = Simulation()
    sim.arrive(upload(20))
    sim.deliver(sim.pending()[0])
    assert tasks(sim) == 2
    second = upload(21)
    ingest(second, sim.world)
    assert tasks(sim) == 4
    sim.settle()
    assert (read(sim, second).status, read(sim, second).same_content_as) == (Status.COMPLETED, None)
    sim.arrive(second)  # its event once more, now that the first has finished: its own result stays
    sim.settle()
    assert read(sim, second).same_content_as is None


def test_a_repeated_event_while_it_runs_takes_nothing_over() -> None:
    sim = Simulation()
    first, second = upload(20), upload(21)
    ingest(first, sim.world)
    of_first = [message for message in sim.pending() if first.recording_id in message[2]]
    ingest(second, sim.world)
    for message in of_first:
        sim.deliver(message)
    for message in [m for m in sim.pending() if m[1] == "partial-created"]:
        sim.deliver(message)
    assert read(sim, first).status is Status.COMPLETED
    ingest(second, sim.world)
    assert sim.store.partials(second.recording_id) == []
    sim.settle()
    assert (read(sim, second).status, read(sim, second).same_content_as) == (Status.COMPLETED, None)


@pytest.mark.parametrize(
    ("stages", "error", "status"),
    [
        (tuple(Stage), Rejected(ErrorCode.OBJECT_GONE, "gone"), Status.REJECTED),
        ((Stage.SER,), Rejected(ErrorCode.DECODE_FAILED, "damaged"), Status.PARTIAL),
    ],
)
def test_if_the_first_has_no_whole_result_the_second_runs(
    stages: tuple[Stage, ...], error: Rejected, status: Status
) -> None:
    sim = Simulation()
    for stage in stages:
        sim.engines[stage].error = error
    assert arrive(sim, upload(20)).status is status
    for engine in sim.engines.values():
        engine.error = None
    second = arrive(sim, upload(21))
    assert (second.status, second.same_content_as) == (Status.COMPLETED, None)
    assert runs(sim) == 4


def test_an_erased_result_is_not_taken_over() -> None:
    sim = Simulation()
    first = arrive(sim, upload(20))
    operations.erase(first.id, sim.world, upload=False)
    second = arrive(sim, upload(21))
    assert (second.status, second.same_content_as) == (Status.COMPLETED, None)
    assert runs(sim) == 4


def test_what_was_taken_over_survives_the_erasure_of_the_first() -> None:
    sim = Simulation()
    sim.engines[Stage.STT] = Talkative()
    first, second = (arrive(sim, upload(generation)) for generation in (20, 21))
    operations.erase(first.id, sim.world, upload=False)
    assert not [uri for uri in sim.results.objects if first.id in uri]
    operations.redrive(second.id, [Stage.SER], sim.world)  # joins with the half that was taken over
    sim.settle()
    again = read(sim, upload(21))
    assert (again.status, again.revision, again.preview) == (Status.COMPLETED, 2, second.preview)
    assert again.artifacts is not None
    assert b"word599" in sim.results.read(again.artifacts.record)


class Talkative(FixedEngine):
    """An engine whose analysis is too large for a partial."""

    def __init__(self) -> None:
        super().__init__(Stage.STT)

    def __call__(self, path: Any, options: Any, progress: Any, part: Any = None) -> Any:
        many = tuple(segment(i, i + 1, f"word{i} " * 20, i) for i in range(600))
        analysis = super().__call__(path, options, progress)
        return analysis.model_copy(update={"value": TRANSCRIPT.model_copy(update={"segments": many})})


def test_a_large_result_is_copied_into_the_folder_of_the_second() -> None:
    sim = Simulation()
    sim.engines[Stage.STT] = Talkative()
    arrive(sim, upload(20))
    second = arrive(sim, upload(21))
    stt = next(partial for partial in sim.store.partials(second.id) if partial.stage is Stage.STT)
    assert stt.analysis_uri == f"gs://results/{second.id}/r1/partials/stt.0.json"
    assert runs(sim) == 2


def test_a_half_whose_file_is_gone_runs_again() -> None:
    sim = Simulation()
    sim.engines[Stage.STT] = Talkative()
    first = arrive(sim, upload(20))
    sim.results.delete(first.id)  # as the bucket's lifecycle does
    second = arrive(sim, upload(21))
    assert (second.status, second.same_content_as) == (Status.COMPLETED, first.id)
    assert {stage: engine.runs for stage, engine in sim.engines.items()} == {Stage.STT: 2, Stage.SER: 1}
    assert [half.attempts for half in second.halves.values()] == [1, 0]


def test_redrive_runs_what_was_taken_over() -> None:
    sim = Simulation()
    first, second = (arrive(sim, upload(generation)) for generation in (20, 21))
    operations.redrive(second.id, [Stage.STT], sim.world)
    assert read(sim, upload(21)).same_content_as is None
    sim.settle()
    half = read(sim, upload(21))
    assert sim.engines[Stage.STT].runs == 2
    assert sim.engines[Stage.SER].runs == 1
    assert half.same_content_as == first.id  # its emotions are still the first one's
    operations.redrive(second.id, tuple(Stage), sim.world)
    sim.settle()
    whole = read(sim, upload(21))
    assert (whole.status, whole.revision, whole.same_content_as) == (Status.COMPLETED, 3, None)
    assert runs(sim) == 5


def test_a_crash_at_every_single_write_of_a_take_over_is_survived() -> None:
    survived = 0
    for when in ("before", "after"):
        for count in range(100):
            sim = Simulation()
            first = arrive(sim, upload(20))
            sim.crash_at = (sim._writes + 1 + count, when)
            second = arrive(sim, upload(21))
            if not sim.crashes:
                break
            survived += 1
            assert (second.status, second.same_content_as) == (Status.COMPLETED, first.id), (count, when)
            assert runs(sim) == 2, (count, when)
            assert len({event.id for event in sim.completions()}) == 2
            assert sim.results.conflicts == [], (count, when)
    assert survived >= 20


def test_a_take_over_that_is_never_continued_is_run_by_the_sweep() -> None:
    sim = Simulation()
    first = arrive(sim, upload(20))
    second = upload(21)
    sim.crash_at = (sim._writes + 1, "after")  # the recording is written, and its event never comes again
    with pytest.raises(Crash):
        ingest(second, sim.world)
    assert read(sim, second).same_content_as == first.id  # whose result it would have taken over
    sim.clock.pass_time(hours=8)
    sim.sweep()
    sim.settle()
    assert read(sim, second).status is Status.COMPLETED
    assert read(sim, second).same_content_as is None


def test_if_the_first_is_erased_before_a_take_over_continues_the_second_runs() -> None:
    sim = Simulation()
    first = arrive(sim, upload(20))
    second = upload(21)
    sim.crash_at = (sim._writes + 1, "after")  # the recording is written, and nothing else
    with pytest.raises(Crash):
        ingest(second, sim.world)
    operations.erase(first.id, sim.world, upload=False)
    recording = arrive(sim, second)
    assert (recording.status, recording.same_content_as) == (Status.COMPLETED, None)
    with pytest.raises(NotFound):
        sim.results.read(f"gs://results/{first.id}/r1/record.json")
    assert json.loads(sim.results.read(f"gs://results/{recording.id}/r1/record.json"))["same_content_as"] is None
