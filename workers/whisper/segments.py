"""Cut what was said into segments: at pauses, after sentences, and where a sentence is too long to read. Pure.

Whisper's own segments follow its timestamp tokens, without which it loses less (`rows`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from faster_whisper.transcribe import Segment, Word  # type: ignore[import-untyped]

#: Seconds. A segment never spans a longer pause.
MAX_PAUSE = 1.0
#: Seconds. A sentence shorter than this stays with the next one, and a longer one than that is cut at a comma or pause.
MIN_SENTENCE, MAX_SENTENCE = 1.0, 15.0
_SENTENCE_END = re.compile(r"[.!?…。！？؟।][\"'”’»)\]]*$")
#: Words with a full stop that ends no sentence: initials, numbers, titles.
_ABBREVIATION = re.compile(r"^\W*(?:[A-Z]|\d+|Mr|Mrs|Ms|Dr|St|Prof|Jr|Sr|vs|etc|No|Nr|bzw|usw|z\.B|i\.e|e\.g)\.$")
_CLAUSE_END = re.compile(r"[,;:，、；：—–-]$")


def cut(segment: Segment) -> Iterator[Segment]:
    """The parts of a segment, in order. Without words it stays whole."""
    words: list[Word] = []
    for index, word in enumerate(segment.words):
        words.append(word)
        after = segment.words[index + 1] if index + 1 < len(segment.words) else None
        if after is None or _ends(words, after):
            yield from _readable(segment, words)
            words = []
    if not segment.words:
        yield segment


def _ends(words: Sequence[Word], after: Word) -> bool:
    """Whether a segment ends with these words, before the next one."""
    if after.start - words[-1].end >= MAX_PAUSE:
        return True
    text = words[-1].word.strip()
    if not _SENTENCE_END.search(text) or _ABBREVIATION.match(text):
        return False
    return bool(words[-1].end - words[0].start >= MIN_SENTENCE)


def _readable(segment: Segment, words: list[Word]) -> Iterator[Segment]:
    """Cut a sentence that is too long, at the best place in its middle half, and again if need be."""
    length = words[-1].end - words[0].start
    if length <= MAX_SENTENCE or len(words) < 4:
        yield _part(segment, words)
        return
    first, last = words[0].start + length / 4, words[-1].end - length / 4
    places = [n for n in range(1, len(words)) if first <= words[n].start <= last] or [len(words) // 2]
    place = max(places, key=lambda n: (bool(_CLAUSE_END.search(words[n - 1].word)), words[n].start - words[n - 1].end))
    yield from _readable(segment, words[:place])
    yield from _readable(segment, words[place:])


def _part(segment: Segment, words: list[Word]) -> Segment:
    text = "".join(word.word for word in words)
    return replace(segment, start=words[0].start, end=words[-1].end, text=text, words=words)
