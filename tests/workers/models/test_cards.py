"""The languages on a model's card, whatever people write there."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.models import voices
from workers.models.cards import languages_of
from workers.models.choice import TOY_MODELS


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("language: de", ("de",)),
        ("language:\n- en\n- zh\n- en", ("en", "zh")),
        ("language: [pt-BR, zh_Hant, YUE]", ("pt", "zh", "yue")),
        ("language: no", ("no",)),  # YAML reads it as false
        ("language: [nb, jv]", ("no", "jw")),
        ("language: multilingual", ()),
        ("language: [en, zho]", ()),
        ("language: {en: 1}", ()),
        ("language: 7", ()),
        ("language:", ()),
        ("license: mit", ()),
        ("language: [en", ()),
        ("- en", ()),
    ],
)
def test_languages_are_codes_as_whisper_writes_them_or_unknown(
    tmp_path: Path, given: str, expected: tuple[str, ...]
) -> None:
    (tmp_path / "README.md").write_text(f"---\n{given}\n---\n# A model\n")
    assert languages_of(tmp_path) == expected


def test_without_a_card_that_can_be_read_languages_are_unknown(tmp_path: Path) -> None:
    assert languages_of(tmp_path) == ()
    (tmp_path / "README.md").write_bytes(b"---\nlanguage: \xff\n---\n")
    assert languages_of(tmp_path) == ()
    (tmp_path / "README.md").write_text("# Only words\n")
    assert languages_of(tmp_path) == ()


def test_our_own_models_have_a_card() -> None:
    assert languages_of(voices.HEAD) == ("de",)
    assert languages_of(TOY_MODELS / "ser") == ("en",)
