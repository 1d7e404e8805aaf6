"""Counting words on real speech (`make bench-words`): the list of references, word errors, lost and invented words."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import references, scores, words
from benchmarks.references import NoReferences, Reference
from benchmarks.scores import Heard, Lost, Normaliser, Score
from benchmarks.words import Recording, Results

ENGLISH = Normaliser({"colour": "color"})


def listed(folder: Path, rows: Sequence[dict[str, str]]) -> Path:
    with (folder / references.LIST).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


# --------------------------------------------------------------------------------------------------- references


@pytest.mark.parametrize(
    "header",
    [
        ("file", "transcript", "lang"),
        ("path", "text", "language"),
        ("File", " Reference ", "LANG"),
    ],
)
def test_columns_are_found_by_name(header: tuple[str, str, str]) -> None:
    found, skipped = references.usable(header, [dict(zip(header, ("a/b.wav", "Guten Tag", "de"), strict=True))])
    assert found == [Reference("a/b.wav", "Guten Tag", "de", "a")]
    assert not skipped


def test_file_takes_precedence_over_path() -> None:
    row = {"path": "upstream.wav", "file": "here.wav", "transcript": "yes", "lang": "en"}
    (found,), _ = references.usable(list(row), [row])
    assert found.file == "here.wav"


def test_a_missing_column_is_named() -> None:
    with pytest.raises(NoReferences, match=r"no column lang or language; it has: file, text"):
        references.usable(["file", "text"], [])


def test_the_set_is_the_column_or_else_the_folder() -> None:
    rows = [
        {"file": "calls/a.wav", "text": "yes", "lang": "en", "set": "telephone"},
        {"file": "calls/b.wav", "text": "yes", "lang": "en", "set": ""},
        {"file": "c.wav", "text": "yes", "lang": "en", "set": ""},
    ]
    found, _ = references.usable(list(rows[0]), rows)
    assert [reference.set for reference in found] == ["telephone", "calls", ""]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"ref_kind": "keyword"}, "transcript is not of the whole recording"),
        ({"text": " "}, "no file or no transcript"),
        ({"file": ""}, "no file or no transcript"),
        ({"lang": "en+de"}, "not one language that Whisper knows"),
        ({"lang": ""}, "not one language that Whisper knows"),
    ],
)
def test_rows_unfit_for_word_errors_are_skipped_and_counted(changed: dict[str, str], reason: str) -> None:
    row = {"file": "a.wav", "text": "yes", "lang": "en-GB", "ref_kind": "full"}
    found, skipped = references.usable(list(row), [row, row | changed])
    assert [reference.language for reference in found] == ["en"]
    assert skipped == {reason: 1}


def test_files_that_do_not_exist_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    row = {"file": "a.wav", "text": "yes", "lang": "en"}
    found, skipped = references.read(listed(tmp_path, [row, row | {"file": "b.wav"}]))
    assert [reference.file for reference in found] == ["a.wav"]
    assert skipped == {"no such file": 1}


def test_a_folder_without_a_list(tmp_path: Path) -> None:
    with pytest.raises(NoReferences, match=r"has no refs\.csv"):
        references.read(tmp_path)


def test_some_files_come_from_all_sets() -> None:
    every = [Reference(f"{name}{n}", "yes", "en", name) for name in "ab" for n in range(3)]
    assert [reference.file for reference in references.spread(every, 3)] == ["a0", "a1", "b0"]
    assert references.spread(every, 100) == every


# ------------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("I can't, Mr. Smith: twenty-one!", "en", "i can not mister smith 21"),
        ("Colour", "en", "color"),
        ("C'est l'été – 21 ?", "fr", "c est l été 21"),
        ("你好。", "zh", "你 好"),
        ("", "en", ""),
    ],
)
def test_texts_are_normalised_as_whisper_does(text: str, language: str, expected: str) -> None:
    assert " ".join(ENGLISH(text, language)) == expected


@pytest.mark.parametrize(
    ("given", "errors"), [("a b c", 0), ("a x c", 1), ("a c", 1), ("a b b c", 1), ("", 3), ("c b a", 2)]
)
def test_word_errors_are_the_edit_distance(given: str, errors: int) -> None:
    assert scores.word_errors(["a", "b", "c"], given.split()) == errors


def test_the_spelling_mapping_comes_from_the_model(tmp_path: Path) -> None:
    assert scores.spelling(tmp_path) == {}
    (tmp_path / "normalizer.json").write_text('{"colour": "color"}')
    assert scores.spelling(tmp_path) == {"colour": "color"}


# -------------------------------------------------------------------------------------------------------- gaps


def test_spans_are_joined_over_short_pauses() -> None:
    assert scores.joined([(3.0, 4.0), (0.0, 1.0), (1.5, 2.0)], 0.5) == [(0.0, 2.0), (3.0, 4.0)]
    assert scores.joined([(0.0, 5.0), (1.0, 2.0)], 0.0) == [(0.0, 5.0)]


def test_the_rest_of_spans() -> None:
    removed = [(-1.0, 1.0), (2.0, 3.0), (9.0, 12.0)]
    assert scores.without([(0.0, 10.0), (11.0, 11.5)], removed) == [(1.0, 2.0), (3.0, 9.0)]
    assert scores.without([(0.0, 1.0)], []) == [(0.0, 1.0)]


def test_speech_of_two_seconds_without_words_is_lost() -> None:
    speech = [(0.0, 4.0), (10.0, 11.9)]
    assert scores.lost_speech(speech, [(0.0, 1.0)]) == [Lost(1.0, 4.0, 3.0)]
    assert scores.lost_speech(speech, [(0.0, 2.5)]) == []


def test_short_pauses_do_not_hide_lost_speech() -> None:
    assert scores.lost_speech([(0.0, 1.5), (1.75, 3.0)], []) == [Lost(0.0, 3.0, 2.75)]
    assert scores.lost_speech([(0.0, 1.5), (2.2, 3.4)], []) == []


def test_words_in_long_pauses_are_outside() -> None:
    speech = [(1.0, 2.0), (2.4, 3.0), (5.0, 6.0)]
    assert scores.words_outside(speech, [(2.1, 2.3), (2.8, 3.3), (4.8, 5.2)], 6.4) == 0
    assert scores.words_outside(speech, [(0.1, 0.4), (3.2, 3.5), (6.1, 6.3)], 6.4) == 2
    assert scores.words_outside([], [(0.1, 0.4)], 1.0) == 1


# ------------------------------------------------------------------------------------------------------ results


def test_recordings_are_strung_together_with_pauses_between_them() -> None:
    parts = [np.ones(3, np.int16), np.full(2, 2, np.int16)]
    assert words.string(parts, 0.0).tolist() == [1, 1, 1, 2, 2]
    assert words.string(parts, 2 / 16000).tolist() == [1, 1, 1, 0, 0, 2, 2]


def test_a_contender_that_fails_on_a_file_continues_with_the_next() -> None:
    def transcribe(path: str) -> tuple[list[SimpleNamespace], SimpleNamespace]:
        if path == "0":
            raise ValueError("no speech")
        word = SimpleNamespace(start=0.0, end=1.0)
        return [SimpleNamespace(text=" yes", words=[word])], SimpleNamespace(language="en")

    done: list[None] = []
    recordings = [Recording(words.FILES, Reference("", "", "", ""), Path(name), 1.0, ()) for name in "01"]
    found = words._theirs(recordings, transcribe, lambda: done.append(None))
    assert found == [Heard(failure="ValueError"), Heard("yes", "en", ((0.0, 1.0),))]
    assert len(done) == 2


def results() -> list[words.Scored]:
    """Two recordings of speech and one of silence, in which only batched finds every word and no other."""
    recordings = [
        Recording(words.FILES, Reference("a.wav", "one two | three four", "fr", "x"), Path("0"), 5.0, ((0.0, 4.0),)),
        Recording(words.FILES, Reference("b.wav", "Hello", "en", "y"), Path("1"), 1.0, ((0.0, 1.0),)),
        Recording(words.SILENCE, Reference("hold.wav", "", "", ""), Path("2"), 9.0, ()),
    ]
    hello = Heard("hello", "en", ((0.0, 1.0),))
    heard = {
        "ours": [Heard("one", "it", ((0.0, 1.0),), ("low",)), hello, Heard("Thank you.", "en", ((1.0, 2.0),))],
        "batched": [Heard("One two three four.", "fr", ((0.0, 4.0),)), hello, Heard(failure="ValueError")],
    }
    return list(words.scored(recordings, Results(heard), ENGLISH))


def test_results_are_summed_by_language_and_set() -> None:
    rows = words.rows(results())
    assert [(row["language"], row["set"], row["contender"], row["errors"]) for row in rows] == [
        ("fr", "x", "ours", 3),
        ("fr", "x", "batched", 0),
        ("en", "y", "ours", 0),
        ("en", "y", "batched", 0),
        ("all", "", "ours", 3),
        ("all", "", "batched", 0),
    ]
    assert rows[4] | {"kind": "files"} == rows[4]
    assert (rows[4]["words"], rows[4]["rate"], rows[4]["wrong_languages"]) == (5, 0.6, 1)
    assert (rows[4]["lost_seconds"], rows[4]["unreported_seconds"]) == (3.0, 0.0)


def test_words_invented_in_silence_are_counted() -> None:
    found = [(row["contender"], row["words"], row["failure"]) for row in words.silence_rows(results())]
    assert found == [("ours", 2, None), ("batched", 0, "ValueError")]


def test_texts_are_in_the_details_and_not_in_the_tables() -> None:
    every = results()
    details = words.details(every)
    assert "a.wav (files), ours: 3 of 4 words, batched 0" in details
    assert "- batched: One two three four." in details
    assert "1.00 to 4.00 s; cautions: low" in details
    assert "hold.wav (silence), ours: Thank you." in details
    content = {
        "machine": {"cores": 2, "cpu": "x"},
        "model": {"name": "base", "compute_type": "int8", "device": "cpu", "threads": 2},
        "spelling": "none",
        "skipped": {"no such file": 1},
        "audio_seconds": 15.0,
        "wall": {"ours": 3.0},
        "rows": words.rows(every),
        "silence": words.silence_rows(every),
    }
    table = words.markdown(content)
    assert "| fr | x | 1 | 4 | ours | 3 | 75.00 | 1 | 3.0 | 0.0 | 0 | 0 |" in table
    assert "1 (no such file)" in table
    assert "Thank you" not in table


def test_scores_add_up() -> None:
    assert scores.total([Score(1, 2, 1), Score(1, 3, 0, 1)]) == Score(2, 5, 1, 1)
    assert scores.total([]).rate == 0.0
