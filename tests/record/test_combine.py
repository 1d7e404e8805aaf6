from __future__ import annotations

from datetime import timedelta
from itertools import permutations

import pytest

from speechpipe.contract import (
    Analysis,
    Audio,
    Caution,
    Cost,
    Emotions,
    Failure,
    Half,
    HalfStatus,
    LanguageSeconds,
    Model,
    Options,
    Partial,
    Recording,
    Stage,
    Status,
    Transcript,
)
from speechpipe.contract.errors import ErrorCode
from speechpipe.record.combine import combine, newest
from tests.doubles import AUDIO, EMOTIONS, START, TRANSCRIPT, segment, source

MODEL = Model(name="m", revision="abc", engine="e 1")


def recording(options: Options | None = None) -> Recording:
    return Recording(
        id=source().recording_id,
        source=source(),
        options=options or Options(),
        results_uri="gs://results/x/r1",
        queued_at=START,
        deadline_at=START + timedelta(days=1),
        halves={stage: Half(status=HalfStatus.QUEUED) for stage in Stage},
    )


def partial(
    stage: Stage,
    failure: ErrorCode | None = None,
    *,
    revision: int = 1,
    value: Transcript | Emotions | None = None,
    audio: Audio = AUDIO,
    cautions: tuple[Caution, ...] = (),
) -> Partial:
    value = value or (TRANSCRIPT if stage == Stage.STT else EMOTIONS)
    analysis = Analysis(value=value, audio=audio, model=MODEL, compute_seconds=1.5, cautions=cautions)
    return Partial(
        recording_id=source().recording_id,
        revision=revision,
        stage=stage,
        attempt=2,
        started_at=START + timedelta(seconds=1),
        finished_at=START + timedelta(seconds=3 if stage == Stage.STT else 5),
        analysis=None if failure else analysis,
        failure=Failure(code=failure, message="because") if failure else None,
    )


def test_both_halves_make_a_completed_record() -> None:
    record = combine(recording(), {s: partial(s) for s in Stage})
    assert record is not None
    assert record.status == Status.COMPLETED
    assert record.text == "where is my order it is late"
    assert [s.emotion.top for s in record.segments if s.emotion] == ["neutral", "anger"]
    assert record.summary.dominant_emotion == "neutral"
    assert record.summary.words == 7
    assert record.summary.speech_seconds == 3.5
    assert record.audio == AUDIO
    assert record.timing.completed_at == START + timedelta(seconds=5)
    assert record.timing.compute_seconds == 3.0
    assert {half.status for half in record.halves.values()} == {HalfStatus.COMPLETED}
    assert record.halves[Stage.SER].attempts == 2
    assert record.halves[Stage.SER].model == MODEL
    assert record.artifacts.vtt == "gs://results/x/r1/transcript.vtt"


def test_one_half_alone_is_not_enough() -> None:
    for stage in Stage:
        assert combine(recording(), {stage: partial(stage)}) is None


def test_the_transcript_is_enough_if_emotion_is_off() -> None:
    record = combine(recording(Options(emotion="off")), {Stage.STT: partial(Stage.STT)})
    assert record is not None
    assert record.status == Status.COMPLETED
    assert record.halves[Stage.SER].status == HalfStatus.SKIPPED
    assert record.emotion_windows == ()
    assert record.artifacts.emotion_vtt is None


@pytest.mark.parametrize(
    ("stt", "ser", "status", "code"),
    [
        (None, "timeout", Status.PARTIAL, "timeout"),
        ("model_error", None, Status.PARTIAL, "model_error"),
        ("decode_failed", "decode_failed", Status.REJECTED, "decode_failed"),
        ("decode_failed", "timeout", Status.FAILED, "timeout"),
        ("model_error", "model_error", Status.FAILED, "model_error"),
    ],
)
def test_the_status_depends_on_which_halves_failed_and_why(
    stt: str | None, ser: str | None, status: Status, code: str
) -> None:
    given = {Stage.STT: stt, Stage.SER: ser}
    record = combine(recording(), {s: partial(s, ErrorCode(c) if c else None) for s, c in given.items()})
    assert record is not None
    assert record.status == status
    assert record.error is not None
    assert record.error.code.value == code
    assert record.error.stage is not None
    assert record.error.attempts == 2
    assert bool(record.text) == (stt is None)
    assert bool(record.emotion_windows) == (ser is None)


def test_rerunning_a_half_replaces_only_its_own_outcome() -> None:
    first = [partial(Stage.STT), partial(Stage.SER, ErrorCode.TIMEOUT)]
    again = partial(Stage.SER, revision=2)
    second = recording().model_copy(update={"revision": 2, "rerun": (Stage.SER,)})
    for order in permutations([*first, again]):
        assert newest(order, recording())[Stage.SER].failure is not None
        chosen = newest(order, second)
        assert chosen[Stage.SER] == again
        assert chosen[Stage.STT] == first[0]
    assert list(newest(first, second)) == [Stage.STT]  # the earlier failure no longer counts


def test_a_caution_of_both_halves_appears_once() -> None:
    silent = (Caution(code="no_speech", message="nobody speaks"),)
    record = combine(
        recording(),
        {
            Stage.STT: partial(Stage.STT, value=Transcript(), cautions=silent),
            Stage.SER: partial(Stage.SER, value=Emotions(vocabulary=EMOTIONS.vocabulary), cautions=silent),
        },
    )
    assert record is not None
    assert record.status == Status.COMPLETED
    assert record.text == ""
    assert record.warnings == silent
    assert record.summary.dominant_emotion is None


def test_split_channels_read_as_turns() -> None:
    turns = tuple(
        s.model_copy(update={"channel": i, "speaker": f"channel {i}"}) for i, s in enumerate(TRANSCRIPT.segments)
    )
    both = TRANSCRIPT.model_copy(update={"segments": turns})
    record = combine(recording(), {Stage.STT: partial(Stage.STT, value=both), Stage.SER: partial(Stage.SER)})
    assert record is not None
    assert record.text == "where is my order\nit is late"
    assert record.segments[0].emotion is not None
    assert record.segments[1].emotion is None  # the windows are on channel 0


def costing(stage: Stage, cost: Cost | None) -> Partial:
    made = partial(stage)
    assert made.analysis is not None
    return made.model_copy(update={"analysis": made.analysis.model_copy(update={"cost": cost})})


@pytest.mark.parametrize(
    ("stt", "ser", "together"),
    [
        (Cost(amount=0.25), Cost(amount=0.5), Cost(amount=0.75)),
        (Cost(amount=0.25), None, None),
        (None, None, None),
        (Cost(amount=0.25), Cost(amount=0.5, currency="EUR"), None),
    ],
)
def test_a_record_costs_the_sum_of_its_halves_if_all_have_a_cost_in_one_currency(
    stt: Cost | None, ser: Cost | None, together: Cost | None
) -> None:
    record = combine(recording(), {Stage.STT: costing(Stage.STT, stt), Stage.SER: costing(Stage.SER, ser)})
    assert record is not None
    assert record.cost == together
    assert [record.halves[stage].cost for stage in (Stage.STT, Stage.SER)] == [stt, ser]


def test_a_failed_half_leaves_the_cost_of_the_other() -> None:
    failed = partial(Stage.SER, ErrorCode.MODEL_ERROR)
    record = combine(recording(), {Stage.STT: costing(Stage.STT, Cost(amount=0.25)), Stage.SER: failed})
    assert record is not None
    assert record.cost == Cost(amount=0.25)


def test_a_record_says_which_languages_are_spoken_and_keeps_omitted_segments_out_of_its_text() -> None:
    spoken, unsure = segment(0.0, 1.0, "where is it"), segment(2.0, 2.2, "thank you")
    languages = (LanguageSeconds(code="en", seconds=3.0), LanguageSeconds(code="de", seconds=0.5))
    transcript = Transcript(language=TRANSCRIPT.language, languages=languages, segments=(spoken,), omitted=(unsure,))
    record = combine(recording(), {Stage.STT: partial(Stage.STT, value=transcript), Stage.SER: partial(Stage.SER)})
    assert record is not None
    assert record.languages == languages
    assert record.omitted_segments == (unsure,)
    assert record.text == "where is it"
    assert [one.text for one in record.segments] == ["where is it"]
