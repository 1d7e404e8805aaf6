"""Measure everything that needs a GPU, within eight minutes: `make bench-gpu`.

    python -m benchmarks.gpu [--seconds 480] [--parts stt ser ...]
    python -m benchmarks.gpu --device cpu --shapes tiny            the same code on toy models; proves only that it runs

The models have real shapes and random weights: Whisper large-v3-turbo, and wav2vec2-large (XLSR-53) with a classifier
head. Their output is noise, but their cost is real. Whisper is forced to produce a fixed number of tokens per row. The
rows of the report:

- stt-mixed: 64 recordings of 2 to 60 s, pushed to speechpipe's worker over HTTP with 16 pushes in flight, against
  faster-whisper's BatchedInferencePipeline file by file, alternating. Goal: 5 times as fast.
- stt-long: recordings of ten minutes (m4a) pushed over HTTP, end to end, as times real time. Goal: 2,000 on one H200.
  To find the bottleneck it also reports the seconds in the encoder, the decoder, word alignment, language detection and
  the Python around them, summed over the two threads that run the engine; those of preparation (in parallel threads,
  and processor seconds of the decoding processes); how long the engine waited for rows; and, from nvidia-smi, how long
  the GPU was idle. With CTranslate2's encoder and torch's (`benchmarks.torch_encoder`), 16, 32 and 64 rows per batch.
- log-mel: the features of a batch by torch and by numpy, alone and followed by CTranslate2's encoder.
- encoder: both encoders on the same rows of noise with the same weights, alone and followed by CTranslate2's decoder;
  the share of rows with equal tokens, and the greatest difference, divided by the outputs' standard deviation.
- inter-threads: two threads with a batch each, on a CTranslate2 model with one worker and with two.
- ser-files: 64 recordings of 2 to 60 s, pushed to speechpipe's worker over HTTP, against transformers' pipeline file by
  file (in float32, its default, and in bfloat16, speechpipe's) and with its own batching. Goal: 10 times as fast.
- ser-modes: rows of 5 s of noise in float32, float16 and bfloat16, eager and as CUDA graphs, and compiled (bfloat16,
  reduce-overhead, static shapes); how far the outputs are from float32's.

Each part is a separate process with its own time limit. A part that exceeds it or crashes is killed, and the next one
starts. Every result is saved as soon as it is known, to results/gpu.json and gpu.md, or on a CPU to a temporary folder,
because those are not GPU results.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
#: Time limits in seconds, in this order. The last part may use time that others leave; all stop at the overall limit.
PARTS = {"stt": 190.0, "encoders": 80.0, "ser": 80.0, "modes": 50.0, "compiled": 120.0}
_LAST_SECONDS = 5.0  #: reserved for shutting down


def run_part(name: str, given: argparse.Namespace) -> None:
    """Run one part, in its own process."""
    import torch

    from benchmarks import gpu_part

    logging.disable(logging.WARNING)
    if given.device == "cuda":
        torch.zeros(1, device="cuda")
        _find_cublas()
    else:
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    sizes, report = gpu_part.SIZES[given.shapes], gpu_part.Report(given.output)
    part = gpu_part.Part(name, given.device, sizes, given.folder, report, given.until)
    from benchmarks import gpu_ser, gpu_stt

    work = {
        "stt": gpu_stt.stt,
        "encoders": gpu_stt.encoders,
        "ser": gpu_ser.ser,
        "modes": gpu_ser.modes,
        "compiled": gpu_ser.compiled,
    }
    work[name](part)


def _find_cublas() -> None:
    """Load the cuBLAS that CTranslate2 opens by name: a torch for CUDA 12 has loaded it, otherwise there is a wheel."""
    try:
        ctypes.CDLL("libcublas.so.12")
    except OSError:
        places = [Path(entry) / "nvidia" / "cublas" / "lib" for entry in sys.path]
        found = next(place for place in places if (place / "libcublas.so.12").exists())
        for name in ("libcublasLt.so.12", "libcublas.so.12"):
            ctypes.CDLL(str(found / name), mode=ctypes.RTLD_GLOBAL)


def run_all(given: argparse.Namespace, folder: Path) -> bool:
    """Run the parts one after the other; return whether all of them finished."""
    from benchmarks.gpu_part import Report

    end = given.began + given.seconds - _LAST_SECONDS
    report, well = Report(given.output), True
    for name in given.parts:
        began = time.time()
        until = min(began + PARTS[name], end)
        if until - began < _LAST_SECONDS:
            report.part(name, ended="skipped: no time left")
            well = False
            continue
        command = [sys.executable, "-m", "benchmarks.gpu", "--part", name, "--folder", str(folder)]
        command += ["--until", str(until), "--device", given.device, "--shapes", given.shapes]
        process = subprocess.Popen([*command, "--output", str(given.output)], start_new_session=True)
        try:
            status = process.wait(until - time.time())
            ended = "done" if status == 0 else f"failed: exit status {status}"
        except subprocess.TimeoutExpired:
            ended = f"stopped after {until - began:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError):  # kills what it started, too
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        report.part(name, ended=ended, seconds=time.time() - began)
        print(f"-- {name}: {ended}", flush=True)
        well = well and ended == "done"
    return well


def main() -> int:
    """Run what was asked for; the exit status is 0 only if every part finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--shapes", choices=("full", "tiny"), default="full")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=480.0, help="time limit for everything")
    parser.add_argument("--began", type=float, default=time.time(), help="when that time started, as from `date +%%s`")
    parser.add_argument("--output", type=Path)
    for hidden in ("--part", "--folder", "--until"):
        kind = {"--part": str, "--folder": Path, "--until": float}[hidden]
        parser.add_argument(hidden, type=kind, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        run_part(given.part, given)
        return 0
    if given.output is None:
        real = given.device == "cuda" and given.shapes == "full"
        given.output = RESULTS / "gpu.json" if real else Path(tempfile.gettempdir()) / "gpu-trial.json"
    from benchmarks.gpu_part import Report, begun

    begun(Report(given.output), given.device, given.shapes)
    with tempfile.TemporaryDirectory(prefix="gpu-") as name:
        well = run_all(given, Path(name))
    print(f"\n{Report(given.output).text()}\nin {given.output}, after {time.time() - given.began:.0f} s")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
