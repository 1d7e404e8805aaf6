"""Word error rate and errors of word times, from aligning recognised text with the reference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from training import sentences


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[int, list[tuple[int, int]]]:
    """Return the word edit distance of `hypothesis` from `reference`, and the index pairs of the words that match."""
    table = [list(range(len(hypothesis) + 1))]
    for i, word in enumerate(reference, 1):
        above, row = table[-1], [i]
        for j, other in enumerate(hypothesis, 1):
            row.append(min(above[j - 1] + (word != other), above[j] + 1, row[j - 1] + 1))
        table.append(row)
    i, j, pairs = len(reference), len(hypothesis), []
    while i and j:
        if table[i][j] == table[i - 1][j - 1] + (reference[i - 1] != hypothesis[j - 1]):
            i, j = i - 1, j - 1
            if reference[i] == hypothesis[j]:
                pairs.append((i, j))
        elif table[i][j] == table[i - 1][j] + 1:
            i -= 1
        else:
            j -= 1
    return table[-1][-1], pairs[::-1]


@dataclass
class Score:
    """Error counts and confidences over many recordings."""

    words: int = 0
    errors: int = 0
    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    out_of_order: int = 0
    languages: list[float] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    no_speech: list[float] = field(default_factory=list)
    retries: int = 0
    mistakes: list[str] = field(default_factory=list)

    def add(self, text: str, times: npt.NDArray[np.float32] | None, segments: Iterable[Any], info: Any) -> None:
        """Add one recording: its true text and word times (s), and faster-whisper's result."""
        found = list(segments)
        recognised = " ".join(segment.text.strip() for segment in found)
        reference, hypothesis = sentences.words(text), sentences.words(recognised)
        errors, pairs = align(reference, hypothesis)
        self.words += len(reference)
        self.errors += errors
        if errors and len(reference) < 60:
            self.mistakes.append(f"{text} -> {recognised}")
        self.languages.append(float(info.language_probability) if info.language == "en" else 0.0)
        self.logprobs += [segment.avg_logprob for segment in found]
        self.no_speech += [segment.no_speech_prob for segment in found]
        self.retries += sum(bool(segment.temperature) for segment in found)
        words = [word for segment in found for word in segment.words or []]
        if times is not None and len(words) == len(hypothesis):
            self._times(times, words, pairs)

    def _times(self, times: npt.NDArray[np.float32], words: list[Any], pairs: list[tuple[int, int]]) -> None:
        """Compare the times of the words that match."""
        self.starts += [abs(words[j].start - float(times[i, 0])) for i, j in pairs if not np.isnan(times[i, 0])]
        self.ends += [abs(words[j].end - float(times[i, 1])) for i, j in pairs if not np.isnan(times[i, 1])]
        self.out_of_order += sum(bool(b.start < a.start) for a, b in pairwise(words))

    def report(self) -> dict[str, float | int]:
        """Summarise in rounded figures."""
        made: dict[str, float | int] = {
            "words": self.words,
            "word_error_rate": round(self.errors / max(self.words, 1), 4),
            "language_probability_median": round(float(np.median(self.languages)), 3),
            "segments": len(self.logprobs),
            "avg_logprob_5th_percentile": round(float(np.percentile(self.logprobs or [0], 5)), 3),
            "no_speech_prob_95th_percentile": round(float(np.percentile(self.no_speech or [0], 95)), 3),
            "segments_decoded_again": self.retries,
        }
        if self.starts:
            made["word_start_error_median_s"] = round(float(np.median(self.starts)), 3)
            made["word_start_error_95th_percentile_s"] = round(float(np.percentile(self.starts, 95)), 3)
            made["word_end_error_median_s"] = round(float(np.median(self.ends)), 3)
            made["words_out_of_order"] = self.out_of_order
        return made
