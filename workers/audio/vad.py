"""Where somebody speaks: Silero voice activity detection, the same for both engines.

Silero v6 runs on the CPU, in a form (`silero`) that takes a third of the time. `Detector` gives the bare spans as audio
comes; each engine joins them as it needs (`stretches`): speech to text wants pauses left in, emotion wants them out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime  # type: ignore[import-untyped]

from workers.audio.decoder import SAMPLE_RATE, as_float

#: Samples that the model judges at a time, and how many before them it hears again.
_CHUNK, _CONTEXT = 512, 64
#: Probabilities at which speech begins and, further down, ends: the defaults of Silero and of faster-whisper.
_BEGINS, _ENDS = 0.5, 0.35
#: Silences shorter than this are inside a span, speech shorter than that is a click.
_MIN_SILENCE, _MIN_SPEECH = 0.2 * SAMPLE_RATE, 0.1 * SAMPLE_RATE
#: A silence at which a span that grows too long may be cut.
_CUT_SILENCE = 0.098 * SAMPLE_RATE
#: Seconds: a longer span is cut, at its last silence if it has one.
LONGEST_SPAN = 20 * 60.0


class Span(NamedTuple):
    """A stretch of speech, in seconds from the beginning."""

    start: float
    end: float

    @property
    def length(self) -> float:
        """Seconds."""
        return self.end - self.start


class Detector:
    """Finds the speech in one channel as it comes; holds no audio beyond a chunk of 32 ms.

    Gives the spans of faster-whisper's `get_speech_timestamps` over the whole channel, whatever the blocks it comes in.
    """

    def __init__(self, *, longest: float = LONGEST_SPAN) -> None:
        self._state = np.zeros((2, 1, 1, 128), np.float32)  # of the network: h and c
        self._rest = np.zeros(_CONTEXT, np.float32)  # the context of the next chunk and what there is of it
        self._heard = 0  # samples, all in all
        self._judged = 0  # samples, whole chunks
        self._longest = longest * SAMPLE_RATE - _CHUNK
        self._start: int | None = None  # of the span that is open
        self._silent_from = self._cut_at = self._goes_on_at = 0

    @property
    def decided(self) -> float:
        """Seconds: no span to come begins before."""
        return (self._judged if self._start is None else self._start) / SAMPLE_RATE

    def feed(self, samples: npt.NDArray[np.int16] | npt.NDArray[np.float32]) -> list[Span]:
        """Take more 16 kHz audio, shape (n,), int16 or float32; give the spans that are complete now, in order."""
        self._heard += len(samples)
        audio = np.concatenate(
            [self._rest, as_float(np.asarray(samples, np.int16)) if samples.dtype == np.int16 else samples]
        )
        chunks = (len(audio) - _CONTEXT) // _CHUNK
        self._rest = audio[chunks * _CHUNK :].copy()
        return list(self._judge(audio, chunks))

    def finish(self) -> list[Span]:
        """Give what is complete now that the audio has ended."""
        last = np.zeros(_CONTEXT + _CHUNK, np.float32)
        last[: len(self._rest)] = self._rest
        last[-_CONTEXT:] = 0  # as faster-whisper does
        spans = list(self._judge(last, 1))
        if self._start is not None and self._heard - self._start > _MIN_SPEECH:
            spans.append(Span(self._start / SAMPLE_RATE, self._heard / SAMPLE_RATE))
        return spans

    def _judge(self, audio: npt.NDArray[np.float32], chunks: int) -> Iterator[Span]:
        if not chunks:
            return
        windows = np.lib.stride_tricks.sliding_window_view(audio, _CONTEXT + _CHUNK)[::_CHUNK][:chunks]
        h, c = self._state
        found, h, c = _model().run(None, {"input": np.ascontiguousarray(windows), "h": h, "c": c})
        self._state = np.stack([h, c])
        for probability in found.ravel().tolist():
            span = self._step(probability, self._judged)
            self._judged += _CHUNK
            if span is not None and span[1] > span[0]:
                yield Span(span[0] / SAMPLE_RATE, span[1] / SAMPLE_RATE)

    def _step(self, probability: float, at: int) -> tuple[int, int] | None:
        """One chunk further, in samples; the rules are those of `get_speech_timestamps`, in its order."""
        if probability >= _BEGINS:
            self._goes_on(at)
        if self._start is None or self._start == at:
            return None
        if at - self._start > self._longest:
            return self._cut(at, silent=probability < _ENDS)
        if probability < _ENDS:
            self._silent_from = self._silent_from or at
            if at - self._silent_from > _CUT_SILENCE:
                self._cut_at = self._silent_from
            if at - self._silent_from >= _MIN_SILENCE:
                span = self._close(self._silent_from)
                return span if span[1] - span[0] > _MIN_SPEECH else None
        return None

    def _goes_on(self, at: int) -> None:
        if self._start is None:
            self._start = at
        elif self._silent_from:
            self._silent_from = 0
            if self._goes_on_at < self._cut_at:
                self._goes_on_at = at

    def _cut(self, at: int, *, silent: bool) -> tuple[int, int]:
        """Close a span that grows too long: at its last silence, and what follows that is a new span; else here."""
        if not self._cut_at:
            return self._close(at)
        goes_on_at = self._goes_on_at if self._goes_on_at >= self._cut_at else None
        span = self._close(self._cut_at)
        self._start = goes_on_at
        if goes_on_at is not None and silent:
            self._silent_from = at
        return span

    def _close(self, end: int) -> tuple[int, int]:
        start, self._start = self._start or 0, None
        self._silent_from = self._cut_at = self._goes_on_at = 0
        return start, end


@cache
def _model() -> onnxruntime.InferenceSession:
    """The model, loaded once a process; safe to call from threads. It is too small for more than one thread a call."""
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # it would keep the memory of the largest call
    options.log_severity_level = 3
    content = files("workers.audio.silero").joinpath("vad.onnx").read_bytes()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def find(samples: npt.NDArray[np.float32]) -> list[Span]:
    """Find the speech in one channel of 16 kHz audio, shape (n,): spans in order, without padding or overlap."""
    detector = Detector()
    return [*detector.feed(samples), *detector.finish()]


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


def total(spans: Iterable[Span]) -> float:
    """Seconds of speech."""
    return sum(span.length for span in spans)
