"""How the engines count their use of time: rows, batches and padding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from speechpipe.contract import Options, Stage
from speechpipe.settings import EngineSettings, read
from tests.media import SAMPLES, samples, write_wav
from workers.audio.decoder import SAMPLE_RATE
from workers.models.choice import load

SAMPLE = SAMPLES / next(sample["file"] for sample in samples() if sample["channels"] == 1)


def ignore(share: float) -> None:
    """Ignore the progress."""


@pytest.mark.engines
@pytest.mark.parametrize("stage", Stage)
def test_the_counters_of_a_recording_fit_its_times(stage: Stage) -> None:
    engine = load(stage, read(EngineSettings, {"SPEECHPIPE_MODELS": "toy", "SPEECHPIPE_DEVICE": "cpu"}))
    analysis = engine(SAMPLE, Options(), ignore)
    again = engine(SAMPLE, Options(), ignore)
    work = analysis.work
    assert work is not None
    assert again.work is not None
    assert again.work.rows == work.rows  # not accumulated over recordings
    assert 0 < work.engine_seconds <= analysis.compute_seconds
    assert 0 < work.rows <= work.row_slots
    assert 0 < work.filled_seconds <= work.padded_seconds


@pytest.mark.engines
@pytest.mark.parametrize("stage", Stage)
def test_silence_needs_no_rows(stage: Stage, tmp_path: Path) -> None:
    write_wav(tmp_path / "silent.wav", np.zeros(SAMPLE_RATE * 3, np.int16))
    engine = load(stage, read(EngineSettings, {"SPEECHPIPE_MODELS": "toy", "SPEECHPIPE_DEVICE": "cpu"}))
    work = engine(tmp_path / "silent.wav", Options(), ignore).work
    assert work is not None
    assert (work.rows, work.row_slots, work.padded_seconds) == (0, 0, 0)
