"""What the console's search finds in texts of many scripts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from speechpipe.console.index import Index, Query
from speechpipe.contract import Status
from tests.backends.examples import NOW, finished, recording

TEXTS = {
    "Chinese": "今天天气很好，我们去公园散步。三分之一",
    "Japanese": "これは日本語のテストです。データ",
    "Thai": "ผมอยากกินข้าวผัด",
    "Khmer": "ខ្ញុំចង់ទៅផ្សារ",
    "Korean": "삼성전자에서 일합니다",
    "Hindi": "हिन्दी में समाचार",
    "other Hindi": "हमारे नगर का दरवाज़ा",
    "Tamil": "வணக்கம் நண்பர்களே",
    "Arabic": "السَّلامُ عليكم ورحمة الله، رقم ٤٢",
    "Persian": "می\u200cخواهم به خانه بروم",
    "Hebrew": "שָׁלוֹם עולם, בבית",
    "German": "Die Straße ist lang, co\u00adoperate, Tür",
    "English": "Order EM3985771 costs $43,000, don't wait for the party",
    "Greek": "Ο δρόμος είναι μακρύς",
    "Vietnamese": "Tôi muốn đặt hàng",
}


@pytest.fixture(scope="module")
def index() -> Iterator[Index]:
    made = Index()
    for number, (language, text) in enumerate(TEXTS.items()):
        one = finished(recording(number, name=language), Status.COMPLETED)
        one = one.model_copy(update={"expires_at": None, "options": one.options.model_copy(update={"ref": None})})
        made.upsert([one], NOW)
        made.add_transcript(one.id, one.revision, text)
    yield made
    made.close()


def found(index: Index, text: str) -> list[str]:
    """The languages whose text is found."""
    _, rows = index.search(Query(text=text), NOW + timedelta(hours=1))
    return [language for language in TEXTS if any(f'"name":"{language}"' in row for row in rows)]


@pytest.mark.parametrize(
    ("language", "searches"),
    [
        ("Chinese", ["天气", "公园", "气", "步。", "去公园散步", "好 公园"]),
        ("Japanese", ["日本語", "テスト", "ﾃｽﾄ", "データ", "語の"]),
        ("Thai", ["ข้าว", "ผัด", "อยากกิน"]),
        ("Khmer", ["ផ្សារ"]),
        ("Korean", ["전자", "삼성"]),
        ("Hindi", ["हिन्दी", "समाचार", "हिन्"]),
        ("other Hindi", ["दरवाज़ा", "दरवाजा"]),
        ("Tamil", ["நண்பர்"]),
        ("Arabic", ["سلام", "السلام", "السَّلامُ", "سـلام", "رحمة", "42", "٤٢"]),
        ("Persian", ["می\u200cخواهم", "میخواهم", "خانه"]),
        ("Hebrew", ["שלום", "שָׁלוֹם", "בית", "שלום\u200f"]),
        ("German", ["strasse", "STRASSE", "straße", "cooperate", "tur", "tür"]),
        ("English", ["3985771", "43,000", "em3985", "EM3985771", "$43,000", "don't", "don't party"]),
        ("Greek", ["ΔΡΟΜΟΣ", "δρομος"]),
        ("Vietnamese", ["muon", "hàng"]),
    ],
)
def test_words_are_found_in_every_script(index: Index, language: str, searches: list[str]) -> None:
    assert {search: found(index, search) for search in searches} == {search: [language] for search in searches}


@pytest.mark.parametrize(
    "search",
    [
        "天散",  # both characters occur, but not side by side
        "スト テ日",
        "हि नगर",  # half of हिन्दी
        "ขาว",  # a tone is no accent
        "000,43",  # both numbers occur, in the other order
        "arty",  # in scripts with spaces, a search begins where a word does
        "か",  # unlike が, of which no text has either
        "'\"*( ! ?",
        "",
    ],
)
def test_nothing_else_is_found(index: Index, search: str) -> None:
    assert found(index, search) == (list(TEXTS) if not search else [])


def test_half_of_a_hindi_word_is_not_that_word(index: Index) -> None:
    assert found(index, "हिन्दी") == ["Hindi"]
    assert found(index, "न") == ["other Hindi"]  # न begins a word there; in हिन्दी it is inside one


def test_ids_are_found_by_their_beginning(index: Index) -> None:
    one = recording(0, name="Chinese").id
    assert found(index, one) == found(index, one[:14]) == ["Chinese"]
    assert found(index, one[4:]) == []
