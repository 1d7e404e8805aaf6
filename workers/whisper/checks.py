"""Whisper's own checks for text that repeats itself or is invented (Radford et al. 2022, section 4.5), for one row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from faster_whisper.tokenizer import Tokenizer  # type: ignore[import-untyped]
from faster_whisper.transcribe import get_compression_ratio  # type: ignore[import-untyped]

#: Beyond these thresholds a text probably loops or is invented.
MAX_COMPRESSION, MIN_LOGPROB, MAX_NO_SPEECH = 2.4, -1.0, 0.6
#: Decoding temperatures, used in this order until a text passes. Above zero decoding samples, and the best of `BEST_OF`
#: samples counts.
TEMPERATURES, BEST_OF = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0), 5


@dataclass(frozen=True)
class DecodingResult:
    """A row's text as decoded at one temperature, with the values that the checks judge."""

    tokens: tuple[int, ...]  #: timestamps included
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    temperature: float

    @property
    def failed(self) -> bool:
        """Whether to decode again: the text repeats itself or is unlikely. Unlikely text for silence has not failed."""
        if is_silence(self):
            return False
        return self.compression_ratio > MAX_COMPRESSION or self.avg_logprob < MIN_LOGPROB


def decoding_result(generated: Any, tokenizer: Tokenizer, temperature: float) -> DecodingResult:
    """Convert a ctranslate2 WhisperGenerationResult."""
    tokens = tuple(generated.sequences_ids[0])
    return DecodingResult(
        tokens=tokens,
        avg_logprob=generated.scores[0] * len(tokens) / (len(tokens) + 1),  # the end token counts too
        no_speech_prob=generated.no_speech_prob,
        compression_ratio=get_compression_ratio(tokenizer.decode(list(tokens)).strip()),
        temperature=temperature,
    )


def is_silence(result: DecodingResult) -> bool:
    """Whether the model detects no speech and is not sure of its words either."""
    return result.no_speech_prob > MAX_NO_SPEECH and result.avg_logprob < MIN_LOGPROB


def best(results: Sequence[DecodingResult]) -> DecodingResult:
    """The last result if it passed, else the likeliest one that does not repeat itself, else the likeliest."""
    if not results[-1].failed:
        return results[-1]
    not_looping = [result for result in results if result.compression_ratio <= MAX_COMPRESSION]
    return max(not_looping or results, key=lambda result: result.avg_logprob)
