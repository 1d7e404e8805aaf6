"""`speechpipe run` as a process, with the bundled toy models: real speech in, real records out."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from speechpipe import Client
from speechpipe.contract import Record, Stage
from tests.media import alike, comparable, empty_files, joined, lay_out, samples, spoken, word_errors, write_wav

pytestmark = [pytest.mark.engines, pytest.mark.slow]


def command(folder: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "speechpipe.cli", "run", str(folder), "--models", "toy", *more]


def run(folder: Path) -> str:
    done = subprocess.run(command(folder), capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


def records(folder: Path) -> dict[str, Record]:
    client = Client(folder)
    return {recording.source.name: client.record(recording.id) for recording in client.recordings()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Record], str]:
    folder = tmp_path_factory.mktemp("undisturbed") / "recordings"
    lay_out(samples(), folder)
    printed = run(folder)
    return records(folder), printed


def test_the_samples_are_transcribed_correctly(undisturbed: tuple[dict[str, Record], str]) -> None:
    made, printed = undisturbed
    assert len(samples()) >= 4
    for sample in samples():
        record = made[sample["file"]]
        assert record.status.value == "completed"
        assert word_errors(spoken(sample), record.text) == 0, sample["file"]
        assert record.language is not None
        assert record.language.code == "en"
        for uri in record.artifacts.model_dump(exclude_none=True).values():
            assert Path(uri.removeprefix("file://")).stat().st_size > 0
        assert record.segments[0].text.strip() in printed
    assert "warning: " in printed
    assert "toy models" in printed
    assert all(any(w.code == "demo_models" for w in record.warnings) for record in made.values())


def test_every_segment_has_an_emotion_and_most_match_their_turn(
    undisturbed: tuple[dict[str, Record], str],
) -> None:
    matching = total = 0
    for sample in samples():
        record = undisturbed[0][sample["file"]]
        assert all(segment.emotion for segment in record.segments)
        for turn in sample["turns"]:
            inside = [s for s in record.segments if s.channel == turn.get("channel", 0)]
            inside = [s for s in inside if min(s.end, turn["end"]) - max(s.start, turn["start"]) > 0.5]
            total += len(inside)
            matching += sum(s.emotion is not None and s.emotion.top == turn["emotion"] for s in inside)
    assert matching / total > 0.8


def test_word_times_are_in_order_and_within_the_recording(undisturbed: tuple[dict[str, Record], str]) -> None:
    for record in undisturbed[0].values():
        assert record.audio is not None
        for channel in {segment.channel for segment in record.segments}:
            words = [word for s in record.segments if s.channel == channel for word in s.words]
            times = [time for word in words for time in (word.start, word.end)]
            assert times == sorted(times)
            assert times[-1] <= record.audio.duration + 0.01


def test_being_killed_and_restarted_at_any_moment_does_not_change_the_outcome(
    tmp_path: Path, undisturbed: tuple[dict[str, Record], str]
) -> None:
    folder = tmp_path / "recordings"
    lay_out(samples(), folder)
    chance = random.Random(11)
    stored: dict[tuple[str, Stage], str] = {}
    for _ in range(3):
        process = subprocess.Popen(
            command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(chance.uniform(3, 9))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if (folder / ".speechpipe" / "state.sqlite3").exists():
            store = Client(folder).backend.store
            for recording in store.recordings():
                for partial in store.partials(recording.id):
                    earlier = stored.setdefault((recording.id, partial.stage), partial.model_dump_json())
                    assert earlier == partial.model_dump_json()
    run(folder)
    made = records(folder)
    assert made.keys() == undisturbed[0].keys()
    for name, record in made.items():
        assert alike(comparable(record), comparable(undisturbed[0][name])), name
    store = Client(folder).backend.store
    final = {(r.id, p.stage): p.model_dump_json() for r in store.recordings() for p in store.partials(r.id)}
    assert {key: final[key] for key in stored} == stored
    events = [event.id for event in Client(folder).completions(timeout=2)]
    assert set(events) == {f"{record.recording_id}.r1.completed" for record in made.values()}


@pytest.mark.timeout(600)  # takes two minutes on two idle cores
def test_a_twenty_minute_recording_is_transcribed_to_its_end(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    text = joined(folder / "long.wav", seconds=1200)
    run(folder)
    (record,) = records(folder).values()
    assert record.status.value == "completed"
    assert record.audio is not None
    assert record.audio.duration >= 1200
    assert record.segments[-1].end > record.audio.duration - 15
    assert word_errors(text, record.text) / len(text.split()) < 0.10
    assert record.emotion_windows[-1].end > record.audio.duration - 15
    assert record.summary.turning_points


def test_silence_and_unusable_files_end_with_a_clear_outcome(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    write_wav(folder / "silent.wav", np.zeros(16000 * 8, np.int16))
    expected = {"silent.wav": ("completed", None)} | empty_files(folder)
    began = time.monotonic()
    run(folder)
    made = records(folder)
    outcome = {n: (r.status.value, r.error.code.value if r.error else None) for n, r in made.items()}
    assert outcome == expected
    assert time.monotonic() - began < 240
    silent = made["silent.wav"]
    assert silent.text == ""
    assert "no_speech" in [caution.code for caution in silent.warnings]
    assert all(
        "speechpipe-" not in r.error.message and str(folder) not in r.error.message for r in made.values() if r.error
    )
    assert "router" not in json.dumps([record.model_dump(mode="json") for record in made.values()])
