"""The real thing: the bundled samples and models through Google's emulators, our functions and real workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from speechpipe.contract import HalfStatus, Status
from speechpipe.emulators import LocalCloud
from speechpipe.emulators.setup import Delivery
from tests.emulators.conftest import User, started, using
from tests.media import SAMPLES, samples
from workers.models import DEMO_MODELS

pytestmark = [
    pytest.mark.emulators,
    pytest.mark.engines,
    pytest.mark.skipif(
        not all((DEMO_MODELS / name / "config.json").is_file() for name in ("whisper", "ser")),
        reason="the demo models are not built yet",
    ),
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
