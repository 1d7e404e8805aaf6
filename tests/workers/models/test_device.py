from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from speechpipe.contract import Stage
from speechpipe.settings import EngineSettings
from workers.models import device
from workers.models.device import NoSuchDevice, choose_device, cpu_threads, ct2_compute_type, share_cores, torch_dtype


def settings(**changes: object) -> EngineSettings:
    return EngineSettings.model_validate(changes)


@pytest.fixture(params=[False, True], ids=["no-gpu", "gpu"])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(device, "_ct2_sees_cuda", lambda: request.param)
    monkeypatch.setattr(device, "torch_sees_cuda", lambda: request.param)
    return bool(request.param)


@pytest.mark.parametrize("stage", list(Stage))
def test_a_gpu_is_used_if_there_is_one(gpu: bool, stage: Stage) -> None:
    assert choose_device(stage, settings()) == ("cuda" if gpu else "cpu")
    assert choose_device(stage, settings(device="cpu")) == "cpu"


@pytest.mark.parametrize(("stage", "library"), [(Stage.STT, "CTranslate2"), (Stage.SER, "torch")])
def test_requiring_a_missing_gpu_is_an_error(stage: Stage, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_ct2_sees_cuda", lambda: False)
    monkeypatch.setattr(device, "torch_sees_cuda", lambda: False)
    with pytest.raises(NoSuchDevice, match=f"{library} finds no usable GPU"):
        choose_device(stage, settings(device="cuda"))


def test_whispers_number_format_is_the_best_that_the_device_supports(monkeypatch: pytest.MonkeyPatch) -> None:
    import ctranslate2  # type: ignore[import-untyped]

    offered = {"cpu": {"int8", "int8_float32", "float32"}, "cuda": {"float32", "int8", "float16", "bfloat16"}}
    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", offered.__getitem__)
    assert ct2_compute_type("cpu", settings()) == "int8"
    assert ct2_compute_type("cuda", settings()) == "float16"
    assert ct2_compute_type("cuda", settings(compute_type="bfloat16")) == "bfloat16"
    offered["cuda"] = {"float32", "int8", "int8_float32"}  # a card without half precision
    assert ct2_compute_type("cuda", settings()) == "int8_float32"
    with pytest.raises(NoSuchDevice, match="CTranslate2 offers float32, int8, int8_float32"):
        ct2_compute_type("cpu", settings(compute_type="float16"))


def test_the_classifiers_number_format(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    for flags, expected in (("fma avx2", "float32"), ("avx2 avx512_bf16", "bfloat16"), ("amx_bf16", "bfloat16")):
        monkeypatch.setattr(Path, "read_text", lambda path, flags=flags: f"vendor_id\t: X\nflags\t\t: {flags}\n")
        assert torch_dtype("cpu", settings()) == expected
        assert torch_dtype("cpu", settings(compute_type="int8")) == expected  # int8 is for CTranslate2 only
    assert torch_dtype("cpu", settings(compute_type="float32")) == "float32"
    monkeypatch.undo()
    for bf16, expected in ((True, "bfloat16"), (False, "float16")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, bf16=bf16: bf16)
        assert torch_dtype("cuda", settings()) == expected
        assert torch_dtype("cuda", settings(compute_type="float32")) == "float32"


def test_threads_are_the_setting_or_the_number_of_cores() -> None:
    assert cpu_threads(settings(threads=3)) == 3
    assert cpu_threads(settings()) >= 1


@pytest.fixture
def torch_as_it_was() -> Iterator[None]:
    import torch

    threads, permission = torch.get_num_threads(), torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    yield
    torch.set_num_threads(threads)
    torch.backends.mkldnn.matmul.fp32_precision = permission  # type: ignore[attr-defined]


@pytest.mark.usefixtures("torch_as_it_was")
def test_batches_share_the_cores_and_only_intel_keeps_mkl(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def permission() -> str:
        return str(torch.backends.mkldnn.matmul.fp32_precision)  # type: ignore[attr-defined]

    before = permission()
    monkeypatch.setattr(device, "_vendor", lambda: "GenuineIntel")
    share_cores(settings(threads=6), 2)
    assert (torch.get_num_threads(), permission()) == (3, before)
    monkeypatch.setattr(device, "_vendor", lambda: "AuthenticAMD")
    share_cores(settings(threads=1), 2)
    assert (torch.get_num_threads(), permission()) == (1, "bf16")


@pytest.mark.usefixtures("torch_as_it_was")
@pytest.mark.skipif(device._vendor() == "GenuineIntel", reason="bfloat16 is not permitted on Intel processors")
def test_permitting_bfloat16_changes_no_product() -> None:
    import torch

    torch.manual_seed(0)
    layer, rows = torch.nn.Linear(768, 768), torch.randn(200, 768)
    with torch.inference_mode():
        torch.backends.mkldnn.matmul.fp32_precision = "none"  # type: ignore[attr-defined]
        exact = layer(rows)
        share_cores(settings(), 1)
        assert (layer(rows) - exact).abs().max() < 1e-5  # bfloat16 would be off by 1e-3
