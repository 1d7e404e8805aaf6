"""A recording's way through Whisper, with a model that is told what it hears."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from speechpipe.contract import Language, Options
from tests.workers.whisper.segments import found
from workers.audio.chunks import Chunk
from workers.audio.decoder import SAMPLE_RATE
from workers.audio.vad import Span
from workers.whisper.languages import MIN_RIVAL_OF_ALL, SURE
from workers.whisper.rows import WINDOW_FRAMES, Row, RowResult
from workers.whisper.transcription import MAX_RETRIES, VOTES, Channel, Transcription

#: What the model says about a row, from the seconds of the recording that the row holds.
Hears = Callable[[Row, float, float], RowResult]


def chunk(start: float, end: float) -> Chunk:
    """Speech without padding. Every sample is the tenth of a second of the recording that it is in."""
    samples = (np.arange(round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)) // 1600).astype(np.int16)
    return Chunk(0, Span(start, end), samples, (Span(start, end),))


class Model:
    """Takes the place of rows and batcher. A row is transcribed when it is submitted."""

    def __init__(
        self,
        languages: dict[tuple[float, float], tuple[str, float]],
        words: Hears,
        rival: tuple[str, float] = ("la", 0.01),
    ) -> None:
        """`languages`: the likeliest by seconds of the recording; `rival`: the second of all rows."""
        self._languages, self._words, self._rival = languages, words, rival
        self.rows: list[tuple[Row, float, float]] = []

    def row(self, samples: Any, **known: Any) -> Row:
        return Row(samples, **{"window": WINDOW_FRAMES, **known})

    def submit(self, row: Row) -> Future[RowResult]:
        start, end = int(row.samples[0]) / 10, int(row.samples[-1]) / 10 + 0.1
        self.rows.append((row, start, end))
        future: Future[RowResult] = Future()
        if row.language is None:
            middle = (start + end) / 2
            shares = next(share for (first, last), share in self._languages.items() if first <= middle < last)
            future.set_result(RowResult(languages=(shares, self._rival), encoded=np.zeros((1, 1), np.float32)))
        else:
            future.set_result(self._words(row, start, end))
        return future

    def result(self, future: Future[RowResult]) -> RowResult:
        return future.result()

    @property
    def transcribed(self) -> list[tuple[float, float, str | None]]:
        """The rows that were asked for words: seconds and language."""
        return [(start, round(end, 1), row.language) for row, start, end in self.rows if row.language]


def everything(row: Row, start: float, end: float) -> RowResult:
    """A word every half second."""
    times = [(at / 2, at / 2 + 0.5) for at in range(int(row.seconds * 2))]
    return RowResult(segments=(found(*times),))


def nothing_at(*holes: tuple[float, float], **changes: Any) -> Hears:
    """Words that begin in these seconds of the recording are passed over, for rows of one chunk after another."""

    def hears(row: Row, start: float, end: float) -> RowResult:
        times = [(at / 2, at / 2 + 0.5) for at in range(int(row.seconds * 2))]
        tenths = row.samples
        kept = [
            (a, b)
            for a, b in times
            if not any(first <= int(tenths[int(a * SAMPLE_RATE)]) / 10 < last for first, last in holes)
        ]
        return RowResult(segments=(found(*kept, **changes),) if kept else ())

    return hears


def run(
    model: Model, *chunks: Chunk, row_seconds: float = 10.0, hints: tuple[int, ...] = (), **options: Any
) -> Channel:
    rows: Any = model
    transcription = Transcription(
        rows,
        rows,
        Options(**options),
        languages=True,
        hints=hints,
        row_seconds=row_seconds,
        on_progress=lambda: None,
    )
    for each in chunks:
        transcription.add(each)
    transcription.finish()
    return transcription.channels[0]


def words(channel: Channel) -> int:
    return sum(len(said.segment.words) for said in channel.said)


ENGLISH = {(0.0, 1e9): ("en", 0.95)}
FIVES = [chunk(at, at + 5) for at in range(0, 40, 5)]


def test_a_recording_in_one_language_is_transcribed_in_full_rows() -> None:
    model = Model(ENGLISH, everything)
    channel = run(model, *FIVES)
    assert model.transcribed == [(at, at + 10, "en") for at in range(0, 40, 10)]
    assert len(model.rows) == 8  # each row for its language, and for its words
    assert [row.encoded is not None for row, _, _ in model.rows if row.language] == [True] * 4
    assert words(channel) == 80
    assert channel.voted == Language(code="en", confidence=0.95)
    assert channel.language_seconds == {"en": 40}
    assert channel.gaps == []


def test_a_recording_that_changes_its_language_is_transcribed_in_both() -> None:
    model = Model({(0, 20): ("en", 0.95), (20, 40): ("de", 0.95)}, everything)
    channel = run(model, *FIVES)
    assert channel.language_seconds == {"en": 20, "de": 20}
    assert {said.language for said in channel.said if said.segment.end <= 20} == {"en"}
    assert {said.language for said in channel.said if said.segment.start >= 20} == {"de"}
    assert words(channel) == 80


def test_a_language_may_change_inside_a_row() -> None:
    model = Model({(0, 15): ("en", 0.95), (15, 40): ("de", 0.95)}, everything)
    channel = run(model, *FIVES)
    assert sorted(model.transcribed) == [
        (0, 10, "en"),
        (10, 15, "en"),
        (15, 20, "de"),
        (20, 30, "de"),
        (30, 40, "de"),
    ]
    assert channel.language_seconds == {"en": 15, "de": 25}


def test_one_row_that_is_unsure_of_another_language_stays_in_that_of_the_recording() -> None:
    model = Model({(0, 18): ("en", 0.95), (18, 27): ("cy", 0.6), (27, 36): ("en", 0.95)}, everything)
    nines = [chunk(at, at + 9) for at in range(0, 36, 9)]
    assert run(model, *nines).language_seconds == {"en": 36}


def test_one_row_that_is_sure_of_another_language_is_in_it() -> None:
    model = Model({(0, 18): ("en", 0.95), (18, 27): ("cy", 0.9), (27, 36): ("en", 0.95)}, everything)
    nines = [chunk(at, at + 9) for at in range(0, 36, 9)]
    assert run(model, *nines).language_seconds == {"en": 27, "cy": 9}


def test_two_rows_that_are_unsure_of_the_same_other_language_are_in_it() -> None:
    model = Model({(0, 18): ("en", 0.95), (18, 36): ("cy", 0.6), (36, 45): ("en", 0.95)}, everything)
    nines = [chunk(at, at + 9) for at in range(0, 45, 9)]
    assert run(model, *nines).language_seconds["cy"] >= 9


def test_a_short_row_stays_in_the_language_of_the_recording() -> None:
    model = Model({(0, 18): ("en", 0.95), (18, 30): ("cy", 0.99)}, everything)
    assert run(model, chunk(0, 9), chunk(9, 18), chunk(18, 19.5)).language_seconds == {"en": 19.5}


@pytest.mark.parametrize(
    ("share", "rival", "likelier", "language"),
    [
        (0.5, 0.4, "de", "de"),  # the rival reads better
        (0.5, 0.4, "en", "en"),
        (0.5, 0.4, None, "en"),  # no difference
        (0.5, MIN_RIVAL_OF_ALL - 0.01, "de", "en"),  # no rival
        (SURE, 0.19, "de", "en"),  # no doubt
    ],
)
def test_an_unsure_vote_is_decided_by_what_reads_better(
    share: float, rival: float, likelier: str | None, language: str
) -> None:
    def hears(row: Row, start: float, end: float) -> RowResult:
        return nothing_at(avg_logprob=-0.2 if row.language == likelier else -0.5)(row, start, end)

    model = Model({(0.0, 1e9): ("en", share)}, hears, rival=("de", rival))
    channel = run(model, chunk(0, 9))
    assert {said.language for said in channel.said} == {language}
    assert words(channel) == 18  # nothing is shown twice
    assert channel.voted == Language(code=language, confidence=share if language == "en" else rival)


def test_a_given_language_is_not_put_to_the_test() -> None:
    model = Model({(0.0, 1e9): ("en", 0.5)}, everything, rival=("de", 0.4))
    run(model, chunk(0, 9), language="en")
    assert model.transcribed == [(0, 9, "en")]


def test_a_given_language_is_used_for_all_and_a_few_rows_tell_what_it_sounds_like() -> None:
    model = Model({(0.0, 1e9): ("de", 0.95)}, everything)
    channel = run(model, *FIVES, language="en")
    assert {language for _, _, language in model.transcribed} == {"en"}
    assert channel.language_seconds == {"en": 40}
    assert channel.voted == Language(code="de", confidence=0.95)
    assert sum(row.language is None for row, _, _ in model.rows) == VOTES


@pytest.mark.parametrize("hole", [(0.0, 5.0), (12.0, 16.0), (3.0, 14.0), (35.0, 40.0), (0.0, 40.0)])
def test_speech_that_never_gets_words_is_tried_again_and_then_named(hole: tuple[float, float]) -> None:
    model = Model(ENGLISH, nothing_at(hole))
    channel = run(model, *FIVES)
    assert words(channel) == 80 - 2 * (hole[1] - hole[0])
    named = sum(gap.length for gap in channel.gaps)
    assert named == pytest.approx(hole[1] - hole[0], abs=1.5)
    assert all(hole[0] - 0.5 <= gap.start < gap.end <= hole[1] + 0.5 for gap in channel.gaps)
    assert len(model.transcribed) <= 4 + 4 * 10  # no endless attempts


def test_speech_that_gets_words_by_itself_is_put_in_order_and_leaves_no_gap() -> None:
    """As Whisper does: in a full row it passes over four seconds, which it transcribes by themselves."""

    def hears(row: Row, start: float, end: float) -> RowResult:
        return (nothing_at((12.0, 16.0)) if row.seconds > 6 else everything)(row, start, end)

    model = Model(ENGLISH, hears)
    channel = run(model, *FIVES)
    assert channel.gaps == []
    starts = [word.start for said in channel.said for word in said.segment.words]
    assert starts == sorted(starts)
    assert len(starts) >= 79
    assert channel.language_seconds == {"en": 40}  # no second counts twice


@pytest.mark.parametrize(
    "changes", [{"avg_logprob": -0.9}, {"no_speech_prob": 0.9, "avg_logprob": -0.3}], ids=["unlikely", "no-speech"]
)
def test_text_that_another_attempt_invents_is_not_believed(changes: dict[str, Any]) -> None:
    """Two words in two seconds that the model itself doubts."""

    def hears(row: Row, start: float, end: float) -> RowResult:
        if row.seconds > 6:
            return nothing_at((12.0, 14.0))(row, start, end)
        return RowResult(segments=(found((0.2, 0.9), (0.9, 1.6), text="Thank you.", **changes),))

    channel = run(Model(ENGLISH, hears), *FIVES)
    assert "Thank you." not in " ".join(said.segment.text for said in channel.said)
    assert [(round(gap.start), round(gap.end)) for gap in channel.gaps] == [(12, 14)]


def test_a_row_that_reaches_the_models_limit_is_cut_in_two_until_it_does_not() -> None:
    def hears(row: Row, start: float, end: float) -> RowResult:
        whole = everything(row, start, end)
        if row.seconds <= 6:
            return whole
        [segment] = whole.segments
        return RowResult(segments=(replace(segment, words=segment.words[:8]),), truncated=True)

    model = Model(ENGLISH, hears)
    channel = run(model, *FIVES, row_seconds=20.0)
    assert words(channel) == 80  # two a second for 40 s, none of them twice
    assert channel.gaps == []
    assert [round(seconds, 1) for seconds in channel.language_seconds.values()] == [40.0]
    assert (0.0, 10.0, "en") in model.transcribed
    starts = [said.segment.start for said in channel.said]
    assert starts == sorted(starts)


def test_one_chunk_that_reaches_the_models_limit_keeps_its_words() -> None:
    def hears(row: Row, start: float, end: float) -> RowResult:
        return replace(everything(row, start, end), truncated=True)

    channel = run(Model(ENGLISH, hears), chunk(0, 5))
    assert words(channel) == 10


def test_hints_are_only_for_the_first_attempt() -> None:
    model = Model(ENGLISH, nothing_at((10.0, 15.0)))
    run(model, *FIVES, hints=(1, 2))
    asked = {(start, round(end, 1)): row.hints for row, start, end in model.rows if row.language}
    assert asked[10.0, 20.0] == (1, 2)
    assert asked[10.0, 15.0] == ()


def test_rows_whose_hints_were_removed_are_remembered_by_their_place() -> None:
    def hears(row: Row, start: float, end: float) -> RowResult:
        return replace(everything(row, start, end), hints_removed=start == 10.0)

    channel = run(Model(ENGLISH, hears), *FIVES, hints=(1, 2))
    assert channel.unhinted == [Span(10.0, 20.0)]


def test_nothing_is_tried_more_often_than_allowed() -> None:
    model = Model(ENGLISH, nothing_at((0.0, 10.0)))
    run(model, chunk(0, 4))
    assert len(model.transcribed) == 1 + MAX_RETRIES


def test_channels_progress_to_the_end_of_their_speech() -> None:
    assert run(Model(ENGLISH, nothing_at((35.0, 40.0))), *FIVES).transcribed_until == 40


def test_a_language_that_only_another_attempt_finds_counts_too() -> None:
    def hears(row: Row, start: float, end: float) -> RowResult:
        return (nothing_at((12.0, 16.0)) if row.seconds > 6 else everything)(row, start, end)

    languages = {(0.0, 13.0): ("en", 0.95), (13.0, 14.5): ("de", 0.95), (14.5, 1e9): ("en", 0.95)}
    channel = run(Model(languages, hears), *FIVES)
    assert {said.language for said in channel.said} == {"en", "de"}
    assert set(channel.language_seconds) == {"en", "de"}


def test_one_row_of_several_pieces_that_are_unsure_of_another_language_stays_in_that_of_the_recording() -> None:
    model = Model({(0, 20): ("en", 0.95), (20, 30): ("cy", 0.6), (30, 40): ("en", 0.95)}, everything)
    assert run(model, *FIVES).language_seconds == {"en": 40}


def test_no_word_spans_a_pause_inside_a_chunk() -> None:
    """Whisper base writes a word of six seconds where somebody says "yes" every two seconds."""
    speech = (Span(0, 1), Span(2.9, 4))
    whole = replace(chunk(0, 4), speech=speech)
    model = Model(ENGLISH, lambda row, start, end: RowResult(segments=(found((0.2, 3.5), (3.5, 3.9)),)))
    for said in run(model, whole).said:
        for word in said.segment.words:
            assert not (word.start < speech[0].end and word.end > speech[1].start)
