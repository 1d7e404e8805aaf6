"""The size caps of ingest and of the worker apply before any byte is downloaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechpipe.contract import Source, Status
from speechpipe.contract.errors import ErrorCode
from speechpipe.settings import Limits
from tests.doubles import source
from tests.simulation import WORKER_MAX_BYTES, Simulation


@pytest.mark.parametrize("cap", [1_000, 10**12])  # the cap of ingest; the worker's is WORKER_MAX_BYTES
def test_an_object_over_the_size_cap_is_never_downloaded(cap: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(of: Source, into: Path) -> None:
        raise AssertionError("downloaded")

    sim = Simulation(limits=Limits.model_validate({"max_bytes": cap, "max_duration": 10.0**9}))
    monkeypatch.setattr(sim.uploads, "download", download)
    sim.arrive(source(size=2 * 10**9))
    sim.settle()
    recording = sim.only()
    assert recording.status is Status.REJECTED
    assert recording.error is not None
    assert recording.error.code is ErrorCode.TOO_LARGE
    assert str(min(cap, WORKER_MAX_BYTES)) in recording.error.message
