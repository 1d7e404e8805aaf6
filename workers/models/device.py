"""Choose what an engine runs on and its number format, from the settings and the hardware.

CTranslate2 and torch each detect the GPU themselves. Neither is imported on behalf of the other, since an image holds
only one of them.
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

#: CTranslate2's names, best first. On a GPU float16 is faster than int8 for large batches and never changes words
#: (for figures see CTranslate2's docs/quantization.md). On a CPU int8 is twice as fast as float32.
_CT2_PREFERENCE: dict[Device, tuple[str, ...]] = {
    "cuda": ("float16", "bfloat16", "int8_float32", "float32"),
    "cpu": ("int8", "int8_float32", "float32"),
}
#: A processor with one of these multiplies bfloat16 itself.
_BFLOAT16 = {"avx512_bf16", "amx_bf16"}
_LIBRARIES = ("faster-whisper", "ctranslate2", "torch", "transformers", "av", "onnxruntime")


class NoSuchDevice(EngineUnavailable):
    """The settings request a device or a compute type that this machine does not have."""


def choose_device(stage: Stage, settings: EngineSettings) -> Device:
    """Pick cuda if the stage's library can use it, else cpu. Raises NoSuchDevice if cuda is required but unusable."""
    if settings.device == "cpu":
        return "cpu"
    usable = _ct2_sees_cuda() if stage is Stage.STT else torch_sees_cuda()
    if settings.device == "cuda" and not usable:
        raise NoSuchDevice(f"SPEECHPIPE_DEVICE=cuda, but {_library(stage)} finds no usable GPU on this machine")
    return "cuda" if usable else "cpu"


def ct2_compute_type(device: Device, settings: EngineSettings) -> str:
    """CTranslate2's compute type: as set, else the best one that the device supports. Raises NoSuchDevice."""
    import ctranslate2  # type: ignore[import-untyped]

    supported = ctranslate2.get_supported_compute_types(device)
    if settings.compute_type == "auto":
        return next(kind for kind in _CT2_PREFERENCE[device] if kind in supported)
    if settings.compute_type not in supported:
        offered = ", ".join(sorted(supported))
        raise NoSuchDevice(f"SPEECHPIPE_COMPUTE_TYPE={settings.compute_type}: on {device} CTranslate2 offers {offered}")
    return settings.compute_type


def torch_dtype(device: Device, settings: EngineSettings) -> str:
    """The name of torch's dtype: as set, else bfloat16 where the hardware has it, else float32 (GPU: float16).

    On one core of an EPYC with AVX-512 BF16, bfloat16 is twice as fast for all models measured, and moves a logit by
    less than a hundredth of the largest (`benchmarks/results/ser.md`).
    """
    if settings.compute_type in ("float32", "float16", "bfloat16"):
        return settings.compute_type
    # One setting serves both stages; CTranslate2's int8 types do not apply to torch.
    if device == "cpu":
        return "bfloat16" if _BFLOAT16 & _cpu_flags() else "float32"
    import torch

    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


def cpu_threads(settings: EngineSettings) -> int:
    """Threads for an engine: as set, else one for each core that this process may use."""
    return settings.threads or len(os.sched_getaffinity(0))


def share_cores(settings: EngineSettings, parallel_batches: int) -> None:
    """Divide the cores among parallel batches of torch on a CPU, and choose its matrix library.

    The default is MKL, which runs old code on processors that are not Intel's. There oneDNN computes the same float32
    products 2.2 times as fast (239 instead of 108 GFLOPS per core of an EPYC, 200 rows of 768). torch's only way to
    select oneDNN is to permit it bfloat16, which it uses only on cores with AMX, and only Intel makes those.
    """
    import torch

    torch.set_num_threads(max(1, cpu_threads(settings) // parallel_batches))
    if _vendor() != "GenuineIntel":
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"  # type: ignore[attr-defined]


def _vendor() -> str | None:
    """The processor's vendor as named by Linux; None on other systems."""
    return _cpu_info("vendor_id")


def _cpu_flags() -> set[str]:
    """What the processor can do, in Linux's words; empty on other systems."""
    return set((_cpu_info("flags") or "").split())


def _cpu_info(name: str) -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name), None)


def device_report(stage: Stage, settings: EngineSettings) -> dict[str, Any]:
    """The body of `GET /device`: device, GPU with memory in bytes, compute type, library versions."""
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
    """A library's version; None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _gpu() -> dict[str, Any] | None:
    """Name and memory of the first GPU; None if there is none."""
    if torch_sees_cuda():
        import torch

        free, total = torch.cuda.mem_get_info(0)
        return {"name": torch.cuda.get_device_name(0), "memory_total": total, "memory_free": free}
    if _ct2_sees_cuda():  # without torch there is no way to ask for its name
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
