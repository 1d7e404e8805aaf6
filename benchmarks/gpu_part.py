"""What the parts of `benchmarks.gpu` share: how much is measured, until when, and where the figures go."""

from __future__ import annotations

import json
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import machine

_LIBRARIES = ("torch", "ctranslate2", "faster-whisper", "transformers", "av", "numpy")
Line = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    whisper: str  #: a shape of `random_whisper`
    classifier: str  #: one of `benchmarks.ser`, or demo
    files: int  #: mixed recordings
    longest: float  #: of these, in seconds
    long_seconds: float  #: a recording of the end-to-end row
    least_long: int  #: such recordings
    long_wall: float  #: about so many seconds for all of them, if that takes more than the least
    in_flight: int
    batches: tuple[int, ...]  #: rows in one pass of a model
    usual: int  #: of these, the worker's
    tokens: int  #: of a full row: what is said in 30 s
    mixed_tokens: int  #: of a row of a mixed recording: in 12 s
    window: int  #: samples of a classifier's row
    repeats: int


SIZES = {
    "full": Sizes("large-v3-turbo", "large", 64, 60.0, 600.0, 8, 15.0, 16, (16, 32, 64), 32, 90, 40, 80_000, 3),
    "tiny": Sizes("tiny", "demo", 3, 6.0, 20.0, 2, 1.0, 2, (1, 2), 2, 8, 6, 16_000, 1),
}


class Report:
    """The figures so far, in a JSON file and a Markdown one beside it, written again with every line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self, **facts: Any) -> None:
        """Forget what is there."""
        self._write({**facts, "parts": {}, "rows": {}})

    def line(self, row: str, **figures: Any) -> None:
        """Add a line to a row."""
        figures = {key: _rounded(value) for key, value in figures.items()}
        print(row, figures, flush=True)
        content = self._read()
        content["rows"].setdefault(row, []).append(figures)
        self._write(content)

    def part(self, name: str, **facts: Any) -> None:
        """Say how a part went."""
        content = self._read()
        content["parts"][name] = content["parts"].get(name, {}) | {key: _rounded(value) for key, value in facts.items()}
        self._write(content)

    def text(self) -> str:
        """Markdown: a table for each row."""
        content = self._read()
        heads = "; ".join(f"{key}: {value}" for key, value in content.items() if key not in ("parts", "rows"))
        blocks = [heads]
        for row, lines in content["rows"].items():
            keys = list(dict.fromkeys(key for line in lines for key in line))
            cells = [[str(line.get(key, "")) for key in keys] for line in lines]
            table = [keys, ["---"] * len(keys), *cells]
            blocks.append(f"**{row}**\n\n" + "\n".join(f"| {' | '.join(one)} |" for one in table))
        blocks.append("\n".join(f"- {name}: {facts}" for name, facts in content["parts"].items()))
        return "\n\n".join(blocks) + "\n"

    def _read(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self._path.read_text())
        return content

    def _write(self, content: dict[str, Any]) -> None:
        unfinished = self._path.with_suffix(".unfinished")  # a part may be ended at any time
        unfinished.write_text(json.dumps(content, indent=1) + "\n")
        unfinished.replace(self._path)
        self._path.with_suffix(".md").write_text(self.text())


@dataclass(frozen=True)
class Part:
    """One of the processes that the benchmark is made of: it holds what it was asked for."""

    name: str
    device: str
    sizes: Sizes
    folder: Path  #: for models and recordings; the parts that follow find them there
    report: Report
    until: float  #: `time.time()` when it is stopped

    @property
    def on_gpu(self) -> bool:
        """Whether figures mean anything."""
        return self.device == "cuda"

    @property
    def left(self) -> float:
        """Seconds."""
        return self.until - time.time()

    def has(self, seconds: float, row: str) -> bool:
        """Whether there is so much time left; if not, the report says that this was left out."""
        if self.left < seconds:
            self.report.line(row, left_out=f"{self.left:.0f} s left, {seconds:.0f} s wanted")
        return self.left >= seconds

    def try_(self, row: str, measure: Callable[[], Line], **what: Any) -> None:
        """Add the line that `measure` gives; what cannot run on this machine is told, and the rest goes on."""
        try:
            figures = measure()
        except Exception as error:
            figures = {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        self.report.line(row, **what, **figures)


@dataclass
class Timed:
    """An engine whose calls are timed: where the seconds of a busy worker go."""

    engine: Any
    seconds: dict[str, float] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.engine, name)
        if not callable(found):
            return found

        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return found(*arguments, **named)
            finally:
                synchronize()  # what a call has only begun belongs to it
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

        return timed


class Busy:
    """How much of the time the GPU computes, by nvidia-smi, as long as it is entered: `share`, None without it."""

    def __init__(self) -> None:
        self.share: float | None = None
        self._seen: list[float] = []
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Busy:
        command = [
            "nvidia-smi",
            "--id=0",
            "--query-gpu=utilization.gpu",
            "--format=csv,noheader,nounits",
            "--loop-ms=200",
        ]
        try:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        except FileNotFoundError:
            return self
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._thread.join()
        if self._seen:
            self.share = statistics.mean(self._seen) / 100

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip().isdigit():
                self._seen.append(float(line))


def seconds_of(work: Callable[[], object], repeats: int) -> float:
    """Median of so many, after one that does not count. `work` has to wait for the GPU itself."""
    work()
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def synchronize() -> None:
    """Wait for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def begun(report: Report, device: str, shapes: str) -> None:
    """Begin a report. Raises SystemExit where the GPU that was asked for is not to be seen."""
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU here: this benchmark is for one (try: --device cpu --shapes tiny)")
    if device == "cuda" and shapes == "full":
        note = "random weights"
    else:
        note = "A TRIAL, not a measurement: it shows that the code runs"
    report.begin(note=note, device=device, shapes=shapes, **_where(device))


def _where(device: str) -> dict[str, Any]:
    found = machine(*_LIBRARIES)
    if device == "cuda":
        memory = torch.cuda.get_device_properties(0).total_memory
        found["gpu"] = f"{torch.cuda.get_device_name(0)}, {memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
    return found


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value
