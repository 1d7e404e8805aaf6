"""Speech emotion recognition: a transformers audio classifier over windows of speech.

Windows follow the voice: each stretch of speech is cut into equal windows of at most five seconds, so that no window
is mostly silence or a padded remainder. They are rows of the batcher and share batches with those of other recordings,
only in ways that change no score: a window that is analysed alone and in a batch gives the same to 1e-4
(`tests/workers/emotion/test_classifier.py`).
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from speechpipe.backends.ports import Progress
from speechpipe.contract import Analysis, Caution, Emotions, EmotionWindow, Model, Options, Stage, Vocabulary, Work
from speechpipe.contract.errors import EngineUnavailable, ErrorCode, Rejected
from speechpipe.observe import spans
from workers.audio import vad
from workers.audio.chunks import Rules, Stretch, stretches
from workers.audio.decoder import SAMPLE_RATE, as_float
from workers.audio.reader import Recording, prepare
from workers.audio.vad import Span
from workers.batcher import Batcher, Share, Submitter
from workers.emotion.labels import scores_of, sentiment_of, vocabulary_of

WINDOW_SECONDS = 5.0  #: at most; the corpora that these models learn from have utterances of 2 to 8 s
#: Closer spans are one, 0.1 s is left round each, and what is shorter than a second is taken with what is round it.
RULES = Rules(gap=0.3, pad=0.1, longest=60.0, shortest=1.0)

#: Samples: what is heard of a window is a multiple of this, so that windows of different recordings have one length. At
#: most 50 ms at each end are not heard, less than the padding round speech.
GRID = SAMPLE_RATE // 10
#: Padded windows of one batch differ by less than so many samples.
_BUCKET = SAMPLE_RATE // 2
#: Windows in one pass of the model.
_ROWS_PER_BATCH = {"cpu": 4, "cuda": 32}
#: Audio of all recordings that may be under way at once: what is let in has to end within one request.
_SECONDS_IN_FLIGHT = 12 * 3600.0
#: Taken for the length of a recording whose header does not say.
_USUAL_SECONDS = 600.0

Array = npt.NDArray[np.float32]
Given = TypeVar("Given")
Made = TypeVar("Made")


class UninitialisedWeights(EngineUnavailable):
    """Weights of the model are missing from its files: its answers would be random."""


@dataclass(frozen=True)
class Window:
    """A stretch of one channel to be scored, and its scores to come."""

    channel: int
    span: Span
    logits: Future[Array]


@dataclass(frozen=True)
class Row:
    """A window as the model takes it: normalised by itself, before any padding."""

    input: Array  #: shape (samples,), or what the model's extractor makes of it
    seconds: float


class EmotionAnalyser:
    """The ser engine, with its model loaded. Safe to call from threads: their windows share batches."""

    def __init__(
        self,
        model: Any,
        extractor: Any,
        identity: Model,
        *,
        max_seconds: float,
        cautions: Sequence[Caution] = (),
        batches_at_once: int = 1,
    ) -> None:
        self._model = model.eval()
        self._extractor = extractor
        self._identity = identity
        self._max_seconds = max_seconds
        self._cautions = tuple(cautions)
        self._vocabulary = vocabulary_of(identity.name, model.config)
        self._batcher: Batcher[Row, Array] = Batcher(
            self._forward,
            key=self._key,
            seconds=lambda row: row.seconds,
            rows_per_batch=_ROWS_PER_BATCH[model.device.type],
            seconds_in_flight=_SECONDS_IN_FLIGHT,
            at_once=batches_at_once,
        )

    @property
    def stage(self) -> Stage:
        """Speech emotion recognition."""
        return Stage.SER

    @property
    def vocabulary(self) -> Vocabulary:
        """What the labels mean."""
        return self._vocabulary

    def __call__(self, path: Path, options: Options, progress: Progress) -> Analysis:
        """Score a recording's windows. Raises Rejected for media or options that can never work, Busy for too many."""
        chosen = options.emotion if isinstance(options.emotion, tuple) else None
        split = options.channels == "split" or chosen is not None
        waiting = _Waiting(progress)
        with prepare(path, split=split, max_seconds=self._max_seconds) as recording:
            channels = _channels(chosen, recording.channels)
            waiting.seconds, waiting.channels = recording.expected_seconds, len(channels)
            seconds = len(channels) * (recording.expected_seconds or _USUAL_SECONDS)
            with self._batcher.admit(seconds, waiting.show) as rows:
                with spans.span("prepare"):  # the first windows are scored while the rest is decoded
                    windows = list(self._submit(recording, channels, rows, waiting))
                waiting.seconds = recording.audio.duration
                windows.sort(key=lambda window: (window.span.start, window.channel))
                logits: list[Array] = []
                with spans.span("engine"):
                    for window in windows:
                        logits.append(waiting.during(rows.result, window.logits))
                        waiting.show()
        progress(1.0)
        cautions = [*self._cautions, *recording.cautions]
        if not windows:
            cautions.append(Caution(code="no_speech", message="no speech was found in the recording"))
        if split and recording.audio.channels == 1:
            message = "channels=split was asked for, but the recording has one channel"
            cautions.append(Caution(code="mono_split", message=message))
        return Analysis(
            value=Emotions(vocabulary=self._vocabulary, windows=tuple(self._scored(windows, logits))),
            audio=recording.audio,
            model=self._identity,
            compute_seconds=waiting.computed(rows.share.engine_seconds),
            work=_work(rows.share),
            cautions=tuple(cautions),
        )

    def warm_up(self) -> None:
        """Run a second of noise through voice activity detection and the model."""
        noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
        vad.find(noise)
        scores_of(self.logits([noise]), self._vocabulary)

    def logits(self, windows: Sequence[Array]) -> Array:
        """Raw outputs, shape (windows, labels), of 16 kHz windows of shape (n,), in their order."""
        with self._batcher.admit(sum(map(len, windows)) / SAMPLE_RATE) as rows:
            futures = [rows.submit(self._row(window)) for window in windows]
            return np.stack([rows.result(future) for future in futures])

    def _submit(
        self, recording: Recording, channels: Sequence[int], rows: Submitter[Row, Array], waiting: _Waiting
    ) -> Iterator[Window]:
        """Read a recording and hand in its windows as they come: the first are scored while the rest is decoded."""
        for stretch in stretches(recording, RULES, channels):
            for span, samples in windows_of(stretch):
                window = Window(stretch.channel, span, waiting.during(rows.submit, self._row(as_float(samples))))
                waiting.open.append(window)
                yield window
            waiting.show()

    def _row(self, window: Array) -> Row:
        name = self._extractor.model_input_names[0]
        made = self._extractor(window, sampling_rate=SAMPLE_RATE, return_tensors="np")[name][0]
        return Row(np.asarray(made, np.float32), len(window) / SAMPLE_RATE)

    def _scored(self, windows: Sequence[Window], logits: Sequence[Array]) -> Iterator[EmotionWindow]:
        if not windows:
            return
        for window, scores in zip(windows, scores_of(np.stack(logits), self._vocabulary), strict=True):
            yield EmotionWindow(
                start=window.span.start,
                end=window.span.end,
                channel=window.channel,
                scores=scores,
                sentiment=sentiment_of(scores, self._vocabulary),
            )

    def _key(self, row: Row) -> Hashable:
        """Rows of one length share a batch; with padding, of similar length.

        With a layer-norm front end padding with a mask leaves scores alone; a group-norm one (wav2vec2-base) takes its
        statistics over the padding too (measured: scores off by half a standard deviation;
        huggingface/transformers#10117 says the same).
        """
        if row.input.ndim == 1 and getattr(self._model.config, "feat_extract_norm", None) == "layer":
            return -(-len(row.input) // _BUCKET)
        return row.input.shape

    def _forward(self, rows: Sequence[Row]) -> Sequence[Array]:
        inputs = [row.input for row in rows]
        longest = max(len(array) for array in inputs)
        device, dtype = self._model.device, self._model.dtype
        extra: dict[str, torch.Tensor] = {}
        if any(len(array) < longest for array in inputs):
            mask = np.zeros((len(inputs), longest), dtype=np.int64)
            padded = np.zeros((len(inputs), longest), dtype=np.float32)
            for row, array in enumerate(inputs):
                padded[row, : len(array)] = array
                mask[row, : len(array)] = 1
            extra["attention_mask"] = torch.from_numpy(mask).to(device)
        else:  # no mask: the same result, on the fast attention kernel
            padded = np.stack(inputs)
        with torch.inference_mode():
            output = self._model(torch.from_numpy(padded).to(device=device, dtype=dtype), **extra)
            return list(np.asarray(output.logits.float().cpu().numpy()))


class _Waiting:
    """Keeps a recording's own time apart from that in which it waits for the engine, and progress alive in both.

    Progress is how far each channel has been scored without a gap.
    """

    def __init__(self, progress: Progress) -> None:
        self.seconds: float | None = None  #: of the recording, once all is decoded what it really was
        self.channels = 1
        self.open: deque[Window] = deque()  #: handed in, in this order
        self._scored: dict[int, float] = {}  #: channel -> seconds
        self._progress, self._share = progress, 0.0
        self._began, self._waited = time.perf_counter(), 0.0

    def during(self, wait: Callable[[Given], Made], given: Given) -> Made:
        began = time.perf_counter()
        try:
            return wait(given)
        finally:
            self._waited += time.perf_counter() - began

    def show(self) -> None:
        while self.open and self.open[0].logits.done():
            window = self.open.popleft()
            self._scored[window.channel] = window.span.end
        if self.seconds:
            share = sum(self._scored.values()) / (self.channels * self.seconds)
            self._share = max(self._share, min(share, 0.99))  # all is only what was put together, too
        self._progress(self._share)

    def computed(self, engine_seconds: float) -> float:
        """Seconds so far, of which those that were waited count only as far as the engine ran for this recording.

        Windows may be scored while this thread prepares the next ones: never more than there was.
        """
        spent = time.perf_counter() - self._began
        return min(spent, spent - self._waited + engine_seconds)


def _work(share: Share) -> Work:
    return Work(
        engine_seconds=share.engine_seconds,
        rows=share.rows,
        row_slots=max(share.rows, round(share.slots)),
        filled_seconds=share.seconds,
        padded_seconds=share.padded_seconds,
    )


def load_classifier(folder: Path, *, device: str, dtype: str) -> tuple[Any, Any]:
    """Load model and feature extractor from a folder, never from the network.

    Raises UninitialisedWeights if any weight is missing from the files: transformers would make it up and only log so.
    """
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    model, report = AutoModelForAudioClassification.from_pretrained(
        folder, dtype=getattr(torch, dtype), output_loading_info=True, local_files_only=True, trust_remote_code=False
    )
    # Only training uses this one, and many models were published without it.
    missing = {key for key in report["missing_keys"] if not key.endswith("masked_spec_embed")}
    wrong = sorted(missing | {str(key) for key in report["mismatched_keys"]})
    if wrong:
        shown = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        raise UninitialisedWeights(f"the model in {folder} has no weights for {shown}: is it an emotion classifier?")
    extractor = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
    return model.to(device), extractor


def windows_of(stretch: Stretch) -> Iterator[tuple[Span, npt.NDArray[np.int16]]]:
    """Cut a stretch into equal windows of at most WINDOW_SECONDS: where each is, and what is heard of it. Pure."""
    length = len(stretch.samples)
    count = max(1, math.ceil(length / (WINDOW_SECONDS * SAMPLE_RATE) - 1e-3))  # a sample more is rounding
    heard = length // count
    heard = heard - heard % GRID or heard
    for number in range(count):
        first, last = number * length // count, (number + 1) * length // count
        begin = first + (last - first - heard) // 2
        span = Span(stretch.span.start + first / SAMPLE_RATE, stretch.span.start + last / SAMPLE_RATE)
        yield span, stretch.samples[begin : begin + heard]


def _channels(chosen: tuple[int, ...] | None, there: int) -> Sequence[int]:
    """The channels to score. Raises Rejected(invalid_option) for one that the recording does not have."""
    if chosen is None:
        return range(there)
    if all(channel < there for channel in chosen):
        return chosen
    given = ",".join(map(str, chosen))
    allowed = "0: the recording has one channel" if there == 1 else f"0 to {there - 1}: the recording's channels"
    raise Rejected(ErrorCode.INVALID_OPTION, f"option 'emotion': given {given!r}; allowed: {allowed}")
