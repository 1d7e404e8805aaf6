"""Rows in a batch, by the bundled toy model on real CTranslate2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from faster_whisper import WhisperModel  # type: ignore[import-untyped]
from numpy.typing import NDArray

from tests.media import SAMPLES, samples, words
from tests.workers.audio.media import decode
from workers.audio.decoder import SAMPLE_RATE
from workers.models.choice import TOY_MODELS
from workers.whisper import checks, hints
from workers.whisper.checks import ATTEMPTS
from workers.whisper.rows import WINDOW_FRAMES, Row, RowResult, WhisperRows


class Counting:
    """A CTranslate2 model that counts the rows in each call of its methods."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.calls: list[tuple[str, int]] = []
        self.options: list[dict[str, Any]] = []  #: the named arguments of each call of `generate`

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._model, name)
        if name not in ("encode", "generate", "align", "detect_language"):
            return method

        def counted(rows: Any, *arguments: Any, **named: Any) -> Any:
            self.calls.append((name, rows.shape[0]))
            if name == "generate":
                self.options.append(named)
            return method(rows, *arguments, **named)

        return counted

    def count(self, name: str) -> list[int]:
        """The number of rows in each call of a method."""
        return [rows for called, rows in self.calls if called == name]


@pytest.fixture(scope="module")
def model() -> Any:
    loaded = WhisperModel(str(TOY_MODELS / "whisper"), device="cpu", compute_type="float32", cpu_threads=1)
    loaded.model = Counting(loaded.model)
    return loaded


@pytest.fixture(params=[False, True], ids=["plain", "timestamps"])
def rows(model: Any, request: pytest.FixtureRequest) -> WhisperRows:
    model.model.calls.clear()
    return WhisperRows(model, timestamps=request.param)


def sentences(count: int) -> list[tuple[NDArray[np.int16], str]]:
    """Sentences from several samples: audio and text."""
    found = []
    for sample in samples():
        if sample["channels"] == 1:
            audio = (decode(SAMPLES / sample["file"], max_seconds=100).samples[0] * 32768).astype(np.int16)
            for turn in sample["turns"]:
                first, last = (max(0, round(at * SAMPLE_RATE)) for at in (turn["start"] - 0.2, turn["end"] + 0.2))
                found.append((audio[first:last], turn["text"]))
    return found[:: len(found) // count][:count]


def texts(results: Sequence[RowResult]) -> list[list[str]]:
    return [words(" ".join(segment.text for segment in one.segments)) for one in results]


@pytest.mark.engines
def test_a_row_has_the_same_result_in_a_batch_as_alone(rows: WhisperRows) -> None:
    """Within a batch languages and tasks may differ, and hints of the same length."""
    known = [
        {"language": "en", "hints": (100, 101)},
        {"language": "de", "hints": (102, 103)},
        {"language": "en", "task": "translate", "hints": (104, 105)},
        {"language": "en", "hints": (104, 105)},
    ]
    batch = [rows.row(audio, **what) for (audio, _), what in zip(sentences(4), known, strict=True)]
    assert len({rows.key(row) for row in batch}) == 1
    together, alone = rows.run(batch), [rows.run([row])[0] for row in batch]
    assert texts(together) == texts(alone)
    for one, other in zip(together, alone, strict=True):
        assert [s.avg_logprob for s in one.segments] == pytest.approx([s.avg_logprob for s in other.segments], abs=1e-4)
        assert [(w.word, w.start, w.end) for s in one.segments for w in s.words] == [
            (w.word, w.start, w.end) for s in other.segments for w in s.words
        ]


@pytest.mark.engines
def test_word_times_are_aligned_once_for_each_start_sequence(rows: WhisperRows, model: Any) -> None:
    languages = ("en", "de", "en", "fr")
    results = rows.run(
        [rows.row(audio, language=code) for (audio, _), code in zip(sentences(4), languages, strict=True)]
    )
    assert all(segment.words for one in results for segment in one.segments)
    assert sorted(model.model.count("align")) == [1, 1, 2]


@pytest.mark.engines
def test_the_words_are_right_with_shorter_windows_too(model: Any) -> None:
    rows = WhisperRows(model, windows=(500, 1000, WINDOW_FRAMES))
    chosen = sentences(6)
    batch = [rows.row(audio, language="en") for audio, _ in chosen]
    assert {row.window for row in batch} == {500}
    assert texts(rows.run(batch)) == [words(text) for _, text in chosen]


@pytest.mark.engines
def test_a_row_is_encoded_once_for_its_language_and_its_words(rows: WhisperRows, model: Any) -> None:
    [(audio, text)] = sentences(1)
    row = rows.row(audio)
    [detected] = rows.run([row])
    assert detected.languages[0][0] == "en"
    [transcribed] = rows.run([replace(row, language="en", encoded=detected.encoded)])
    assert texts([transcribed]) == [words(text)]
    assert model.model.count("encode") == [1]


@pytest.mark.engines
def test_only_rows_that_fail_are_decoded_again_and_none_is_encoded_again(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "MIN_LOGPROB", -0.2)  # the toy model is confident in everything it says
    rows = WhisperRows(model, attempts=ATTEMPTS)
    (good, text), *others = sentences(8)
    backwards = np.concatenate([audio for audio, _ in others])[::-1]
    model.model.calls.clear()
    model.model.options.clear()
    results = rows.run([rows.row(audio, language="en") for audio in (good, backwards, others[0][0])])
    assert model.model.count("generate") == [3, 1, 1]
    assert sum(model.model.count("encode")) == 3
    assert texts(results)[0] == words(text)
    for attempt, options in zip(ATTEMPTS, model.model.options, strict=True):
        assert attempt.items() <= options.items()
        assert not any(name.startswith("sampling") for name in options)


@pytest.mark.engines
def test_a_hint_that_nobody_said_is_replaced_by_what_is_heard_without_it(
    rows: WhisperRows, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hints, "SURE", 1.1)  # even words that the sound makes certain are looked at
    (first, text), (second, other) = sentences(2)
    hint = tuple(model.hf_tokenizer.encode(f" {text}", add_special_tokens=False).ids)
    plain = rows.run([rows.row(audio, language="en") for audio in (first, second)])
    heard = rows._segments
    invented = [False]

    def insisting(asked: Any, *arguments: Any) -> list[RowResult]:
        """The model writes the hint, whoever speaks."""
        results = heard(asked, *arguments)
        if not invented[0]:
            invented[0] = True
            results[1] = replace(results[1], segments=results[0].segments)
        return results

    monkeypatch.setattr(rows, "_segments", insisting)
    model.model.calls.clear()
    results = rows.run([rows.row(audio, language="en", hints=hint) for audio in (first, second)])
    assert texts(results) == texts(plain) == [words(text), words(other)]
    assert [result.hints_removed for result in results] == [False, True]  # the first was said
    assert sum(model.model.count("encode")) == 2


@pytest.mark.engines
def test_no_row_depends_on_chance(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even one that passes no check in any attempt."""
    monkeypatch.setattr(checks, "MIN_LOGPROB", 0.0)
    rows = WhisperRows(model)
    backwards = np.concatenate([audio for audio, _ in sentences(8)])[::-1]
    once, again = (rows.run([rows.row(backwards, language="en")]) for _ in range(2))
    assert once == again
    assert once[0].segments


@pytest.mark.engines
def test_without_timestamps_a_row_is_one_segment_whose_words_have_times(model: Any) -> None:
    pieces = sentences(3)
    rows = WhisperRows(model)
    [result] = rows.run([rows.row(np.concatenate([audio for audio, _ in pieces]), language="en")])
    [segment] = result.segments
    assert segment.text == "".join(word.word for word in segment.words)
    edges = [edge for word in segment.words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert edges[-1] <= sum(len(audio) for audio, _ in pieces) / SAMPLE_RATE


@pytest.mark.engines
def test_only_rows_that_can_share_a_batch_have_the_same_key(rows: WhisperRows) -> None:
    row = Row(np.zeros(3 * SAMPLE_RATE, np.int16), language="en", hints=(1, 2))
    assert rows.key(row) == rows.key(replace(row, language="de", task="translate", hints=(3, 4)))
    for other in (replace(row, hints=(1,)), replace(row, window=500), replace(row, language=None)):
        assert rows.key(row) != rows.key(other)
