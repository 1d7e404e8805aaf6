"""Peak memory of each worker, by the length of a recording.

    python -m benchmarks.memory [--stages stt ser] [--seconds 60 3600 36000]

For each stage and length a worker is started the way its image starts it, in a separate process, with the toy model on
the CPU and the embedded backend (a folder and SQLite in place of Google's services). It gets one recording over HTTP.
The kernel reports its peak memory from the moment it was ready: VmHWM, which is reset then, so that the peak of loading
the model hides nothing. The same is measured for its decoding process and that process's child.

The recording is a minute of the bundled samples as an m4a, whose packets are written repeatedly. Nearly all of it is
speech, more than in real recordings. An m4a has an index that FFmpeg keeps in memory while it decodes, and the child
grows by it. The child has exited by the time the worker puts the result together, so the peak of both at the same time
is measured too, by sampling 50 times a second.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.machine import machine

if TYPE_CHECKING:
    from benchmarks.door import Door

RESULTS = Path(__file__).parent / "results"
GOAL_MB = 300.0  #: the longest recording's memory minus the shortest's
#: Headings of the table, and their fields.
COLUMNS = {
    "audio s": "audio_seconds",
    "wall s": "wall_seconds",
    "worker MB": "worker_mb",
    "with model loaded": "loaded_mb",
    "decoding MB": "decoding_mb",
    "its child MB": "decoding_child_mb",
    "worker and child at the same time": "together_mb",
    "result MB": "result_mb",
    "words or windows": "parts",
}
_SAMPLE_SECONDS = 0.02
_CODEC = ("aac", 44_100, 1, 32_000)  #: as telephones record


def serve(stage: str, folder: Path, port: int) -> int:
    """Run the worker. This imports only what a worker imports, because its memory is measured."""
    from speechpipe.backends import local
    from speechpipe.settings import WorkerSettings
    from workers import __main__ as worker
    from workers.models.choice import load

    settings = WorkerSettings.model_validate(
        {
            "project": "p",
            "uploads_bucket": "u",
            "results_bucket": "r",
            "stage": stage,
            "port": port,
            "models": "toy",
            "device": "cpu",
            "max_seconds": 40_000,
        }
    )
    return worker.serve(settings, local.connect(folder), load)


def measure(stage: str, recording: Path) -> dict[str, float]:
    """Peak megabytes of a worker that analyses this file, and of its decoding processes; the size of its result."""
    with tempfile.TemporaryDirectory() as name, running(stage, Path(name)) as (worker, door):
        ready = _peak(worker.pid)
        Path(f"/proc/{worker.pid}/clear_refs").write_text("5")  # resets the peak
        with Watch(worker.pid) as below:
            began = time.perf_counter()
            (analysis,) = door([recording])
            wall = time.perf_counter() - began
            peak, after = _peak(worker.pid), megabytes(worker.pid, "VmRSS")
    return {
        "wall_seconds": wall,
        "loaded_mb": ready,
        "worker_mb": peak,
        "worker_mb_after": after,
        "decoding_mb": below.decoding,
        "decoding_child_mb": below.child,
        "together_mb": below.together,
        **_made(analysis),
    }


@contextlib.contextmanager
def running(stage: str, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Door]]:
    """Run a worker in a separate process; yield it, ready, and its client. `folder` is for its backend."""
    from benchmarks.door import Door
    from speechpipe.backends import local
    from speechpipe.contract import Stage

    port = _free_port()
    door = Door(Stage(stage), local.connect(folder), port, in_flight=1)
    command = [sys.executable, "-m", "benchmarks.memory", "--serve", stage, str(folder), str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as worker:
        try:
            _wait(f"http://127.0.0.1:{port}/readyz", worker)
            yield worker, door
        finally:
            worker.kill()


def _made(analysis: Any) -> dict[str, float]:
    """Seconds of audio, size of the result, and its number of words or windows."""
    value = analysis.value
    made = {"audio_seconds": analysis.audio.duration, "result_mb": len(analysis.model_dump_json()) / 1e6}
    if value.kind == "transcript":
        return {**made, "parts": sum(len(segment.words) for segment in value.segments)}
    return {**made, "parts": len(value.windows)}


class Watch:
    """While entered, samples the memory of a worker, its decoding process and that one's child."""

    def __init__(self, worker: int) -> None:
        self.decoding = self.child = self.together = 0.0  #: peak megabytes
        self._worker, self._over = worker, threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(_SAMPLE_SECONDS):
            together = megabytes(self._worker, "VmRSS")
            for process in children(self._worker):
                self.decoding = max(self.decoding, _peak(process))
                for child in children(process):
                    self.child = max(self.child, _peak(child))
                    together += megabytes(child, "VmRSS")
            self.together = max(self.together, together)


def children(process: int) -> list[int]:
    """Children of a process that are still running."""
    found: list[int] = []
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # it has ended
            found += map(int, children.read_text().split())
    return found


def _peak(process: int) -> float:
    return megabytes(process, "VmHWM")


def megabytes(process: int, field: str) -> float:
    """A field of the process's status in megabytes (1e6 bytes); 0 once it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(field)), 0.0)


def _free_port() -> int:
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return int(any_port.getsockname()[1])


def _wait(url: str, worker: subprocess.Popen[bytes]) -> None:
    while True:
        assert worker.poll() is None, "the worker has ended"
        try:
            with urllib.request.urlopen(url):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)


def lengthen(short: Path, path: Path, seconds: float) -> Path:
    """Write a recording's packets repeatedly until `path` has this many seconds."""
    import av

    with av.open(str(short)) as source, av.open(str(path), "w") as target:
        theirs = source.streams.audio[0]
        stream, base, at = target.add_stream_from_template(theirs), theirs.time_base, 0
        assert base is not None
        packets = [(bytes(packet), packet.duration or 0) for packet in source.demux(theirs) if packet.size]
        for content, duration in itertools.cycle(packets):
            if at * base >= seconds:
                return path
            packet = av.Packet(content)
            packet.stream, packet.time_base = stream, base
            packet.pts = packet.dts = at
            packet.duration = duration
            target.mux(packet)
            at += duration
    raise AssertionError("no packets")


def table(stages: dict[str, list[dict[str, float]]]) -> str:
    """Markdown: a row for each recording, and how much more the longest took than the shortest."""
    lines = ["| stage | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for stage, found in stages.items():
        for one in found:
            cells = [f"{one[key]:.2f}" if key == "result_mb" else f"{one[key]:.0f}" for key in COLUMNS.values()]
            lines.append(f"| {stage} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"{stage}: {_growth(found)}" for stage, found in stages.items())])


def _growth(found: list[dict[str, float]]) -> str:
    more = {key: found[-1][key] - found[0][key] for key in ("worker_mb", "decoding_child_mb", "together_mb")}
    longest, shortest = (f"{found[at]['audio_seconds']:.0f} s" for at in (-1, 0))
    return (
        f"{longest} take {more['worker_mb']:.0f} MB more than {shortest} in the worker, "
        f"{more['decoding_child_mb']:.0f} MB more in the child that decodes, "
        f"{more['together_mb']:.0f} MB more in both at the same time; the goal is at most {GOAL_MB:.0f} MB."
    )


def main() -> int:
    """Measure what the command line asks for, and write the JSON and the Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", nargs="+", default=["stt", "ser"], choices=["stt", "ser"])
    parser.add_argument("--seconds", type=float, nargs="+", default=[60, 3600, 36_000])
    parser.add_argument("--output", type=Path, default=RESULTS / "memory.json")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        stage, folder, port = given.serve
        return serve(stage, Path(folder), int(port))
    from benchmarks.preparation import write

    stages: dict[str, list[dict[str, float]]] = {stage: [] for stage in given.stages}
    with tempfile.TemporaryDirectory() as name:
        minute = write(Path(name) / "minute.m4a", 60, *_CODEC)
        for seconds in sorted(given.seconds):
            recording = lengthen(minute, Path(name) / f"{seconds:.0f}.m4a", seconds)
            for stage, found in stages.items():
                found.append({key: round(value, 3) for key, value in measure(stage, recording).items()})
                print(stage, found[-1], flush=True)
            recording.unlink()
    where = machine()
    given.output.write_text(json.dumps({"machine": where, "stages": stages}, indent=1) + "\n")
    text = f"`python -m benchmarks.memory`, {where['cores']} cores of {where['cpu']}, toy models\n\n{table(stages)}\n"
    given.output.with_suffix(".md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
