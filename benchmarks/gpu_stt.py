"""The Whisper parts of `benchmarks.gpu`."""

from __future__ import annotations

import functools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any

import ctranslate2  # type: ignore[import-untyped]
import numpy as np
import torch
from faster_whisper import BatchedInferencePipeline, WhisperModel  # type: ignore[import-untyped]
from faster_whisper.feature_extractor import FeatureExtractor  # type: ignore[import-untyped]
from tokenizers import Tokenizer

from benchmarks.door import Door, worker
from benchmarks.gpu_part import Busy, Line, Part, Timed, seconds_of, synchronize
from benchmarks.preparation import FORMATS, write
from benchmarks.random_whisper import random_whisper
from benchmarks.recordings import mixed
from benchmarks.torch_encoder import TorchEncoder, WithTorchEncoder
from speechpipe.contract import Analysis, Model, Stage
from workers.audio import reader
from workers.audio.decoder import SAMPLE_RATE
from workers.models.choice import PARALLEL_BATCHES
from workers.whisper import transcription
from workers.whisper.engine import ROWS_PER_BATCH, WhisperEngine
from workers.whisper.features import LogMel
from workers.whisper.log_mel import HOP
from workers.whisper.log_mel_torch import GpuLogMel, view

_LONG_FORMAT = "m4a 44.1 kHz mono"
_MOST_LONG = 80  #: recordings
_MIXED_SECONDS = 40.0  #: no further round starts after this
_FRAMES = 3000


def stt(part: Part) -> None:
    """The rows `stt-mixed` and `stt-long`."""
    folder, number_format = str(whisper_folder(part)), _number_format(part)
    # As workers.models.choice loads it; faster-whisper's pipeline runs one batch at a time on one of these.
    model = WhisperModel(folder, device=part.device, compute_type=number_format, num_workers=PARALLEL_BATCHES)
    speed = _mixed(part, model)
    sizes = part.sizes
    long = write(part.folder / "long.m4a", sizes.long_seconds, *FORMATS[_LONG_FORMAT][1:])
    files = [part.folder / f"long{number}.m4a" for number in range(_MOST_LONG)]
    for file in files:
        file.hardlink_to(long)
    few = files[: sizes.least_long]
    if not part.has(1.5 * (len(few) + 1) * sizes.long_seconds / speed, "stt-long"):
        return
    # This run only serves to choose the number of recordings.
    speed = _long(part, model, "CTranslate2", sizes.usual, few)["times_real_time"]
    some = files[: max(sizes.least_long, round(speed * sizes.long_wall / sizes.long_seconds))]
    ways = [("CTranslate2", sizes.usual), ("torch", sizes.usual), *(("CTranslate2", rows) for rows in sizes.batches)]
    for encoder, rows in dict.fromkeys(ways):
        if part.has(1.2 * (len(some) + 1) * sizes.long_seconds / speed, "stt-long"):
            line = functools.partial(_long, part, model, encoder, rows, some)
            part.try_("stt-long", line, encoder=encoder, rows_per_batch=rows)


def encoders(part: Part) -> None:
    """The rows `log-mel`, `encoder` and `inter-threads`."""
    folder, sizes = whisper_folder(part), part.sizes
    model = _bare(part, folder, 1)
    other = TorchEncoder(folder, device=part.device, dtype=_torch_format(part))
    features = np.random.default_rng(0).normal(0, 0.5, (max(sizes.batches), model.n_mels, _FRAMES)).astype(np.float32)
    options = _forced(Tokenizer.from_file(str(folder / "tokenizer.json")), sizes.tokens)
    for rows in sizes.batches:
        if part.has(5, "log-mel"):
            _compare_log_mel(part, model, rows)
    for rows in sizes.batches:
        if part.has(10, "encoder"):
            _compare(part, model, other, features[:rows], options)
    del other
    for threads in (1, 2):
        if part.has(10, "inter-threads"):
            both = functools.partial(_at_once, part, _bare(part, folder, threads), features[: sizes.usual], options)
            part.try_("inter-threads", both, inter_threads=threads)


def whisper_folder(part: Part) -> Path:
    """The model with random weights; the first part that needs it makes it."""
    folder = part.folder / "whisper"
    if not folder.exists():
        began = time.perf_counter()
        random_whisper(part.sizes.whisper, part.folder / f"unfinished-{os.getpid()}").rename(folder)
        part.report.part(part.name, model=part.sizes.whisper, seconds_to_make_it=time.perf_counter() - began)
    return folder


# ---------------------------------------------------------------------------------------------------- over HTTP


def _mixed(part: Part, model: WhisperModel) -> float:
    """Compare with faster-whisper's batches, alternating; return speechpipe's audio seconds per second."""
    files = list(mixed(part.folder, part.sizes.files, part.sizes.longest))
    audio = sum(path.stat().st_size for path in files) / 2 / SAMPLE_RATE
    tokens = part.sizes.mixed_tokens
    options: dict[str, Any] = {"beam_size": 5, "word_timestamps": True, "vad_filter": True, "temperature": 0.0}
    options |= {"max_new_tokens": 2 * tokens - 4, "without_timestamps": True}  # it adds the prompt's four tokens
    pipeline = BatchedInferencePipeline(model)

    def batched(files: Sequence[Path]) -> None:
        for path in files:
            # It appends to the list of suppressed tokens that it gets, so pass a new one.
            suppressed = _forced(model.hf_tokenizer, tokens)["suppress_tokens"]
            for _ in pipeline.transcribe(str(path), suppress_tokens=suppressed, **options)[0]:
                pass

    with _door(part, model, part.sizes.usual, tokens) as door:
        ways: dict[str, Callable[[Sequence[Path]], object]] = {
            "speechpipe, over HTTP": door,
            "faster-whisper batched, file by file": batched,
        }
        took: dict[str, list[float]] = {name: [] for name in ways}
        door(files[:8])
        batched(files[:8])
        until = time.perf_counter() + _MIXED_SECONDS
        for number in range(part.sizes.repeats):
            if number == 0 or time.perf_counter() < until:
                for name, work in ways.items():
                    began = time.perf_counter()
                    work(files)
                    took[name].append(time.perf_counter() - began)
    middle = {name: statistics.median(seconds) for name, seconds in took.items()}
    ours = next(iter(middle.values()))
    for name, seconds in middle.items():
        figures = {"audio_seconds": audio, "wall_seconds": seconds, "audio_s_per_s": audio / seconds}
        part.report.line("stt-mixed", contender=name, **figures, ours_to_it=seconds / ours, goal=5.0)
    return audio / ours


def _long(part: Part, model: WhisperModel, encoder: str, rows: int, files: Sequence[Path]) -> Line:
    """Long recordings end to end, and where the time goes."""
    plain = model.model
    chosen = plain
    if encoder == "torch":
        folder = whisper_folder(part)
        chosen = WithTorchEncoder(plain, TorchEncoder(folder, device=part.device, dtype=_torch_format(part)))
    model.model = timed = Timed(chosen)
    try:
        with _door(part, model, rows, part.sizes.tokens, timed.seconds) as door:
            door(files[:1])
            timed.seconds.clear()
            reader.stop()  # RUSAGE_CHILDREN counts only processes that have ended; also below
            with Busy() as busy:
                used, began = _children_seconds(), time.perf_counter()
                analyses = door(files)
                wall = time.perf_counter() - began
                reader.stop()
                used = _children_seconds() - used
    finally:
        model.model = plain
    return _shares(analyses, wall, timed.seconds, used, busy.share)


def _shares(
    analyses: Sequence[Analysis], wall: float, calls: dict[str, float], decoding: float, busy: float | None
) -> Line:
    audio = sum(one.audio.duration for one in analyses)
    work = [one.work for one in analyses if one.work]
    engine = sum(one.engine_seconds for one in work)
    own = sum(one.compute_seconds for one in analyses) - engine
    parts = {
        "encode": calls.get("encode", 0.0),
        "decode": calls.get("generate", 0.0),
        "align": calls.get("align", 0.0),
        "language": calls.get("detect_language", 0.0),
    }
    parts["python_round_it"] = calls.get("run", 0.0) - sum(parts.values())
    idle = 1 - engine / wall
    binds = "preparation: the engine waits for rows" if idle > 0.5 else max(parts, key=lambda name: parts[name])
    return {
        "times_real_time": audio / wall,
        "goal": 2000,
        "binds": binds,
        "audio_seconds": audio,
        "wall_seconds": wall,
        **{f"{name}_seconds": seconds for name, seconds in parts.items()},
        "engine_idle_share": idle,
        "gpu_idle_share": None if busy is None else 1 - busy,
        "preparing_thread_seconds": own,
        "decoding_cpu_seconds": decoding,
        "rows": sum(one.rows for one in work),
        "rows_of_slots": sum(one.rows for one in work) / sum(one.row_slots for one in work),
    }


@contextmanager
def _door(
    part: Part, model: WhisperModel, rows: int, tokens: int, calls: dict[str, float] | None = None
) -> Iterator[Door]:
    """Run a worker with this model, with `tokens` tokens per row and `rows` rows per batch.

    The seconds of its batches are added to `calls`, as `run`.
    """
    ROWS_PER_BATCH[part.device] = rows
    identity = Model(name=part.sizes.whisper, revision="", engine="", device=part.device)
    transcription.MAX_RETRIES = 0  # with random weights the words lie anywhere
    decoding = {"attempts": ({},), "generate": _forced(model.hf_tokenizer, tokens)}
    engine = WhisperEngine(model, identity, max_seconds=36_000, decoding=decoding)
    if calls is not None:
        engine._batcher._run = Timed(engine._rows, calls).run
    with worker(Stage.STT, lambda *_: engine, Path(tempfile.mkdtemp(dir=part.folder)), part.sizes.in_flight) as door:
        yield door


def _forced(tokenizer: Tokenizer, tokens: int) -> dict[str, Any]:
    """Force this many tokens: random weights would stop anywhere. CTranslate2 stops at half of max_length."""
    return {
        "max_length": 2 * tokens,
        "suppress_tokens": [-1, tokenizer.token_to_id("<|endoftext|>")],
    }


def _children_seconds() -> float:
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# ----------------------------------------------------------------------------------------------- the engine alone


def _compare_log_mel(part: Part, model: Any, count: int) -> None:
    """Features of a batch of full rows by torch and by numpy, alone and followed by the encoder."""
    filters = FeatureExtractor(feature_size=model.n_mels).mel_filters
    noise = np.random.default_rng(0).normal(0, 3000, (count, _FRAMES * HOP)).clip(-32768, 32767).astype(np.int16)
    ways: dict[str, Callable[..., Any]] = {"torch": GpuLogMel(filters, part.device), "numpy": LogMel(filters, "cpu")}
    expected = np.array(ways["numpy"](noise, _FRAMES))

    def line(way: Callable[[Any, int], Any]) -> Line:
        made = np.array(way(noise, _FRAMES).to_device(ctranslate2.Device.cpu))
        return {
            "log_mel_ms_a_row": 1000 * seconds_of(lambda: way(noise, _FRAMES), part.sizes.repeats) / count,
            "with_encoding_ms_a_row": 1000
            * seconds_of(lambda: model.encode(way(noise, _FRAMES)), part.sizes.repeats)
            / count,
            "greatest_difference": float(np.abs(made - expected).max()),
        }

    for name, way in ways.items():
        part.try_("log-mel", functools.partial(line, way), made_by=name, rows_per_batch=count)


def _compare(part: Part, model: Any, other: TorchEncoder, features: Any, options: Line) -> None:
    """Both encoders on the same rows, alone and followed by CTranslate2's decoder, and their tokens."""
    given, as_tensor = ctranslate2.StorageView.from_array(features), torch.from_numpy(features)
    ways: dict[str, Callable[[], ctranslate2.StorageView]] = {
        "CTranslate2": lambda: model.encode(given),
        "torch": lambda: view(other(as_tensor)),
    }
    count, repeats = len(features), part.sizes.repeats
    expected = np.array(model.encode(given, to_cpu=True)).astype(np.float32)
    words = _tokens(model, ways["CTranslate2"](), count, options)

    def encoded(way: Callable[[], Any]) -> None:
        way()
        synchronize()

    def line(way: Callable[[], Any]) -> Line:
        alone = seconds_of(lambda: encoded(way), repeats)
        both = seconds_of(lambda: _tokens(model, way(), count, options), repeats)
        found = other(as_tensor).float().cpu().numpy() if way is ways["torch"] else expected
        equal = [one == two for one, two in zip(_tokens(model, way(), count, options), words, strict=True)]
        return {
            "encode_ms_a_row": 1000 * alone / count,
            "with_decoding_ms_a_row": 1000 * both / count,
            "times_real_time": 30 * count / both,
            "equal_rows": sum(equal) / count,
            "greatest_difference": float(np.abs(found - expected).max() / expected.std()),
        }

    for name, way in ways.items():
        part.try_("encoder", functools.partial(line, way), encoder=name, rows_per_batch=count)


def _at_once(part: Part, model: Any, features: Any, options: Line) -> Line:
    """Two threads with a batch each; the model decides whether they run concurrently."""
    given, repeats = ctranslate2.StorageView.from_array(features), part.sizes.repeats

    def batches(_: int) -> None:
        for _ in range(repeats):
            _tokens(model, model.encode(given), len(features), options)

    with ThreadPoolExecutor(2) as threads:
        took = seconds_of(lambda: list(threads.map(batches, range(2))), 1)
    return {"rows_per_second": 2 * repeats * len(features) / took}


def _tokens(model: Any, encoded: Any, count: int, options: Line) -> list[list[int]]:
    prompt = ["<|startoftranscript|>", "<|en|>", "<|transcribe|>"]
    found = model.generate(encoded, [prompt] * count, beam_size=5, return_scores=True, **options)
    return [row.sequences_ids[0] for row in found]


def _bare(part: Part, folder: Path, threads: int) -> Any:
    return ctranslate2.models.Whisper(
        str(folder), device=part.device, compute_type=_number_format(part), inter_threads=threads
    )


def _number_format(part: Part) -> str:
    return "float16" if part.on_gpu else "float32"


def _torch_format(part: Part) -> torch.dtype:
    return torch.float16 if part.on_gpu else torch.float32
