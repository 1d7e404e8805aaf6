"""The emotion engine: a transformers audio classifier over windows of speech.

Windows are rows of the batcher. They share batches with those of other recordings, but only in ways that do not change
their scores: alone or in a batch, a window's scores are the same to 1e-4 in float32
(`tests/workers/emotion/test_classifier.py`), and to a thousandth in bfloat16.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from speechpipe.backends.ports import Progress
from speechpipe.contract import (
    Analysis,
    Caution,
    Emotions,
    EmotionWindow,
    LabelScore,
    Model,
    Options,
    Part,
    Stage,
    Vocabulary,
)
from speechpipe.contract.errors import EngineUnavailable
from speechpipe.observe import spans
from workers.audio import vad
from workers.audio.chunks import Audio, speech_chunks
from workers.audio.decoder import SAMPLE_RATE, as_float
from workers.audio.parts import open_part
from workers.batcher import Batcher, Submitter
from workers.emotion import cautions as remarks
from workers.emotion import conditions
from workers.emotion.calibration import calibration_of
from workers.emotion.channels import channels_to_score, missing
from workers.emotion.head import UnreadableModel
from workers.emotion.labels import SETTING, scores_of, sentiment_of, vocabulary_of
from workers.emotion.levels import Levels
from workers.emotion.neighbours import speech_in, with_neighbours
from workers.emotion.own_length import OwnLengths, log_mel, takes_own_lengths
from workers.emotion.sound import sound_of
from workers.emotion.tracking import Tracker, Window, work_of
from workers.emotion.windows import CHUNK_RULES, windows_of

#: Samples. Windows that are padded to share a batch differ by less than this.
_BUCKET = SAMPLE_RATE // 2
#: Windows in one pass of the model.
_ROWS_PER_BATCH = {"cpu": 4, "cuda": 32}
#: Assumed length of a recording whose header declares none.
_DEFAULT_SECONDS = 600.0

Array = npt.NDArray[np.float32]


class UninitialisedWeights(EngineUnavailable):
    """Weights of the model are missing from its files, so its scores would be random."""


@dataclass(frozen=True)
class Row:
    """A window as input to the model: normalised on its own, before any padding."""

    input: Array  #: shape (samples,), or whatever the model's feature extractor returns
    seconds: float


class EmotionEngine:
    """The ser engine with a loaded model. Safe to call from several threads, whose windows share batches."""

    def __init__(
        self,
        model: Any,
        extractor: Any,
        identity: Model,
        *,
        max_seconds: float,
        cautions: Sequence[Caution] = (),
        parallel_batches: int = 1,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        """`vocabulary`: what the outputs mean; by default what the model's own config says."""
        self._model = model.eval()
        self._extractor = extractor
        self._identity = identity
        self._max_seconds = max_seconds
        self._cautions = tuple(cautions)
        self._vocabulary = vocabulary or vocabulary_of(identity.name, model.config)
        calibration = calibration_of(model.config)
        self._temperature = calibration.temperature if calibration else 1.0
        self._lengths = OwnLengths(self._model) if takes_own_lengths(extractor) else None
        self._batcher: Batcher[Row, Array] = Batcher(
            self._forward,
            key=self._key,
            seconds=lambda row: row.seconds,
            rows_per_batch=_ROWS_PER_BATCH[model.device.type],
            parallel_batches=parallel_batches,
        )

    @property
    def stage(self) -> Stage:
        """Speech emotion recognition."""
        return Stage.SER

    @property
    def vocabulary(self) -> Vocabulary:
        """What the labels mean."""
        return self._vocabulary

    def __call__(self, path: Path, options: Options, progress: Progress, part: Part | None = None) -> Analysis:
        """Score the windows of a recording, or of a part of it.

        Raises Rejected if it can never work, Busy if too much audio stays in flight.
        """
        chosen = options.emotion if isinstance(options.emotion, tuple) else None
        split = options.channels == "split" or chosen is not None
        tracker = Tracker(progress)
        with open_part(
            path, part, split=split, max_seconds=self._max_seconds, track=options.track, language=options.language
        ) as stream:
            channels = channels_to_score(chosen, stream.channels)
            levels = Levels(stream, channels)
            tracker.start, tracker.seconds, tracker.channels = stream.start, stream.expected_seconds, len(channels)
            seconds = len(channels) * ((stream.expected_seconds or stream.start + _DEFAULT_SECONDS) - stream.start)
            with self._batcher.admit(seconds, tracker.show) as rows:
                with spans.span("prepare"):  # the first windows are scored while the rest is being decoded
                    windows = list(self._submit(levels, channels, rows, tracker))
                tracker.seconds = stream.audio.duration
                windows.sort(key=lambda window: (window.span.start, window.channel))
                logits: list[Array] = []
                with spans.span("engine"):
                    for window in windows:
                        logits.append(tracker.timed(rows.result, window.logits))
                        tracker.show()
        progress(1.0)
        scored, cautions = self._scored(windows, logits)
        return Analysis(
            value=Emotions(vocabulary=self._vocabulary, windows=scored),
            audio=stream.audio,
            model=self._identity,
            compute_seconds=tracker.compute_seconds(rows.usage.engine_seconds),
            work=work_of(rows.usage),
            cautions=(
                *self._cautions,
                *remarks.uncalibrated(self._vocabulary, windows),
                *stream.cautions,
                *remarks.absences(windows, split=split, channels=stream.audio.channels),
                *missing(chosen, stream.audio.channels),
                *cautions,
                *remarks.unscored(levels, windows, channels),
                *remarks.alike(levels, windows),
                *conditions.heard(levels, windows, channels),
            ),
        )

    def warm_up(self) -> None:
        """Run a second of noise through voice activity detection and the model."""
        noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
        vad.find(noise)
        self.scores([noise])

    def logits(self, windows: Sequence[Array]) -> Array:
        """The model's raw outputs, shape (windows, labels), for 16 kHz windows of shape (n,), in their order."""
        with self._batcher.admit(sum(map(len, windows)) / SAMPLE_RATE) as rows:
            futures = [rows.submit(self._row(window)) for window in windows]
            return np.stack([rows.result(future) for future in futures])

    def scores(self, windows: Sequence[Array]) -> list[tuple[LabelScore, ...]]:
        """The scores of 16 kHz windows of shape (n,), as in a record: all labels of each, highest first."""
        return self._scores_of(self.logits(windows))

    def _scores_of(self, logits: Array) -> list[tuple[LabelScore, ...]]:
        return scores_of(logits / np.float32(self._temperature), self._vocabulary)

    def _submit(
        self, stream: Audio, channels: Sequence[int], rows: Submitter[Row, Array], tracker: Tracker
    ) -> Iterator[Window]:
        """Read an audio stream and submit its windows as they are cut, so that scoring starts before decoding ends."""
        for chunk in speech_chunks(stream, CHUNK_RULES, channels):
            for span, samples in windows_of(chunk):
                audio = as_float(samples)
                future = tracker.timed(rows.submit, self._row(audio))
                window = Window(chunk.channel, span, speech_in(chunk, span), sound_of(audio), future)
                tracker.pending.append(window)
                yield window
            tracker.show()

    def _row(self, window: Array) -> Row:
        seconds = len(window) / SAMPLE_RATE
        if self._lengths:
            return Row(log_mel(self._extractor, window), seconds)
        name = self._extractor.model_input_names[0]
        features = self._extractor(window, sampling_rate=SAMPLE_RATE, return_tensors="np")[name][0]
        return Row(np.asarray(features, np.float32), seconds)

    def _scored(
        self, windows: Sequence[Window], logits: Sequence[Array]
    ) -> tuple[tuple[EmotionWindow, ...], list[Caution]]:
        """The scores of the windows, and the cautions about windows that have none or are too short for any.

        Raises UnreadableModel if the model gave no numbers for any of several windows: then it is broken.
        """
        finite = [bool(np.isfinite(row).all()) for row in logits]
        kept = [window for window, is_finite in zip(windows, finite, strict=True) if is_finite]
        if len(windows) > 1 and not kept:
            raise UnreadableModel(f"{self._vocabulary.id} returned no numbers for any of {len(windows)} windows")
        left_out = [window for window, is_finite in zip(windows, finite, strict=True) if not is_finite]
        cautions = [*remarks.dropped(left_out, "the model's scores for it were no numbers")]
        if not kept:
            return (), cautions
        scores = self._scores_of(np.stack([row for row, is_finite in zip(logits, finite, strict=True) if is_finite]))
        scores, alone = with_neighbours(kept, scores)
        cautions += remarks.short(alone)
        unsure = {id(window) for window in alone}
        made = (self._window(*each, unsure=id(each[0]) in unsure) for each in zip(kept, scores, strict=True))
        return tuple(made), cautions

    def _window(self, window: Window, scores: tuple[LabelScore, ...], *, unsure: bool) -> EmotionWindow:
        return EmotionWindow(
            start=window.span.start,
            end=window.span.end,
            channel=window.channel,
            scores=scores,
            sentiment=sentiment_of(scores, self._vocabulary),
            unsure=unsure,
        )

    def _key(self, row: Row) -> Hashable:
        """Rows of the same length share a batch, or rows of similar length if the model allows padding.

        With a layer-norm front end, padding with a mask does not change scores. A group-norm front end (wav2vec2-base)
        computes its statistics over the padding too (measured: scores off by half a standard deviation;
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
        else:  # without a mask: the same result from the fast attention kernel
            padded = np.stack(inputs)
        model = self._lengths(padded.shape[-1]) if self._lengths else self._model
        with torch.inference_mode():
            output = model(torch.from_numpy(padded).to(device=device, dtype=dtype), **extra)
            return list(np.asarray(output.logits.float().cpu().numpy()))


def load_classifier(folder: Path, *, device: str, dtype: str, labels: Sequence[str] | None = None) -> tuple[Any, Any]:
    """Load model and feature extractor from a folder, never from the network.

    `labels`: those of its outputs; by default as many as its config names. Raises UninitialisedWeights if the files
    lack any weight. transformers would make it up and only log a warning.
    """
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    named = {} if labels is None else {"id2label": dict(enumerate(labels))}
    model, report = AutoModelForAudioClassification.from_pretrained(
        folder,
        dtype=getattr(torch, dtype),
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are in the report
        local_files_only=True,
        trust_remote_code=False,
        **named,
    )
    # Only training uses this weight, and many models were published without it.
    missing = {key for key in report["missing_keys"] if not key.endswith("masked_spec_embed")}
    for key, stored, made in report["mismatched_keys"]:
        if key == "classifier.weight":  # only a .bin: a Head tells it of safetensors
            raise UnreadableModel(f"{folder.name} has {stored[0]} outputs, but {made[0]} labels: {SETTING} names them")
    wrong = sorted(missing | {str(key) for key, *_ in report["mismatched_keys"]})
    if wrong:
        shown = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        raise UninitialisedWeights(f"the model in {folder} has no weights for {shown}: is it an emotion classifier?")
    extractor = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
    return model.to(device), extractor
