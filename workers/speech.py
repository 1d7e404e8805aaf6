"""Where somebody speaks: Silero voice activity detection, the same for both engines.

Silero v6 comes with faster-whisper as an ONNX file and runs on the CPU (7 core-seconds an audio hour). `find` gives the
bare spans; each engine joins them as it needs: speech to text wants pauses left in, emotion wants them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from faster_whisper.vad import VadOptions, get_speech_timestamps  # type: ignore[import-untyped]

from workers.decode import SAMPLE_RATE

#: Detection runs over pieces of this length: over a whole file it holds several copies of the audio.
PIECE_SECONDS = 20 * 60
#: Silences shorter than this are inside a span, speech shorter than that is a click.
_MIN_SILENCE_MS, _MIN_SPEECH_MS = 200, 100


class Span(NamedTuple):
    """A stretch of speech, in seconds from the beginning."""

    start: float
    end: float

    @property
    def length(self) -> float:
        """Seconds."""
        return self.end - self.start


def find(samples: npt.NDArray[np.float32]) -> list[Span]:
    """Find the speech in one channel of 16 kHz audio, shape (n,): spans in order, without padding or overlap.

    A pause at the border of two pieces may be up to 0.1 s off; within a piece it is what Silero says.
    """
    options = VadOptions(
        min_speech_duration_ms=_MIN_SPEECH_MS,
        min_silence_duration_ms=_MIN_SILENCE_MS,
        max_speech_duration_s=PIECE_SECONDS,
        speech_pad_ms=0,
    )
    spans: list[Span] = []
    for start in range(0, len(samples), PIECE_SECONDS * SAMPLE_RATE):
        piece = samples[start : start + PIECE_SECONDS * SAMPLE_RATE]
        for found in get_speech_timestamps(piece, options):
            spans.append(Span((start + found["start"]) / SAMPLE_RATE, (start + found["end"]) / SAMPLE_RATE))
    return spans


def join(spans: Sequence[Span], *, gap: float, pad: float, duration: float) -> list[Span]:
    """Join spans that are closer than `gap`, then pad each by `pad` seconds, at most half way to its neighbour.

    `spans` are in order; `duration` is the length of the recording. Pure.
    """
    joined: list[Span] = []
    for span in spans:
        if joined and span.start - joined[-1].end < gap:
            joined[-1] = Span(joined[-1].start, max(joined[-1].end, span.end))
        else:
            joined.append(span)
    padded: list[Span] = []
    for index, span in enumerate(joined):
        before = pad if index == 0 else min(pad, (span.start - joined[index - 1].end) / 2)
        after = pad if index == len(joined) - 1 else min(pad, (joined[index + 1].start - span.end) / 2)
        padded.append(Span(max(0.0, span.start - before), min(duration, span.end + after)))
    return padded


def total(spans: Sequence[Span]) -> float:
    """Seconds of speech."""
    return sum(span.length for span in spans)
