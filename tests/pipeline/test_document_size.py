"""A recording's document fits into Firestore's 1 MiB however much happens in it, and says what it leaves out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from speechpipe.contract import Analysis, Emotions, Record, Stage, Status
from tests.doubles import AUDIO, VOCABULARY, FixedEngine, source, window
from tests.simulation import Simulation

TWELVE_HOURS = 12 * 3600
MOST_BYTES = 1024**2  # https://cloud.google.com/firestore/quotas#collections_documents_and_fields


class Restless(FixedEngine):
    """Hears two people who change their mood every four seconds, for twelve hours."""

    def __call__(self, path: Path, options: Any, progress: Any, part: Any = None) -> Analysis:
        moods = ("neutral", "anger")
        windows = tuple(
            window(at, at + 4, moods[(at // 4 + channel) % 2], channel)
            for at in range(0, TWELVE_HOURS, 4)
            for channel in (0, 1)
        )
        analysis = super().__call__(path, options, progress, part)
        audio = AUDIO.model_copy(update={"duration": TWELVE_HOURS, "channels": 2})
        return analysis.model_copy(update={"value": Emotions(vocabulary=VOCABULARY, windows=windows), "audio": audio})


def test_twelve_hours_with_a_turning_point_every_two_seconds_fit_and_what_is_left_out_is_counted() -> None:
    sim = Simulation()
    sim.engines[Stage.SER] = Restless(Stage.SER)
    sim.arrive(source())
    sim.settle()
    recording = sim.only()
    assert recording.status is Status.COMPLETED
    assert recording.artifacts is not None
    record = Record.model_validate_json(sim.results.read(recording.artifacts.record))
    every = len(record.summary.turning_points)
    assert every > 20_000
    assert record.summary.turning_points_omitted == 0
    assert len(recording.model_dump_json().encode()) < MOST_BYTES / 4
    assert recording.summary is not None
    assert recording.summary.turning_points == record.summary.turning_points[:200]
    assert recording.summary.turning_points_omitted == every - 200
    (event,) = sim.completions()
    assert event.data.summary.turning_points == record.summary.turning_points[:50]
    assert event.data.summary.turning_points_omitted == every - 50
    assert len(json.dumps(event.model_dump(mode="json"))) < 20_000
