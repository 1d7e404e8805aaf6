"""Find hints that Whisper wrote down although nobody said them. Pure.

Hotwords and prompt come before the text as if they had been said, so the model sometimes goes on with them, most often
where the sound is unclear. Alignment gives the probability of each word from the sound alone. A hint that is unlikely
there is compared with what the model writes without hints: a word that was said stands there too, or one like it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from faster_whisper.transcribe import Segment  # type: ignore[import-untyped]

#: A hint that is at least as probable from the sound alone was said.
SURE = 0.3
#: Share of letters in which a word and what is heard without hints must agree: "Kaltblut" and "cold blood" do.
ALIKE = 1 / 3
#: Shorter words, in letters, are not looked for: they are in most texts anyway.
MIN_LETTERS = 4
#: A script whose words have no spaces between them: Chinese and Japanese, Thai.
_UNSPACED = r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]"
_WORD = re.compile(rf"{_UNSPACED}+|(?:(?!{_UNSPACED})\w)+")


def doubtful(segments: Sequence[Segment], hints: str) -> bool:
    """Whether a word of the hints is in the text that the sound makes unlikely."""
    known = set(_words(hints))
    return any(
        word.probability < SURE and any(_is_hint(part, known) for part in _words(word.word))
        for segment in segments
        for word in segment.words or ()
    )


def invented(text: str, without: str, hints: str) -> bool:
    """Whether `text` has words of the hints where `without`, written without them, has nothing like these words."""
    known, ours, bare = set(_words(hints)), _words(text), _words(without)
    for kind, first, last, start, end in difflib.SequenceMatcher(None, ours, bare, autojunk=False).get_opcodes():
        if kind == "equal" or not any(_is_hint(word, known) for word in ours[first:last]):
            continue
        letters, others = "".join(ours[first:last]), "".join(bare[start:end])
        if difflib.SequenceMatcher(None, letters, others, autojunk=False).ratio() < ALIKE:
            return True
    return False


def _is_hint(word: str, known: set[str]) -> bool:
    return word in known and (len(word) >= MIN_LETTERS or re.match(_UNSPACED, word) is not None)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
