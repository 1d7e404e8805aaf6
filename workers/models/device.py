"""What an engine runs on, and in which number format: decided once, from what is there and what was asked for.

CTranslate2 and torch each look for the GPU by themselves; neither is imported for the other's sake, since an image
holds only one of them.
"""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from speechpipe.contract import Stage
from speechpipe.contract.errors import EngineUnavailable
from speechpipe.settings import EngineSettings

Device = Literal["cpu", "cuda"]

#: CTranslate2's names, best first. On a GPU float16 beats int8 for large batches and never changes words
#: (reference figures: CTranslate2 docs/quantization.md); on a CPU int8 is twice as fast as float32.
_CT2_PREFERENCE: dict[Device, tuple[str, ...]] = {
    "cuda": ("float16", "bfloat16", "int8_float32", "float32"),
    "cpu": ("int8", "int8_float32", "float32"),
}
_LIBRARIES = ("faster-whisper", "ctranslate2", "torch", "transformers", "av", "onnxruntime")


class NoSuchDevice(EngineUnavailable):
    """The settings ask for a device or a compute type that this machine does not have."""


def choose_device(stage: Stage, settings: EngineSettings) -> Device:
    """Pick cuda where the stage's library can use it, else cpu. Raises NoSuchDevice if cuda was asked for in vain."""
    if settings.device == "cpu":
        return "cpu"
    present = _ct2_sees_cuda() if stage is Stage.STT else torch_sees_cuda()
    if settings.device == "cuda" and not present:
        raise NoSuchDevice(f"SPEECHPIPE_DEVICE=cuda, but {_library(stage)} finds no usable GPU on this machine")
    return "cuda" if present else "cpu"


def ct2_compute_type(device: Device, settings: EngineSettings) -> str:
    """CTranslate2's compute type: the best that it supports on this device, or the one that was asked for."""
    import ctranslate2  # type: ignore[import-untyped]

    supported = ctranslate2.get_supported_compute_types(device)
    if settings.compute_type == "auto":
        return next(kind for kind in _CT2_PREFERENCE[device] if kind in supported)
    if settings.compute_type not in supported:
        offered = ", ".join(sorted(supported))
        raise NoSuchDevice(f"SPEECHPIPE_COMPUTE_TYPE={settings.compute_type}: on {device} CTranslate2 offers {offered}")
    return settings.compute_type


def torch_dtype(device: Device, settings: EngineSettings) -> str:
    """Torch's dtype by name: float32 on a CPU; on a GPU bfloat16 where the hardware has it, else float16."""
    import torch

    if settings.compute_type in ("float32", "float16", "bfloat16"):
        return settings.compute_type
    # CTranslate2's int8 types mean nothing here: they are its business when one setting serves both stages.
    if device == "cpu":
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


def cpu_threads(settings: EngineSettings) -> int:
    """Threads for an engine: as set, else the cores that this process may use."""
    return settings.threads or len(os.sched_getaffinity(0))


def share_cores(settings: EngineSettings, batches_at_once: int) -> None:
    """Divide the cores among torch's batches on a CPU, and choose the library that multiplies its matrices.

    By default that is MKL, which takes an old path on processors that are not Intel's: oneDNN does the same float32
    sums 2.2 times as fast there (108 and 239 GFLOPS a core of an EPYC, 200 rows of 768). torch has no switch for the
    library but this permission, which oneDNN uses only on cores with AMX, and those are Intel's.
    """
    import torch

    torch.set_num_threads(max(1, cpu_threads(settings) // batches_at_once))
    if _vendor() != "GenuineIntel":
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"  # type: ignore[attr-defined]


def _vendor() -> str | None:
    """The processor's maker as Linux names it; None elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), None)


def device_report(stage: Stage, settings: EngineSettings) -> dict[str, Any]:
    """What `GET /device` shows: device, GPU with memory in bytes, compute type, library versions."""
    device = choose_device(stage, settings)
    chosen = ct2_compute_type(device, settings) if stage is Stage.STT else torch_dtype(device, settings)
    return {
        "stage": stage.value,
        "device": device,
        "compute_type": chosen,
        "gpu": _gpu(),
        "cpu_threads": cpu_threads(settings),
        "libraries": {name: version for name in _LIBRARIES if (version := installed(name))},
    }


def installed(name: str) -> str | None:
    """A library's version; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _gpu() -> dict[str, Any] | None:
    """Name and memory of the first GPU, None where there is none."""
    if torch_sees_cuda():
        import torch

        free, total = torch.cuda.mem_get_info(0)
        return {"name": torch.cuda.get_device_name(0), "memory_total": total, "memory_free": free}
    if _ct2_sees_cuda():  # an image without torch: there is a GPU, and nobody to ask for its name
        return {"name": None, "memory_total": None, "memory_free": None}
    return None


def torch_sees_cuda() -> bool:
    """Whether torch is installed and finds a usable GPU."""
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def _ct2_sees_cuda() -> bool:
    try:
        import ctranslate2
    except ImportError:
        return False
    return int(ctranslate2.get_cuda_device_count()) > 0


def _library(stage: Stage) -> str:
    return "CTranslate2" if stage is Stage.STT else "torch"
