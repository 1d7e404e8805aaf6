"""The backends, each behind the same fixture."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from speechpipe.backends import local
from speechpipe.backends.ports import Backend
from speechpipe.contract import Stage, Task, wire

Taken = Callable[[Stage], list[Task]]
Bury = Callable[[Task], None]


@dataclass(frozen=True)
class Ready:
    """A backend, and the sides of its topics that no port has: what they hold, and a task given up after 5 tries."""

    backend: Backend
    taken: Taken
    bury: Bury


@pytest.fixture(scope="session")
def emulators() -> Iterator[dict[str, str]]:
    """The environment of the emulators, which run without functions and workers."""
    from speechpipe.emulators import EmulatorsMissing, LocalCloud

    cloud = LocalCloud(serve=False)
    try:
        cloud.start()
    except EmulatorsMissing as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))
    yield cloud.environment()
    cloud.stop()


@pytest.fixture(params=["local", pytest.param("gcp", marks=pytest.mark.emulators)])
def ready(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ready]:
    """A backend of which no other test has seen anything."""
    if request.param == "local":
        yield local_ready(tmp_path)
    else:
        environment = request.getfixturevalue("emulators")
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        yield from gcp_ready(environment)


def local_ready(folder: Path) -> Ready:
    backend = local.connect(folder)

    def taken(stage: Stage) -> list[Task]:
        bus: Any = backend.bus
        message = bus.take(f"{stage.value}-tasks")
        return [Task.model_validate_json(message.body)] if message else []

    def bury(task: Task) -> None:
        bus: Any = backend.bus
        bus.publish_dead_letter(task, 5)

    return Ready(backend, taken, bury)


def gcp_ready(environment: dict[str, str]) -> Iterator[Ready]:
    from google.cloud import firestore
    from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient

    from speechpipe.backends import gcp
    from speechpipe.backends.gcp.firestore import FirestoreStore
    from speechpipe.settings import ClientSettings, read

    backend = gcp.connect(read(ClientSettings, environment))
    # The emulator makes a database for any project that is named: a new one a test.
    client = firestore.Client(project=f"test-{uuid.uuid4().hex[:12]}")
    subscriber = SubscriberClient()

    def taken(stage: Stage) -> list[Task]:
        path = f"projects/{environment['GOOGLE_CLOUD_PROJECT']}/subscriptions/{stage.value}-tasks"
        received = subscriber.pull(subscription=path, max_messages=10).received_messages
        subscriber.acknowledge(subscription=path, ack_ids=[one.ack_id for one in received])
        return [wire.task_from_message(one.message.data, dict(one.message.attributes)) for one in received]

    def bury(task: Task) -> None:
        data, attributes = wire.task_to_message(task)
        with PublisherClient() as publisher:
            path = f"projects/{environment['GOOGLE_CLOUD_PROJECT']}/topics/dead-tasks"
            publisher.publish(path, data, **attributes, **{wire.DEAD_LETTER_COUNT: "5"}).result()

    try:
        yield Ready(replace(backend, store=FirestoreStore(client)), taken, bury)
    finally:
        subscriber.close()
        client.close()  # type: ignore[no-untyped-call]


@pytest.fixture
def backend(ready: Ready) -> Backend:
    """The ports."""
    return ready.backend
