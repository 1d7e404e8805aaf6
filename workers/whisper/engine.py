"""The speech-to-text engine: Whisper over rows of speech, batched with those of other recordings.

While another process decodes a recording (`audio.reader`), its speech is cut into chunks (`audio.chunks`). These are
collected into rows (`transcription`), which share batches with rows of other recordings (`batcher`) and go through
Whisper's own checks (`rows`). This module handles options and prompts; `transcript` builds what a recording gets back.
Words never run backwards or past the end of the recording, and every segment says whether it looks invented.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from faster_whisper import WhisperModel  # type: ignore[import-untyped]

from speechpipe.backends.ports import Progress
from speechpipe.contract import (
    Analysis,
    Audio,
    Caution,
    Model,
    Options,
    Part,
    Stage,
    Transcript,
    Work,
)
from speechpipe.contract.errors import ErrorCode, Rejected
from speechpipe.observe import spans
from workers.audio import vad
from workers.audio.chunks import ChunkRules, speech_chunks
from workers.audio.decoder import SAMPLE_RATE, as_float
from workers.audio.parts import open_part
from workers.batcher import Batcher
from workers.whisper.languages import SURE
from workers.whisper.rows import WINDOW_FRAMES, Row, RowResult, WhisperRows
from workers.whisper.transcript import transcript_of
from workers.whisper.transcription import Channel, ShownProgress, Transcription

#: Pauses up to `_GAP` seconds stay in a chunk, and `_PAD` seconds are kept on each side (faster-whisper's defaults).
_GAP, _PAD = 2.0, 0.4
#: Audio in one row. Whisper's window is 30 s, and a little silence after the last word helps it to finish.
ROW_SECONDS = 29.0
#: Longer speech is cut at a pause, so that rows fill up. The next chunk goes into the same row if there is room.
_CHUNK_SECONDS = 5.0
#: Rows in one pass of the model.
ROWS_PER_BATCH = {"cpu": 8, "cuda": 32}
#: Whisper's prompt has room for 223 tokens before the task. Hotwords and prompt get half each if both are given.
_PROMPT_TOKENS = 223
#: Assumed length of a recording whose header declares none.
_DEFAULT_SECONDS = 600.0


class WhisperEngine:
    """The stt engine with a loaded model. Safe to call from several threads, whose rows share batches."""

    def __init__(
        self,
        model: WhisperModel,
        identity: Model,
        *,
        max_seconds: float,
        cautions: Sequence[Caution] = (),
        row_seconds: float = ROW_SECONDS,
        windows: Sequence[int] = (WINDOW_FRAMES,),
        decoding: dict[str, Any] | None = None,
    ) -> None:
        """`windows` and `decoding`: see WhisperRows. Use shorter windows only for models shown to cope with them."""
        self._model = model
        self._identity = identity
        self._max_seconds = max_seconds
        self._cautions = tuple(cautions)
        self._row_seconds = row_seconds
        self._rows = WhisperRows(model, windows=windows, **(decoding or {}))
        self._batcher = Batcher[Row, RowResult](
            self._rows.run,
            key=self._rows.key,
            seconds=lambda row: row.padded_seconds,
            rows_per_batch=ROWS_PER_BATCH["cuda" if identity.device.startswith("cuda") else "cpu"],
            parallel_batches=model.model.num_workers,
        )

    @property
    def stage(self) -> Stage:
        """Speech to text."""
        return Stage.STT

    def __call__(self, path: Path, options: Options, progress: Progress, part: Part | None = None) -> Analysis:
        """Transcribe a recording, or a part of it.

        Raises Rejected if it can never work, Busy if too much audio stays in flight.
        """
        began = time.perf_counter()
        self._check(options)
        split = options.channels == "split"
        rules = ChunkRules(gap=_GAP, pad=_PAD, longest=min(_CHUNK_SECONDS, self._row_seconds))
        with open_part(
            path, part, split=split, max_seconds=self._max_seconds, track=options.track, language=options.language
        ) as stream:
            shown = ShownProgress(stream, progress)
            seconds = stream.channels * ((stream.expected_seconds or stream.start + _DEFAULT_SECONDS) - stream.start)
            with self._batcher.admit(seconds, shown.repeat) as submitter:
                transcription = Transcription(
                    self._rows,
                    submitter,
                    options,
                    languages=self._model.model.is_multilingual,
                    hints=self._hint_tokens(options),
                    row_seconds=self._row_seconds,
                    on_progress=lambda: shown.update(transcription.channels.values()),
                )
                with spans.span("prepare"):  # the first rows run while the rest is being decoded
                    for chunk in speech_chunks(stream, rules):
                        transcription.add(chunk)
                shown.seconds = stream.audio.duration
                with spans.span("engine"):
                    transcription.finish()
            audio, cautions = stream.audio, stream.cautions
        progress(1.0)
        channels = list(transcription.channels.values())
        transcript, remarks = transcript_of(channels, audio.duration, named=split and audio.channels > 1)
        usage, spent = submitter.usage, time.perf_counter() - began
        return Analysis(
            value=transcript,
            audio=audio,
            model=self._identity,
            # Rows may run while this thread prepares the next ones, so the sum could exceed the time that passed.
            compute_seconds=min(spent, spent - transcription.waited + usage.engine_seconds),
            work=Work(
                engine_seconds=usage.engine_seconds,
                rows=usage.rows,
                row_slots=max(usage.rows, round(usage.slots)),
                filled_seconds=transcription.filled_seconds,
                padded_seconds=transcription.padded_seconds,
            ),
            cautions=(
                *self._cautions,
                *cautions,
                *self._own_cautions(options, audio, transcript, channels),
                *remarks,
            ),
        )

    def warm_up(self) -> None:
        """Run a second of noise through voice activity detection and every part of the model, once."""
        noise = np.random.default_rng(0).normal(0, 3000, SAMPLE_RATE).astype(np.int16)
        vad.find(as_float(noise))
        self._rows.warm_up(self._rows.row(noise))

    def _hint_tokens(self, options: Options) -> tuple[int, ...]:
        """Hotwords and prompt as tokens, in the order of faster-whisper's prompt."""
        hints = self._hints(options)
        tokenizer, ids = self._model.hf_tokenizer, list(hints.get("initial_prompt", ()))
        if "hotwords" in hints:
            ids = tokenizer.encode(" " + hints["hotwords"].strip(), add_special_tokens=False).ids + ids
        return tuple(ids)

    def _check(self, options: Options) -> None:
        """Raise Rejected(invalid_option) for a language that this model does not know."""
        language = options.language
        if language is None:
            return
        if not self._model.model.is_multilingual and language != "en":
            allowed = "en: this worker's model knows English only"
        elif self._model.model.is_multilingual and self._model.hf_tokenizer.token_to_id(f"<|{language}|>") is None:
            allowed = "a language that this worker's model knows"
        else:
            return
        message = f"option 'language': given {language!r}; allowed: auto, or {allowed}"
        raise Rejected(ErrorCode.INVALID_OPTION, message)

    def _hints(self, options: Options) -> dict[str, Any]:
        """Hotwords and prompt, cut so that both fit. faster-whisper would overrun the model's context."""
        both = options.hotwords is not None and options.initial_prompt is not None
        limit = _PROMPT_TOKENS // 2 if both else _PROMPT_TOKENS
        hints: dict[str, Any] = {}
        if options.hotwords is not None:
            encoded = self._model.hf_tokenizer.encode(options.hotwords.strip(), add_special_tokens=False)
            if len(encoded.ids) < limit:
                hints["hotwords"] = options.hotwords
            else:  # cut after the last token that fits, leaving one token for the leading space
                hints["hotwords"] = options.hotwords.strip()[: encoded.offsets[limit - 2][1]]
        if options.initial_prompt is not None:
            ids = self._model.hf_tokenizer.encode(" " + options.initial_prompt.strip(), add_special_tokens=False).ids
            hints["initial_prompt"] = ids[-limit:]
        return hints

    def _own_cautions(
        self, options: Options, audio: Audio, transcript: Transcript, channels: Sequence[Channel]
    ) -> Iterator[Caution]:
        if not transcript.segments:
            found = "only sounds too short or too unsure to be words were" if transcript.omitted else "no speech was"
            yield Caution(code="no_speech", message=f"{found} found in the recording")
        if mismatch := _contradiction(options.language, channels):
            yield mismatch
        if options.channels == "split" and audio.channels == 1:
            yield Caution(code="mono_split", message="channels=split was asked for, but the recording has one channel")
        name = self._identity.name.lower()
        weak = "turbo" in name or "distil" in name or not self._model.model.is_multilingual
        if options.task == "translate" and weak:
            yield Caution(
                code="translate_untrained",
                message="this worker's model was not trained to translate: the text may be in the language spoken",
            )


def _contradiction(given: str | None, channels: Sequence[Channel]) -> Caution | None:
    """A caution if the sound is surely in another language than the one that was given."""
    voted = max((one.voted for one in channels if one.voted), key=lambda voted: voted.confidence, default=None)
    if given is None or voted is None or voted.code == given or voted.confidence < SURE:
        return None
    message = f"language {given} was given, but the recording sounds like {voted.code} ({voted.confidence:.0%})"
    return Caution(code="language_mismatch", message=message)
