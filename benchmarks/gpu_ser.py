"""The emotion parts of `benchmarks.gpu`."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import pipeline

from benchmarks.door import worker
from benchmarks.gpu_part import Busy, Line, Part, seconds_of, synchronize
from benchmarks.ser import decoded, filling, in_batches, measure, one_by_one, random_model, recordings
from speechpipe.contract import Stage
from workers.audio.decoder import SAMPLE_RATE
from workers.emotion.classifier import load_classifier
from workers.models import choice
from workers.models.choice import TOY_MODELS

Forward = Callable[[torch.Tensor], torch.Tensor]


def ser(part: Part) -> None:
    """The row `ser-files`."""
    folder, sizes = classifier_folder(part), part.sizes
    (part.folder / "ser-files").mkdir()
    files = recordings(part.folder / "ser-files", sizes.files)
    audio = sum(len(decoded(path)) for path in files) / SAMPLE_RATE
    plain = _pipeline(part, folder, "float32")
    ways: dict[str, Callable[[], object]] = {
        "pipeline, file by file": lambda: one_by_one(plain, map(decoded, files)),
        "pipeline, batch_size=8": lambda: in_batches(plain, files),
    }
    if part.on_gpu:
        same = _pipeline(part, folder, "bfloat16")
        ways["pipeline in bfloat16 like speechpipe, file by file"] = lambda: one_by_one(same, map(decoded, files))
    settings = {"models": "auto", "ser_model": str(folder), "device": part.device}
    with worker(Stage.SER, choice.load, part.folder / "ser-backend", sizes.in_flight, **settings) as door:
        door(files)
        with Busy() as busy:
            began = time.perf_counter()
            analyses = door(files)
            wall = time.perf_counter() - began
        took = measure({"speechpipe, over HTTP": lambda: door(files), **ways}, max(1, sizes.repeats - 1))
    ours = float(np.median(took["speechpipe, over HTTP"]))
    for way, seconds in took.items():
        middle = float(np.median(seconds))
        values = {"audio_seconds": audio, "wall_seconds": middle, "audio_s_per_s": audio / middle}
        part.report.line("ser-files", way=way, **values, ours_to_it=middle / ours, goal=10.0)
    full = filling(analyses)
    idle = {
        "engine_idle_share": 1 - full["engine_seconds"] / wall,
        "gpu_idle_share": None if busy.share is None else 1 - busy.share,
    }
    part.report.line("ser-files", way="speechpipe: where it waits", **idle, **full)


def modes(part: Part) -> None:
    """The row `ser-modes`, except for torch.compile."""
    folder = classifier_folder(part)
    expected: torch.Tensor | None = None
    for dtype in ("float32", "float16", "bfloat16") if part.on_gpu else ("float32",):
        model = _model(part, folder, dtype)
        for rows in part.sizes.batches:
            given = _given(part, rows, model.dtype)
            if expected is None:
                expected = _outputs(model)(_given(part, max(part.sizes.batches), torch.float32)).float()
            ways: dict[str, Callable[[], Forward]] = {"eager": functools.partial(_outputs, model)}
            if part.on_gpu and dtype != "float32":
                ways["CUDA graph"] = functools.partial(_graph, model, given)
            for name, make in ways.items():
                if part.has(8, "ser-modes"):
                    line = functools.partial(_speed, part, make, given, expected[:rows])
                    part.try_("ser-modes", line, mode=name, dtype=dtype, rows_per_batch=rows)


def compiled(part: Part) -> None:
    """The row `ser-modes` with torch.compile, which may take as long as everything else together."""
    dtype = "bfloat16" if part.on_gpu else "float32"
    model, rows = _model(part, classifier_folder(part), dtype), part.sizes.usual
    given = _given(part, rows, model.dtype)
    expected = _outputs(model)(given).float()

    def make() -> Forward:
        return _outputs(torch.compile(model, mode="reduce-overhead", dynamic=False))

    line = functools.partial(_speed, part, make, given, expected)
    part.try_("ser-modes", line, mode="torch.compile, reduce-overhead", dtype=dtype, rows_per_batch=rows)


def classifier_folder(part: Part) -> Path:
    """The classifier, with random weights unless it is the toy model; the first part that needs it makes it."""
    if part.sizes.classifier == "toy":
        return TOY_MODELS / "ser"
    folder = part.folder / "ser"
    if not folder.exists():
        began = time.perf_counter()
        random_model(part.folder / f"unfinished-{os.getpid()}", part.sizes.classifier).rename(folder)
        part.report.part(part.name, model=part.sizes.classifier, seconds_to_make_it=time.perf_counter() - began)
    return folder


def _pipeline(part: Part, folder: Path, dtype: str) -> Any:
    device = 0 if part.on_gpu else -1
    return pipeline("audio-classification", model=str(folder), device=device, dtype=getattr(torch, dtype))


def _model(part: Part, folder: Path, dtype: str) -> Any:
    return load_classifier(folder, device=part.device, dtype=dtype)[0].eval()


def _given(part: Part, rows: int, dtype: torch.dtype) -> torch.Tensor:
    """Rows of noise; fewer rows are a prefix of more."""
    noise = np.random.default_rng(0).normal(0, 1, (rows, part.sizes.window)).astype(np.float32)
    return torch.from_numpy(noise).to(device=part.device, dtype=dtype)


def _outputs(model: Any) -> Forward:
    def forward(given: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            logits: torch.Tensor = model(given).logits
            return logits

    return forward


def _graph(model: Any, given: torch.Tensor) -> Forward:
    """The model's kernels for this shape, as one launch: https://docs.pytorch.org/docs/stable/notes/cuda.html."""
    forward, fixed = _outputs(model), given.clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # the graph must not contain what the first run sets up
        for _ in range(3):
            forward(fixed)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = forward(fixed)

    def replay(given: torch.Tensor) -> torch.Tensor:
        fixed.copy_(given)
        graph.replay()
        return found

    return replay


def _speed(part: Part, make: Callable[[], Forward], given: torch.Tensor, expected: torch.Tensor) -> Line:
    began = time.perf_counter()
    forward = make()
    for _ in range(2):
        found = forward(given)
        synchronize()
    ready = time.perf_counter() - began
    difference = float((found.float() - expected).abs().max() / expected.std())

    def once() -> None:
        forward(given)
        synchronize()

    took = seconds_of(once, 5 * part.sizes.repeats)
    return {
        "seconds_until_ready": ready,
        "ms_a_row": 1000 * took / len(given),
        "audio_s_per_s": given.numel() / SAMPLE_RATE / took,
        "greatest_difference": difference,
    }
