"""The real thing: the bundled samples and models through Google's emulators, our functions and real workers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from speechpipe import Client
from speechpipe.contract import Status
from speechpipe.emulators import LocalCloud
from tests.emulators.conftest import TEST_SECONDS, WAIT_SECONDS, User, started, using
from tests.media import SAMPLES, alike, comparable, lay_out, samples, spoken, word_errors

pytestmark = [pytest.mark.emulators, pytest.mark.engines, pytest.mark.slow, pytest.mark.timeout(TEST_SECONDS)]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """A user of a local cloud with real workers."""
    cloud = LocalCloud(
        state=tmp_path_factory.mktemp("cloud"),
        settings={"SPEECHPIPE_MODELS": "toy", "HF_HUB_OFFLINE": "1", "SPEECHPIPE_DEVICE": "cpu"},
    )
    yield from using(started(cloud))


def test_uploaded_samples_give_the_embedded_runs_records_and_one_event_each(cloud: User, tmp_path: Path) -> None:
    chosen = [sample for sample in samples() if sample["channels"] == 1][:3]
    chosen += [sample for sample in samples() if sample["channels"] == 2][:1]
    dropped = {
        cloud.drop((SAMPLES / sample["file"]).read_bytes(), sample["file"], **sample["options"]): sample
        for sample in chosen
    }
    final = {recording: cloud.final(recording) for recording in dropped}
    lay_out(chosen, tmp_path / "recordings")
    command = [sys.executable, "-m", "speechpipe.cli", "run", str(tmp_path / "recordings"), "--models", "toy"]
    subprocess.run(command, check=True, capture_output=True, timeout=WAIT_SECONDS)
    embedded = Client(tmp_path / "recordings")
    for recording, sample in dropped.items():
        assert final[recording].status is Status.COMPLETED, sample["file"]
        result = final[recording].result
        assert result is not None
        assert word_errors(spoken(sample), result.text) == 0, sample["file"]
        assert alike(comparable(result), comparable(embedded.record(sample["file"]))), sample["file"]
        assert {event.id for event in cloud.events_of(recording)} == {f"{recording}.r1.completed"}
