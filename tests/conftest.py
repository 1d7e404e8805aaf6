"""Tests see neither the environment of whoever runs them nor the model hub."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

# An example may take longer on a busy machine: no test judges by time.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture(autouse=True)
def _isolated_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("SPEECHPIPE_", "GOOGLE_", "HF_")) or name.endswith("_EMULATOR_HOST"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for the embedded backend."""
    path = tmp_path / "bucket"
    path.mkdir()
    return path


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """A file to upload; engines that look into it are not for these tests."""
    path = tmp_path / "call.wav"
    path.write_bytes(b"audio")
    return path
