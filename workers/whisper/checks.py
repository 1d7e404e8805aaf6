"""Does a text look heard or invented? Whisper's own checks (Radford et al. 2022, section 4.5), for one row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from faster_whisper.tokenizer import Tokenizer  # type: ignore[import-untyped]
from faster_whisper.transcribe import get_compression_ratio  # type: ignore[import-untyped]

#: Beyond these a text is likely looping or invented.
MAX_COMPRESSION, MIN_LOGPROB, MAX_NO_SPEECH = 2.4, -1.0, 0.6
#: Tried in this order until a text passes; above zero by sampling, the best of `BEST_OF`.
TEMPERATURES, BEST_OF = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0), 5


@dataclass(frozen=True)
class Attempt:
    """A text for a row, with the figures to judge it by."""

    tokens: tuple[int, ...]  #: timestamps among them
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    temperature: float

    @property
    def failed(self) -> bool:
        """Whether it should be tried again: it repeats itself, or it is a guess; a guess about silence is none."""
        if is_silence(self):
            return False
        return self.compression_ratio > MAX_COMPRESSION or self.avg_logprob < MIN_LOGPROB


def attempt_of(result: Any, tokenizer: Tokenizer, temperature: float) -> Attempt:
    """Read a ctranslate2 WhisperGenerationResult."""
    tokens = tuple(result.sequences_ids[0])
    return Attempt(
        tokens=tokens,
        avg_logprob=result.scores[0] * len(tokens) / (len(tokens) + 1),  # the end token counts too
        no_speech_prob=result.no_speech_prob,
        compression_ratio=get_compression_ratio(tokenizer.decode(list(tokens)).strip()),
        temperature=temperature,
    )


def is_silence(attempt: Attempt) -> bool:
    """Whether the model says that nobody speaks, and isn't sure of its words either."""
    return attempt.no_speech_prob > MAX_NO_SPEECH and attempt.avg_logprob < MIN_LOGPROB


def best(attempts: Sequence[Attempt]) -> Attempt:
    """The last if it passed, else the likeliest of those that do not repeat themselves (of all, if all do)."""
    if not attempts[-1].failed:
        return attempts[-1]
    sober = [attempt for attempt in attempts if attempt.compression_ratio <= MAX_COMPRESSION]
    return max(sober or attempts, key=lambda attempt: attempt.avg_logprob)
