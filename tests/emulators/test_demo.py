"""The real thing: the bundled samples and models through Google's emulators, our functions and real workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from speechpipe.contract import HalfStatus, Status
from speechpipe.emulators import LocalCloud
from speechpipe.emulators.setup import Delivery
from speechpipe.errors import ErrorCode
from tests.emulators.conftest import User, started, using
from tests.media import SAMPLES, samples
from tests.workers.media import write_video
from workers.models import DEMO_MODELS

pytestmark = [
    pytest.mark.emulators,
    pytest.mark.engines,
    pytest.mark.skipif(not any(DEMO_MODELS.glob("*/*")), reason="the demo models are not built yet"),
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """A user of a local cloud with real workers."""
    cloud = LocalCloud(
        state=tmp_path_factory.mktemp("demo"),
        delivery=Delivery(max_attempts=5, minimum_backoff_seconds=0.1, maximum_backoff_seconds=0.5),
        settings={"SPEECHPIPE_MODELS": "demo", "HF_HUB_OFFLINE": "1", "SPEECHPIPE_DEVICE": "cpu"},
    )
    yield from using(started(cloud))


def test_dropped_samples_become_records_and_one_event_each(demo: User) -> None:
    chosen: list[dict[str, Any]] = samples()[:4]
    dropped = {
        demo.drop((SAMPLES / sample["file"]).read_bytes(), sample["file"], **sample["options"]): sample
        for sample in chosen
    }
    for recording, sample in dropped.items():
        final = demo.final(recording, timeout=120)
        assert final.status is Status.COMPLETED, sample["file"]
        assert {half.status for half in final.halves.values()} == {HalfStatus.COMPLETED}
        assert final.result is not None
        assert final.result.text
        assert final.result.summary.dominant_emotion
        assert final.result.audio is not None
        assert final.result.audio.duration == pytest.approx(sample["duration"], abs=0.2)
        assert {event.id for event in demo.events_of(recording)} == {f"{recording}.r1.completed"}


def bad_files(folder: Path) -> dict[str, tuple[bytes, set[ErrorCode]]]:
    """Name -> content, and the codes that may be given for it."""
    video = write_video(folder / "silent.mp4", None).read_bytes()
    return {
        "text.wav": (b"this is a shopping list\n" * 20, {ErrorCode.UNSUPPORTED_FORMAT}),
        "nothing.wav": (b"", {ErrorCode.EMPTY_OBJECT}),
        "playlist.wav": (b"ffconcat version 1.0\nfile '/etc/hostname'\n", {ErrorCode.UNSUPPORTED_FORMAT}),
        "silent.mp4": (video, {ErrorCode.NO_AUDIO_STREAM}),
    }


def test_files_that_hold_no_speech_are_rejected_with_the_reason(demo: User, tmp_path: Path) -> None:
    files = bad_files(tmp_path)
    dropped = {demo.drop(content, name): name for name, (content, _) in files.items()}
    for recording, name in dropped.items():
        final = demo.final(recording)
        assert final.status is Status.REJECTED, name
        assert final.error is not None
        assert final.error.code in files[name][1], name
        assert "/" not in final.error.message
        assert demo.events_of(recording)[0].type == "dev.speechpipe.recording.v1.rejected"
