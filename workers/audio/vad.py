"""Voice activity detection (VAD) with Silero, the same for both engines.

Silero v6 runs on the CPU, rewritten (`silero`) so that it takes a third of the time. `Detector` yields spans of speech
without padding as audio arrives. Each engine joins them by its own rules (`chunks`): speech to text wants pauses kept,
emotion recognition wants them removed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime  # type: ignore[import-untyped]

from workers.audio.decoder import SAMPLE_RATE, as_float

#: Samples per frame, the model's unit of input, and samples of the previous frame that precede each.
_FRAME, _CONTEXT = 512, 64
#: Probabilities at which speech starts and, lower, ends: the defaults of Silero and of faster-whisper.
_START_THRESHOLD, _END_THRESHOLD = 0.5, 0.35
#: In samples. Shorter silences do not end a span; shorter speech is taken for a click.
_MIN_SILENCE, _MIN_SPEECH = 0.2 * SAMPLE_RATE, 0.1 * SAMPLE_RATE
#: In samples. A span that gets too long may be cut at a silence of this length.
_CUT_SILENCE = 0.098 * SAMPLE_RATE
#: In samples. After so much without speech the network starts afresh.
CELL = 64 * _FRAME
#: Audio whose peak over eight cells stays below this is amplified: Silero finds no speech at -50 dB.
_QUIET_CELLS, _QUIET_PEAK, _NORMAL_PEAK, _MAX_GAIN = 8, 0.03, 0.25, 300.0
#: Seconds. Longer spans are cut, at their last silence if they have one.
LONGEST_SPAN = 20 * 60.0


class Span(NamedTuple):
    """Speech from `start` to `end`, in seconds from the start of the recording."""

    start: float
    end: float

    @property
    def length(self) -> float:
        """Seconds."""
        return self.end - self.start


class Detector:
    """Finds the speech in one channel as its audio arrives, and keeps no more than two seconds of it.

    The rules are those of faster-whisper's `get_speech_timestamps`, with two additions. The network forgets what it has
    seen after two seconds without speech, because after minutes of music or silence it recognises the next words too
    late. And audio that is very quiet is amplified. The spans do not depend on the sizes of the blocks that the audio
    arrives in.
    """

    def __init__(self, *, longest: float = LONGEST_SPAN) -> None:
        self._state = np.zeros((2, 1, 1, 128), np.float32)  # of the recurrent network: h and c
        self._rest = np.zeros(_CONTEXT, np.float32)  # the context of the next frame, and the samples behind it
        self._peaks = deque([0.0], maxlen=_QUIET_CELLS)  # of the last cells
        self._received = 0  # samples
        self._processed = 0  # samples, in whole frames
        self._longest = longest * SAMPLE_RATE - _FRAME
        self._start: int | None = None  # of the open span
        self._silence_start = self._cut_at = self._resumed_at = 0

    @property
    def decided(self) -> float:
        """Seconds. No later span can start before this."""
        return (self._processed if self._start is None else self._start) / SAMPLE_RATE

    def feed(self, samples: npt.NDArray[np.int16] | npt.NDArray[np.float32]) -> list[Span]:
        """Process more 16 kHz audio, shape (n,), int16 or float32. Return the spans it completes, in order."""
        self._received += len(samples)
        audio = np.concatenate(
            [self._rest, as_float(np.asarray(samples, np.int16)) if samples.dtype == np.int16 else samples]
        )
        cells = (len(audio) - _CONTEXT) // CELL
        self._rest = audio[cells * CELL :].copy()
        return [
            span
            for cell in range(cells)
            for span in self._detect(audio[cell * CELL : (cell + 1) * CELL + _CONTEXT], CELL // _FRAME)
        ]

    def finish(self) -> list[Span]:
        """Return the spans that the end of the audio completes."""
        frames = (len(self._rest) - _CONTEXT) // _FRAME + 1
        last = np.zeros(_CONTEXT + frames * _FRAME, np.float32)
        last[: len(self._rest)] = self._rest
        last[-_CONTEXT:] = 0  # as faster-whisper does
        spans = list(self._detect(last, frames))
        if self._start is not None and self._received - self._start > _MIN_SPEECH:
            spans.append(Span(self._start / SAMPLE_RATE, self._received / SAMPLE_RATE))
        return spans

    def _detect(self, audio: npt.NDArray[np.float32], frames: int) -> Iterator[Span]:
        """Process a cell, or the last part of one, with its context."""
        inputs = np.lib.stride_tricks.sliding_window_view(audio * self._gain(audio), _CONTEXT + _FRAME)[::_FRAME]
        h, c = self._state
        probabilities, h, c = _model().run(None, {"input": np.ascontiguousarray(inputs[:frames]), "h": h, "c": c})
        self._state = np.stack([h, c])
        for probability in probabilities.ravel().tolist():
            span = self._step(probability, self._processed)
            self._processed += _FRAME
            if span is not None and span[1] > span[0]:
                yield Span(span[0] / SAMPLE_RATE, span[1] / SAMPLE_RATE)
        if probabilities.max() < _END_THRESHOLD:
            self._state = np.zeros_like(self._state)

    def _gain(self, audio: npt.NDArray[np.float32]) -> np.float32:
        """What quiet audio is multiplied with, by the loudest sample of the last seconds."""
        self._peaks.append(float(np.abs(audio).max()))
        peak = max(self._peaks)
        return np.float32(min(_NORMAL_PEAK / peak, _MAX_GAIN) if 0 < peak < _QUIET_PEAK else 1)

    def _step(self, probability: float, at: int) -> tuple[int, int] | None:
        """Advance by one frame, at sample `at`. The rules and their order are those of `get_speech_timestamps`."""
        if probability >= _START_THRESHOLD:
            self._continue(at)
        if self._start is None or self._start == at:
            return None
        if at - self._start > self._longest:
            return self._cut(at, silent=probability < _END_THRESHOLD)
        if probability < _END_THRESHOLD:
            self._silence_start = self._silence_start or at
            if at - self._silence_start > _CUT_SILENCE:
                self._cut_at = self._silence_start
            if at - self._silence_start >= _MIN_SILENCE:
                span = self._close(self._silence_start)
                return span if span[1] - span[0] > _MIN_SPEECH else None
        return None

    def _continue(self, at: int) -> None:
        if self._start is None:
            self._start = at
        elif self._silence_start:
            self._silence_start = 0
            if self._resumed_at < self._cut_at:
                self._resumed_at = at

    def _cut(self, at: int, *, silent: bool) -> tuple[int, int]:
        """Close a span that is too long: at its last silence, after which a new span starts, else here."""
        if not self._cut_at:
            return self._close(at)
        resumed_at = self._resumed_at if self._resumed_at >= self._cut_at else None
        span = self._close(self._cut_at)
        self._start = resumed_at
        if resumed_at is not None and silent:
            self._silence_start = at
        return span

    def _close(self, end: int) -> tuple[int, int]:
        start, self._start = self._start or 0, None
        self._silence_start = self._cut_at = self._resumed_at = 0
        return start, end


@cache
def _model() -> onnxruntime.InferenceSession:
    """Load the model, once per process. Safe to call from threads. It is too small to use several threads per call."""
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # which would keep the memory of the largest call
    options.log_severity_level = 3
    content = files("workers.audio.silero").joinpath("vad.onnx").read_bytes()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def find(samples: npt.NDArray[np.float32]) -> list[Span]:
    """Find the spans of speech in one channel of 16 kHz audio, shape (n,), in order, without padding or overlap."""
    detector = Detector()
    return [*detector.feed(samples), *detector.finish()]
