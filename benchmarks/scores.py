"""Score transcripts of real speech: word errors, lost speech, words where nobody speaks.

Words are compared after Whisper's own normalisation, as in Radford et al. 2022 (appendix C): for English it writes out
contractions, writes numbers as digits and maps spellings; for other languages it removes case, punctuation and symbols.
Languages written without spaces are compared by characters.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from rapidfuzz.distance import Levenshtein
from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

PAUSE = 0.5  #: seconds; shorter pauses belong to the speech around them
LEAST_LOST = 2.0  #: seconds of speech; shorter stretches without words are within the error of word times
#: As in Whisper's paper, and Cantonese, which Whisper learnt later.
_WITHOUT_SPACES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})

Times = tuple[float, float]  #: start and end, seconds


@dataclass(frozen=True)
class Heard:
    """A contender's transcript of one recording."""

    text: str = ""
    language: str | None = None
    words: tuple[Times, ...] = ()
    cautions: tuple[str, ...] = ()  #: codes of cautions that could be about missing words
    failure: str | None = None


@dataclass(frozen=True)
class Lost:
    """A stretch of speech without words."""

    start: float
    end: float
    speech_seconds: float


@dataclass(frozen=True)
class Score:
    """How well a transcript, or several, match their references."""

    recordings: int = 0
    words: int = 0  #: in the references
    errors: int = 0  #: words substituted, deleted and inserted
    wrong_languages: int = 0
    lost_seconds: float = 0.0  #: of speech, in stretches of LEAST_LOST or more without words
    unreported_seconds: float = 0.0  #: the part of them in recordings without a caution
    words_outside: int = 0  #: in pauses longer than PAUSE
    failures: int = 0

    @property
    def rate(self) -> float:
        """The word error rate; 0 without words."""
        return self.errors / self.words if self.words else 0.0


def total(scores: Iterable[Score]) -> Score:
    """The sum of some scores."""
    return Score(*map(sum, zip(*map(astuple, (Score(), *scores)), strict=True)))


class Normaliser:
    """Splits texts into words that can be compared."""

    def __init__(self, spelling: dict[str, str]) -> None:
        """`spelling` maps British to American spellings, as in a model's normalizer.json."""
        self._english = EnglishTextNormalizer(spelling)
        self._basic = BasicTextNormalizer()
        self._characters = BasicTextNormalizer(split_letters=True)

    def __call__(self, text: str, language: str) -> list[str]:
        """The words of a text; characters for languages without spaces."""
        if language == "en":
            return str(self._english(text)).split()
        return str((self._characters if language in _WITHOUT_SPACES else self._basic)(text)).split()


def spelling(model: Path) -> dict[str, str]:
    """The spelling mapping in a model's folder; empty if there is none."""
    path = model / "normalizer.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def word_errors(expected: Sequence[str], given: Sequence[str]) -> int:
    """The edit distance in words."""
    return int(Levenshtein.distance(expected, given))


def score(
    heard: Heard, reference: Sequence[str], given: Sequence[str], language: str, lost: Sequence[Lost], outside: int
) -> Score:
    """The score of one transcript. `reference` and `given` are the normalised words."""
    seconds = sum(stretch.speech_seconds for stretch in lost)
    return Score(
        recordings=1,
        words=len(reference),
        errors=word_errors(reference, given),
        wrong_languages=int(heard.language is not None and heard.language != language),
        lost_seconds=seconds,
        unreported_seconds=0.0 if heard.cautions else seconds,
        words_outside=outside,
        failures=int(heard.failure is not None),
    )


def joined(spans: Iterable[Times], pause: float) -> list[Times]:
    """Spans in order of time, those joined that overlap or are at most `pause` seconds apart."""
    found: list[Times] = []
    for start, end in sorted(spans):
        if found and start - found[-1][1] <= pause:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def without(spans: Iterable[Times], removed: Iterable[Times]) -> list[Times]:
    """The parts of spans that none of `removed` covers."""
    found, taken = [], joined(removed, 0.0)
    for start, end in spans:
        for first, last in taken:
            if last <= start or first >= end:
                continue
            if first > start:
                found.append((start, first))
            start = last
        if start < end:
            found.append((start, end))
    return found


def lost_speech(speech: Sequence[Times], words: Iterable[Times]) -> list[Lost]:
    """The stretches without words, or a pause longer than PAUSE, in which someone speaks for LEAST_LOST or more."""
    found = []
    for start, end in without(joined(speech, PAUSE), words):
        seconds = sum(max(0.0, min(end, last) - max(start, first)) for first, last in speech)
        if seconds >= LEAST_LOST:
            found.append(Lost(start, end, seconds))
    return found


def words_outside(speech: Sequence[Times], words: Iterable[Times], duration: float) -> int:
    """How many words lie completely in a stretch of more than PAUSE seconds without speech."""
    pauses = [(start, end) for start, end in without([(0.0, duration)], joined(speech, PAUSE)) if end - start > PAUSE]
    return sum(any(start <= first and last <= end for start, end in pauses) for first, last in words)
