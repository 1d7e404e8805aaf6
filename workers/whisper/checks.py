"""Whisper's own checks for text that repeats itself or is invented (Radford et al. 2022, section 4.5), for one row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from faster_whisper.tokenizer import Tokenizer  # type: ignore[import-untyped]
from faster_whisper.transcribe import get_compression_ratio  # type: ignore[import-untyped]

#: Beyond these thresholds a text probably loops or is invented.
MAX_COMPRESSION, MIN_LOGPROB, MAX_NO_SPEECH = 2.4, -1.0, 0.6
#: Nobody speaks faster than this, in characters per second of audio: compressible text below it is a true repetition.
MAX_CHARACTERS_PER_SECOND = 25.0
#: Ways to decode, tried in this order until a text passes: arguments of ctranslate2's `generate`. Whisper samples at
#: rising temperatures instead; these always give the same text for the same audio, whatever shares the batch.
ATTEMPTS: tuple[Mapping[str, Any], ...] = (
    {},
    {"no_repeat_ngram_size": 5, "repetition_penalty": 1.1},
    {"no_repeat_ngram_size": 3, "repetition_penalty": 1.3},
)


@dataclass(frozen=True)
class DecodingResult:
    """A row's text as decoded in one attempt, with the values that the checks judge."""

    tokens: tuple[int, ...]  #: timestamps included, if the row was decoded with them
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    attempt: int = 0  #: index in `ATTEMPTS`
    truncated: bool = False  #: stopped at the model's limit, not at an end token
    characters_per_second: float = 0.0

    @property
    def loops(self) -> bool:
        """Whether the text repeats itself more than anybody can have said it."""
        too_much = self.truncated or self.characters_per_second > MAX_CHARACTERS_PER_SECOND
        return self.compression_ratio > MAX_COMPRESSION and too_much

    @property
    def failed(self) -> bool:
        """Whether to decode again: the text loops or is unlikely. Unlikely text for silence has not failed."""
        return not is_silence(self) and (self.loops or self.avg_logprob < MIN_LOGPROB)


def decoding_result(
    generated: Any, tokenizer: Tokenizer, attempt: int, *, seconds: float, limit: int
) -> DecodingResult:
    """Convert a ctranslate2 WhisperGenerationResult for a row of `seconds`; `limit`: the most tokens it can have."""
    tokens = tuple(generated.sequences_ids[0])
    logprob = generated.scores[0] * len(tokens) / (len(tokens) + 1)  # the end token counts too
    text = tokenizer.decode([token for token in tokens if token < tokenizer.eot]).strip()
    return DecodingResult(
        tokens=tokens,
        avg_logprob=-math.inf if math.isnan(logprob) else logprob,  # so that it fails, and any other is likelier
        no_speech_prob=generated.no_speech_prob,
        compression_ratio=get_compression_ratio(text),
        attempt=attempt,
        truncated=len(tokens) >= limit,
        characters_per_second=len(text) / max(seconds, 1.0),
    )


def is_silence(result: DecodingResult) -> bool:
    """Whether the model detects no speech and is not sure of its words either."""
    return result.no_speech_prob > MAX_NO_SPEECH and result.avg_logprob < MIN_LOGPROB


def best(results: Sequence[DecodingResult]) -> DecodingResult:
    """The last result if it passed, else the likeliest one that does not loop, else the likeliest."""
    if not results[-1].failed:
        return results[-1]
    not_looping = [result for result in results if not result.loops]
    return max(not_looping or results, key=lambda result: result.avg_logprob)
