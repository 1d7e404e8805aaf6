"""Speech emotion recognition: a transformers audio classifier over windows of speech.

Windows follow the voice: each span of speech is cut into equal windows of at most five seconds, so that no window
is mostly silence or a padded remainder. They are batched only in ways that change no score: a window that is analysed
alone and in a batch gives the same to 1e-4 (`tests/workers/test_ser.py`).
"""

from __future__ import annotations

import itertools
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from speechpipe import telemetry
from speechpipe.contract import Analysis, Caution, Emotions, EmotionWindow, Model, Options, Stage, Vocabulary, Work
from speechpipe.errors import EngineUnavailable, ErrorCode, Rejected
from speechpipe.ports import Progress
from workers import speech
from workers.decode import SAMPLE_RATE, Samples, decode
from workers.reading import scores_of, sentiment_of, vocabulary_of
from workers.speech import Span

WINDOW_SECONDS = 5.0  #: at most; the corpora that these models learn from have utterances of 2 to 8 s
MIN_SECONDS = 1.0  #: shorter speech is taken with what is round it
_GAP, _PAD = 0.3, 0.1  #: closer spans are one; so much is left round a span
#: Audio in one pass of the model, after padding.
_BATCH_SECONDS = {"cpu": 20.0, "cuda": 160.0}

Array = npt.NDArray[np.float32]


class UninitialisedWeights(EngineUnavailable):
    """Weights of the model are missing from its files: its answers would be random."""


@dataclass(frozen=True)
class Window:
    """A stretch of one channel to be scored."""

    channel: int
    span: Span


@dataclass(frozen=True)
class Pass:
    """One batch that went through the model; lengths in samples."""

    rows: int
    longest: int
    filled: int
    seconds: float


class EmotionAnalyser:
    """The ser engine, with its model loaded. Safe to call from threads: they take turns at the model."""

    def __init__(
        self, model: Any, extractor: Any, identity: Model, *, max_seconds: float, cautions: Sequence[Caution] = ()
    ) -> None:
        self._model = model.eval()
        self._extractor = extractor
        self._identity = identity
        self._max_seconds = max_seconds
        self._cautions = tuple(cautions)
        self._vocabulary = vocabulary_of(identity.name, model.config)
        self._lock = Lock()
        self._passes: list[Pass] = []  # of the analysis that has the lock

    @property
    def stage(self) -> Stage:
        """Speech emotion recognition."""
        return Stage.SER

    @property
    def vocabulary(self) -> Vocabulary:
        """What the labels mean."""
        return self._vocabulary

    def __call__(self, path: Path, options: Options, progress: Progress) -> Analysis:
        """Score a recording's windows. Raises Rejected for media or options that can never work."""
        began = time.perf_counter()
        chosen = options.emotion if isinstance(options.emotion, tuple) else None
        split = options.channels == "split" or chosen is not None
        with telemetry.span("decode"):
            decoded = decode(path, split=split, max_seconds=self._max_seconds)
        with telemetry.span("find speech"):
            windows = _windows_of(decoded.samples, _channels(chosen, decoded.samples.shape[0]))
        waited = time.perf_counter()
        with telemetry.span("wait for the model"):
            self._lock.acquire()
        try:
            waited = time.perf_counter() - waited
            self._passes = []
            with telemetry.span("engine"):
                scored = self._score(decoded.samples, windows, progress)
            passes = self._passes
        finally:
            self._lock.release()
        progress(1.0)
        cautions = [*self._cautions, *decoded.cautions]
        if not windows:
            cautions.append(Caution(code="no_speech", message="no speech was found in the recording"))
        if split and decoded.audio.channels == 1:
            message = "channels=split was asked for, but the recording has one channel"
            cautions.append(Caution(code="mono_split", message=message))
        return Analysis(
            value=Emotions(vocabulary=self._vocabulary, windows=tuple(scored)),
            audio=decoded.audio,
            model=self._identity,
            compute_seconds=time.perf_counter() - began - waited,
            work=_work(passes, self._batch_samples),
            cautions=tuple(cautions),
        )

    def warm_up(self) -> None:
        """Run a second of noise through voice activity detection and the model."""
        noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
        speech.find(noise)
        with self._lock:
            scores_of(self.logits([noise]), self._vocabulary)

    def logits(self, windows: Sequence[Array], progress: Progress = lambda _: None) -> Array:
        """Raw outputs, shape (windows, labels), of 16 kHz windows of shape (n,), in their order."""
        # The extractor normalises each window by itself, before any padding.
        name = self._extractor.model_input_names[0]
        inputs = [
            np.asarray(self._extractor(window, sampling_rate=SAMPLE_RATE, return_tensors="np")[name][0], np.float32)
            for window in windows
        ]
        results = np.empty((len(windows), self._model.config.num_labels), dtype=np.float32)
        done = 0
        for batch in _batches([array.shape for array in inputs], padding=self._may_pad, limit=self._batch_samples):
            began = time.perf_counter()
            results[batch] = self._forward([inputs[index] for index in batch])
            self._passes.append(_pass([inputs[index] for index in batch], time.perf_counter() - began))
            done += len(batch)
            progress(done / len(windows))
        return results

    def _score(self, samples: Samples, windows: Sequence[Window], progress: Progress) -> Iterator[EmotionWindow]:
        if not windows:
            return iter(())
        logits = self.logits([_cut(samples[window.channel], window.span) for window in windows], progress)
        return iter(
            EmotionWindow(
                start=window.span.start,
                end=window.span.end,
                channel=window.channel,
                scores=scores,
                sentiment=sentiment_of(scores, self._vocabulary),
            )
            for window, scores in zip(windows, scores_of(logits, self._vocabulary), strict=True)
        )

    @property
    def _may_pad(self) -> bool:
        """Whether padding with a mask leaves scores alone.

        With a layer-norm front end it does; a group-norm one (wav2vec2-base) takes its statistics over the padding
        too (measured: scores off by half a standard deviation; huggingface/transformers#10117 says the same).
        """
        return getattr(self._model.config, "feat_extract_norm", None) == "layer"

    @property
    def _batch_samples(self) -> int:
        return int(_BATCH_SECONDS[self._model.device.type] * SAMPLE_RATE)

    def _forward(self, inputs: Sequence[Array]) -> Array:
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
            return np.asarray(output.logits.float().cpu().numpy())


def _pass(inputs: Sequence[Array], seconds: float) -> Pass:
    return Pass(len(inputs), max(map(len, inputs)), sum(map(len, inputs)), seconds)


def _work(passes: Sequence[Pass], batch_samples: int) -> Work:
    """A batch has as many slots as inputs of its length would have fitted, but always one."""
    return Work(
        engine_seconds=sum(one.seconds for one in passes),
        rows=sum(one.rows for one in passes),
        row_slots=sum(max(one.rows, batch_samples // one.longest) for one in passes),
        filled_seconds=sum(one.filled for one in passes) / SAMPLE_RATE,
        padded_seconds=sum(one.rows * one.longest for one in passes) / SAMPLE_RATE,
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


def windows_of(spans: Sequence[Span], duration: float) -> list[Span]:
    """Cut speech into equal windows of at most WINDOW_SECONDS; widen what is shorter than MIN_SECONDS. Pure.

    A widened window may reach into its neighbour's; it never leaves the recording.
    """
    windows: list[Span] = []
    for span in speech.join(spans, gap=_GAP, pad=_PAD, duration=duration):
        if span.length < MIN_SECONDS:
            start = min(max(0.0, (span.start + span.end - MIN_SECONDS) / 2), max(0.0, duration - MIN_SECONDS))
            windows.append(Span(start, min(duration, start + MIN_SECONDS)))
            continue
        count = math.ceil(span.length / WINDOW_SECONDS - 1e-9)
        edges = np.linspace(span.start, span.end, count + 1).tolist()
        windows.extend(Span(start, end) for start, end in itertools.pairwise(edges))
    return windows


def _windows_of(samples: Samples, channels: Sequence[int]) -> list[Window]:
    duration = samples.shape[1] / SAMPLE_RATE
    windows = [
        Window(channel, span) for channel in channels for span in windows_of(speech.find(samples[channel]), duration)
    ]
    return sorted(windows, key=lambda window: (window.span.start, window.channel))


def _channels(chosen: tuple[int, ...] | None, there: int) -> Sequence[int]:
    """The channels to score. Raises Rejected(invalid_option) for one that the recording does not have."""
    if chosen is None:
        return range(there)
    if all(channel < there for channel in chosen):
        return chosen
    given = ",".join(map(str, chosen))
    allowed = "0: the recording has one channel" if there == 1 else f"0 to {there - 1}: the recording's channels"
    raise Rejected(ErrorCode.INVALID_OPTION, f"option 'emotion': given {given!r}; allowed: {allowed}")


def _cut(channel: Array, span: Span) -> Array:
    return channel[round(span.start * SAMPLE_RATE) : round(span.end * SAMPLE_RATE)]


def _batches(shapes: Sequence[tuple[int, ...]], *, padding: bool, limit: int) -> Iterator[list[int]]:
    """Indices of inputs that go through the model together: of similar length if padding may be used, else of equal.

    A batch holds at most `limit` values after padding, but always one input.
    """
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, shape in enumerate(shapes):
        groups[() if padding and len(shape) == 1 else shape].append(index)
    for indices in groups.values():
        batch: list[int] = []
        for index in sorted(indices, key=lambda index: shapes[index]):  # so the last is the longest
            if batch and (len(batch) + 1) * math.prod(shapes[index]) > limit:
                yield batch
                batch = []
            batch.append(index)
        yield batch
