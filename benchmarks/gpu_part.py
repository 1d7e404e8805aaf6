"""What the parts of `benchmarks.gpu` share: sizes, time limits, and the report."""

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
    classifier: str  #: one of `benchmarks.ser`, or toy
    files: int  #: mixed recordings
    longest: float  #: mixed recording, in seconds
    long_seconds: float  #: length of a recording in the end-to-end row
    least_long: int  #: how many of those at least
    long_wall: float  #: target for the wall seconds of that row, which may take more recordings
    in_flight: int
    batches: tuple[int, ...]  #: batch sizes to measure, in rows
    usual: int  #: the worker's batch size
    tokens: int  #: in a full row: as many as in 30 s of speech
    mixed_tokens: int  #: in a row of a mixed recording: 12 s of speech
    window: int  #: samples in a classifier's row
    repeats: int


SIZES = {
    "full": Sizes("large-v3-turbo", "large", 64, 60.0, 600.0, 8, 15.0, 16, (16, 32, 64), 32, 90, 40, 80_000, 3),
    "tiny": Sizes("tiny", "toy", 3, 6.0, 20.0, 2, 1.0, 2, (1, 2), 2, 8, 6, 16_000, 1),
}


class Report:
    """The results so far, in a JSON file and a Markdown file beside it, both rewritten with every line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self, **facts: Any) -> None:
        """Start a new report in place of any old one."""
        self._write({**facts, "parts": {}, "rows": {}})

    def line(self, row: str, **values: Any) -> None:
        """Add a line to a row's table."""
        values = {key: _rounded(value) for key, value in values.items()}
        print(row, values, flush=True)
        content = self._read()
        content["rows"].setdefault(row, []).append(values)
        self._write(content)

    def part(self, name: str, **facts: Any) -> None:
        """Record how a part went."""
        content = self._read()
        content["parts"][name] = content["parts"].get(name, {}) | {key: _rounded(value) for key, value in facts.items()}
        self._write(content)

    def text(self) -> str:
        """The report as Markdown, with a table for each row."""
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
        unfinished = self._path.with_suffix(".unfinished")  # a part may be killed at any time
        unfinished.write_text(json.dumps(content, indent=1) + "\n")
        unfinished.replace(self._path)
        self._path.with_suffix(".md").write_text(self.text())


@dataclass(frozen=True)
class Part:
    """One of the benchmark's processes, and what it was asked for."""

    name: str
    device: str
    sizes: Sizes
    folder: Path  #: for models and recordings, shared with the parts that follow
    report: Report
    until: float  #: `time.time()` at which it is killed

    @property
    def on_gpu(self) -> bool:
        """Whether this runs on a GPU; the results mean something only there."""
        return self.device == "cuda"

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.until - time.time()

    def has(self, seconds: float, row: str) -> bool:
        """Whether this much time is left; if not, note in the report that the row was skipped."""
        if self.left < seconds:
            self.report.line(row, left_out=f"{self.left:.0f} s left, {seconds:.0f} s needed")
        return self.left >= seconds

    def try_(self, row: str, measure: Callable[[], Line], **what: Any) -> None:
        """Add the line that `measure` returns. If it cannot run on this machine, add the error and carry on."""
        try:
            values = measure()
        except Exception as error:
            values = {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        self.report.line(row, **what, **values)


@dataclass
class Timed:
    """An engine whose calls are timed, to show where a busy worker spends its seconds."""

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
                synchronize()  # count the work that the call only started
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

        return timed


class Busy:
    """While entered, measures with nvidia-smi how busy the GPU is: `share` of the time, None without nvidia-smi."""

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
    """Median seconds of `repeats` calls, after a warm-up. `work` must wait for the GPU itself."""
    work()
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def begun(report: Report, device: str, shapes: str) -> None:
    """Start a report. Raises SystemExit if torch does not see the requested GPU."""
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            "torch sees no GPU, which this benchmark needs (to try it on a CPU: --device cpu --shapes tiny)"
        )
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
