"""Measure the trained recogniser in plain faster-whisper and in speechpipe's engine, on speech it has not seen."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from faster_whisper import BatchedInferencePipeline, WhisperModel  # type: ignore[import-untyped]

from speechpipe.contract import Model, Options, Transcript
from speechpipe.contract.options import parse_options
from training import corpus, noises, samples, sentences
from training.scoring import Score, align
from training.shifts import noisy, telephone
from training.synthesis import RATE, Audio, Utterance
from workers.models.choice import TOY_ROW_SECONDS, TOY_WINDOWS
from workers.whisper.engine import WhisperEngine


def long_recording(utterances: list[Utterance], seconds: float, seed: int) -> tuple[Audio, str]:
    """Join sentences with pauses of 0.2 to 2.5 s to at least `seconds`; return audio and text."""
    rng = np.random.default_rng([seed, 99])
    pieces: list[Audio] = []
    texts: list[str] = []
    while sum(map(len, pieces)) < seconds * RATE:
        one = utterances[int(rng.integers(len(utterances)))]
        pieces += [one.audio * rng.uniform(0.5, 1.5), np.zeros(int(RATE * rng.uniform(0.2, 2.5)), np.float32)]
        texts.append(one.text)
    audio = np.concatenate(pieces) + rng.normal(0, 3e-4, sum(map(len, pieces)))
    return audio.astype(np.float32), " ".join(texts)


def sentences_score(model: Any, utterances: list[Utterance], change: Any = None, **options: Any) -> Score:
    """Transcribe each sentence separately, with 0.3 s of silence on both sides and its audio changed by `change`."""
    score = Score()
    quiet = np.zeros(RATE * 3 // 10, np.float32)
    for one in utterances:
        audio = np.concatenate([quiet, one.audio, quiet])
        audio = change(audio) if change else audio
        score.add(one.text, one.times + 0.3, *model.transcribe(audio, word_timestamps=True, **options))
    return score


def hallucinations(model: WhisperModel, seed: int) -> dict[str, Any]:
    """Collect the texts given for sounds without speech: all kinds, two lengths, with and without VAD."""
    rng = np.random.default_rng([seed, 98])
    clips = [(kind, noises.no_speech(kind, length, rng)) for kind in noises.KINDS for length in (4, 14)]
    pipeline = BatchedInferencePipeline(model)
    found: dict[str, Any] = {"clips": len(clips), "sequential": [], "sequential_vad": [], "batched": []}
    for kind, clip in clips:
        for name, segments in (
            ("sequential", model.transcribe(clip)[0]),
            ("sequential_vad", model.transcribe(clip, vad_filter=True)[0]),
            (
                "batched",
                pipeline.transcribe(clip, vad_filter=False, clip_timestamps=[{"start": 0.0, "end": len(clip) / RATE}])[
                    0
                ],
            ),
        ):
            found[name] += [f"{kind}: {segment.text.strip()}" for segment in segments if segment.text.strip()]
    return found


def samples_score(model: WhisperModel) -> Score:
    """Transcribe the bundled samples, each channel separately."""
    score = Score()
    for entry, channels in samples.read():
        for text, audio in zip(entry["text"], channels, strict=True):
            score.add(text, None, *model.transcribe(audio, vad_filter=True, word_timestamps=True))
    return score


def worker_scores(model: WhisperModel, utterances: list[Utterance], seed: int) -> dict[str, Any]:
    """Word error rates in the worker's engine, which gives this model one sentence at a time."""
    unnamed = Model(name="toy", revision="", engine="")
    engine = WhisperEngine(model, unnamed, max_seconds=3600, row_seconds=TOY_ROW_SECONDS, windows=TOY_WINDOWS)
    long, long_text = long_recording(utterances, 620, seed)
    counts = {"bundled_samples": [0, 0], "long_recording": [0, 0]}

    def count(name: str, text: str, path: Path, options: Options) -> None:
        found = engine(path, options, lambda share: None).value
        assert isinstance(found, Transcript)
        said = sentences.words(text)
        counts[name][0] += align(said, sentences.words(" ".join(segment.text for segment in found.segments)))[0]
        counts[name][1] += len(said)

    for entry, _ in samples.read():
        turns = sorted(entry["turns"], key=lambda turn: float(turn["start"]))
        text = " ".join(turn["text"] for turn in turns)
        count("bundled_samples", text, samples.FOLDER / entry["file"], parse_options(entry["options"]))
    with tempfile.TemporaryDirectory() as folder:
        samples.encode(long[None], Path(folder) / "long.wav", ())
        count("long_recording", long_text, Path(folder) / "long.wav", Options())
    return {
        name: {"words": words, "word_error_rate": round(errors / words, 4)} for name, (errors, words) in counts.items()
    }


def long_scores(model: WhisperModel, utterances: list[Utterance], seed: int) -> dict[str, Any]:
    """Word error rates of a ten-minute recording, decoded sequentially and in batches."""
    audio, text = long_recording(utterances, 620, seed)
    pipeline = BatchedInferencePipeline(model)
    ways: dict[str, tuple[Any, dict[str, Any]]] = {
        "sequential": (model, {"vad_filter": True}),
        "batched": (pipeline, {}),
        "sequential_unconditioned": (model, {"vad_filter": True, "condition_on_previous_text": False}),
    }
    scores: dict[str, Any] = {"seconds": round(len(audio) / RATE)}
    for name, (how, options) in ways.items():
        score = Score()
        score.add(text, None, *how.transcribe(audio, word_timestamps=True, **options))
        scores[name] = score.report()
    return scores


def parameters(folder: Path) -> int:
    """Approximate number of parameters; model.bin stores them as float16."""
    return (folder / "model.bin").stat().st_size // 2


def evaluate(folder: Path, cache: Path, seed: int, most: int) -> Iterator[tuple[str, Any]]:
    """Yield the name and figures of each test of the model in `folder`, with at most `most` sentences each."""
    model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=2)
    exact = WhisperModel(str(folder), device="cpu", compute_type="float32", cpu_threads=2)
    test, voice = (corpus.load(split, cache, seed) for split in ("test", "voice"))
    rng = np.random.default_rng([seed, 97])
    few = test[: min(most, 100)]
    runs: dict[str, Callable[[], Score]] = {
        "held_out_sentences": lambda: sentences_score(model, test[:most], vad_filter=True),
        "held_out_voice": lambda: sentences_score(model, voice[:most], vad_filter=True),
        "bundled_samples": lambda: samples_score(model),
        "held_out_sentences_telephone": lambda: sentences_score(model, few, telephone),
        "held_out_sentences_noise_15_db": lambda: sentences_score(model, few, lambda audio: noisy(audio, 15, rng)),
        "held_out_sentences_beam_1_no_vad_float32": lambda: sentences_score(exact, few, beam_size=1),
        "held_out_sentences_translate": lambda: sentences_score(model, few[:40], task="translate"),
    }
    yield "parameters", parameters(folder)
    for name, run in runs.items():
        score = run()
        print(*score.mistakes[:8], sep="\n", flush=True)
        yield name, score.report()
    yield "long_recording", long_scores(model, test, seed)
    yield "worker", worker_scores(model, test, seed)
    yield "no_speech", hallucinations(model, seed)


def write(folder: Path, cache: Path, seed: int, most: int = 1000) -> None:
    """Evaluate the model and write each test's figures beside it as soon as they are known."""
    figures: dict[str, Any] = {"seed": seed, "most": most}
    for name, found in evaluate(folder, cache, seed, most):
        figures[name] = found
        (folder / "evaluation.json").write_text(json.dumps(figures, indent=2) + "\n")
        print(name, json.dumps(found), flush=True)
