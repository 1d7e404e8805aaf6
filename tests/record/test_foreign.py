"""A language that the emotion model did not learn is told by the join, which alone knows both."""

from __future__ import annotations

import csv
import io
from itertools import permutations

import pytest

from speechpipe.contract import Emotions, Language, LanguageSeconds, Partial, Record, Stage, Transcript, Vocabulary
from speechpipe.record.artifacts import render
from speechpipe.record.combine import combine
from speechpipe.record.exports import to_csv
from tests.doubles import EMOTIONS, TRANSCRIPT, VOCABULARY
from tests.record.test_combine import partial, recording


def joined(spoken: dict[str, float], card: tuple[str, ...], emotions: Emotions = EMOTIONS) -> Record:
    """The record of a transcript with seconds of languages, the first being the recording's, and a model's card."""
    main = Language(code=next(iter(spoken)), confidence=0.9) if spoken else None
    seconds = tuple(LanguageSeconds(code=code, seconds=each) for code, each in spoken.items())
    transcript = TRANSCRIPT.model_copy(update={"language": main, "languages": seconds})
    stt, ser = partial(Stage.STT, value=transcript), with_card(partial(Stage.SER, value=emotions), card)
    records = [combine(recording(), dict(each)) for each in permutations([(Stage.STT, stt), (Stage.SER, ser)])]
    assert records[0] is not None
    assert records[0] == records[1]
    return records[0]


def with_card(ser: Partial, languages: tuple[str, ...]) -> Partial:
    assert ser.analysis
    model = ser.analysis.model.model_copy(update={"languages": languages})
    return ser.model_copy(update={"analysis": ser.analysis.model_copy(update={"model": model})})


def told(record: Record) -> list[tuple[str, str]]:
    return [(caution.code, caution.message) for caution in record.warnings]


def test_a_language_outside_the_models_card_is_told_with_its_seconds() -> None:
    record = joined({"pl": 20.4, "en": 31.0}, ("de", "en"))
    message = "the emotion model's card lists 'de', 'en' only, but the recording has 20 s of 'pl'"
    assert told(record) == [("language_unknown_to_model", message)]
    model = record.halves[Stage.SER].model
    assert model
    assert model.languages == ("de", "en")


def test_every_such_language_is_in_one_caution_and_a_short_passage_in_none() -> None:
    [(_, message)] = told(joined({"en": 31.0, "pl": 20.0, "cy": 2.0}, ("de",)))
    assert message.endswith(", but the recording has 31 s of 'en' and 20 s of 'pl'")
    assert told(joined({"de": 31.0, "cy": 2.0}, ("de",))) == []


def test_a_short_recording_counts_however_short_it_is() -> None:
    assert len(told(joined({"pl": 1.5}, ("de",)))) == 1


@pytest.mark.parametrize(
    ("spoken", "card"), [({"de": 9.0}, ("de",)), ({"pl": 9.0}, ()), ({}, ("de",))], ids=["known", "no card", "no words"]
)
def test_nothing_is_told_if_the_language_is_on_the_card_or_either_is_unknown(
    spoken: dict[str, float], card: tuple[str, ...]
) -> None:
    assert told(joined(spoken, card)) == []


def test_nothing_is_told_about_emotions_that_are_not_there() -> None:
    assert told(joined({"pl": 9.0}, ("de",), EMOTIONS.model_copy(update={"windows": ()}))) == []


def test_a_transcript_of_before_that_names_only_its_language_is_told() -> None:
    old = Transcript(language=Language(code="pl", confidence=1), segments=TRANSCRIPT.segments, speech_seconds=7)
    ser = with_card(partial(Stage.SER), ("de",))
    record = combine(recording(), {Stage.STT: partial(Stage.STT, value=old), Stage.SER: ser})
    assert record
    assert [message.rpartition(", but ")[2] for _, message in told(record)] == ["the recording has 7 s of 'pl'"]


# --------------------------------------------------------------------------------- calibrated or not, for who reads


@pytest.mark.parametrize("calibrated", [True, False])
def test_report_table_and_record_say_whether_confidence_is_calibrated(calibrated: bool) -> None:
    vocabulary = VOCABULARY.model_copy(update={"calibrated": calibrated})
    record = joined({"en": 9.0}, (), EMOTIONS.model_copy(update={"vocabulary": vocabulary}))
    files = {file.name: file.body.decode() for file in render(record)}
    assert f'"calibrated":{str(calibrated).lower()}' in files["record.json"].replace(" ", "")
    assert ("The confidence of an emotion is uncalibrated" in files["report.html"]) is not calibrated
    assert ("The confidence of an emotion was fitted" in files["report.html"]) is calibrated
    rows = list(csv.DictReader(io.StringIO(to_csv(record))))
    assert {row["emotion_calibrated"] for row in rows if row["emotion"]} == {str(calibrated)}


def test_a_vocabulary_of_before_is_uncalibrated() -> None:
    old = VOCABULARY.model_dump(exclude={"calibrated"})
    assert not Vocabulary.model_validate(old).calibrated
