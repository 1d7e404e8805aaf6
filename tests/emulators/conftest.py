"""The local cloud with canned workers, and a user of it."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from speechpipe.backends import gcp
from speechpipe.backends.ports import Backend
from speechpipe.contract import Completion, Recording, recording_id
from speechpipe.emulators import EmulatorsMissing, LocalCloud
from speechpipe.emulators.setup import exported
from speechpipe.settings import ClientSettings, read

CANNED_WORKER = Path(__file__).parent / "canned_worker.py"
#: How long to wait for anything to happen: long enough for a busy machine, and shorter than the tests' own timeout.
WAIT_SECONDS = 300.0
TEST_SECONDS = 900.0  #: a test's timeout; it includes starting the cloud
PREFIX = "calls/"
T = TypeVar("T")


def wait_for(look: Callable[[], T | None], timeout: float = WAIT_SECONDS) -> T:
    """Call `look` until it returns something true, and return that. Fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"nothing after {timeout} s")


@dataclass
class User:
    """A user with Google's client libraries and the environment that `speechpipe up` prints."""

    cloud: LocalCloud
    backend: Backend
    bucket: Any
    events: dict[str, list[Completion]] = field(default_factory=lambda: defaultdict(list))

    def drop(self, content: bytes, name: str, **metadata: str) -> str:
        """Upload an object. Returns the recording's id."""
        blob = self.bucket.blob(name)
        blob.metadata = metadata
        blob.upload_from_string(content, content_type="audio/x-wav")
        return self.id_of(blob)

    def id_of(self, blob: Any) -> str:
        """The id of an object's recording."""
        return recording_id(self.bucket.name, blob.name, str(blob.generation))

    def final(self, recording: str) -> Recording:
        """The recording once it is final and announced."""

        def look() -> Recording | None:
            found = self.backend.store.recording(recording)
            return found if found and found.announced_at else None

        return wait_for(look)

    def events_of(self, recording: str) -> list[Completion]:
        """The completion events of a recording, once there is at least one."""
        return wait_for(lambda: self.events.get(recording))

    def collect(self, stopping: threading.Event) -> None:
        """Receive completion events until told to stop."""
        while not stopping.is_set():
            for event in self.backend.completions.receive(0.5):
                self.events[event.data.recording_id].append(event)


def started(cloud: LocalCloud) -> LocalCloud:
    """Start the cloud. Without emulators, skip on a laptop and fail in CI."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("speechpipe.emulators.cloud.EMULATOR_SECONDS", WAIT_SECONDS)
            cloud.start()
    except EmulatorsMissing as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))
    return cloud


def using(cloud: LocalCloud) -> Iterator[User]:
    """A user of a running cloud; stops the cloud at the end."""
    from google.cloud import storage

    stopping = threading.Event()
    try:
        with exported(**cloud.environment()):
            backend = gcp.connect(read(ClientSettings))
            _ = backend.completions._subscriber  # type: ignore[attr-defined]  # create it while the variables are set
            user = User(cloud, backend, storage.Client().bucket(cloud.ids.uploads))
        collector = threading.Thread(target=user.collect, args=[stopping])
        collector.start()
        yield user
        stopping.set()
        collector.join()
    finally:
        stopping.set()
        cloud.stop()


@pytest.fixture(scope="session")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """A user of the local cloud, which delivers each event twice."""
    cloud = LocalCloud(
        state=tmp_path_factory.mktemp("cloud"),
        workers=lambda stage: (sys.executable, str(CANNED_WORKER)),
        max_attempts=25,  # they must outlast the restart of a killed worker on a busy machine
        settings={
            "SPEECHPIPE_UPLOADS_PREFIX": PREFIX,
            "SPEECHPIPE_LEASE_SECONDS": "6",
            "SPEECHPIPE_PRICES": "l4",
            "SPEECHPIPE_MAX_DURATION": "36000",
            "SPEECHPIPE_MAX_COST_PER_DAY": "1000",
            "CANNED_HANGS": str(tmp_path_factory.mktemp("hangs")),
        },
        sweep_seconds=2,
        copies=2,
    )
    yield from using(started(cloud))
