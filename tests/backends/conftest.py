"""Both backends behind the same fixture."""

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

PullTasks = Callable[[Stage], list[Task]]
PublishDeadLetter = Callable[[Task], None]


@dataclass(frozen=True)
class Harness:
    """A backend, with operations on its topics that no port has."""

    backend: Backend
    pull_tasks: PullTasks  #: a stage's published tasks, now acknowledged
    publish_dead_letter: PublishDeadLetter  #: a task that was given up after 5 deliveries


@pytest.fixture(scope="session")
def emulators() -> Iterator[dict[str, str]]:
    """The environment of emulators that run without functions and workers."""
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
def harness(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Harness]:
    """A backend whose store no other test has used."""
    if request.param == "local":
        yield local_harness(tmp_path)
    else:
        environment = request.getfixturevalue("emulators")
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        yield from gcp_harness(environment)


def local_harness(folder: Path) -> Harness:
    backend = local.connect(folder)

    def pull_tasks(stage: Stage) -> list[Task]:
        bus: Any = backend.bus
        message = bus.take(f"{stage.value}-tasks")
        return [Task.model_validate_json(message.body)] if message else []

    def publish_dead_letter(task: Task) -> None:
        bus: Any = backend.bus
        bus.publish_dead_letter(task, 5)

    return Harness(backend, pull_tasks, publish_dead_letter)


def gcp_harness(environment: dict[str, str]) -> Iterator[Harness]:
    from google.cloud import firestore
    from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient

    from speechpipe.backends import gcp
    from speechpipe.backends.gcp.firestore import FirestoreStore
    from speechpipe.settings import ClientSettings, read

    backend = gcp.connect(read(ClientSettings, environment))
    # The emulator creates a database for any project name, so each test gets a new one.
    client = firestore.Client(project=f"test-{uuid.uuid4().hex[:12]}")
    subscriber = SubscriberClient()

    def pull_tasks(stage: Stage) -> list[Task]:
        path = f"projects/{environment['GOOGLE_CLOUD_PROJECT']}/subscriptions/{stage.value}-tasks"
        received = subscriber.pull(subscription=path, max_messages=10).received_messages
        if received:
            subscriber.acknowledge(subscription=path, ack_ids=[one.ack_id for one in received])
        return [wire.task_from_message(one.message.data, dict(one.message.attributes)) for one in received]

    def publish_dead_letter(task: Task) -> None:
        data, attributes = wire.task_to_message(task)
        with PublisherClient() as publisher:
            path = f"projects/{environment['GOOGLE_CLOUD_PROJECT']}/topics/dead-tasks"
            publisher.publish(path, data, **attributes, **{wire.DEAD_LETTER_COUNT: "5"}).result()

    try:
        yield Harness(replace(backend, store=FirestoreStore(client)), pull_tasks, publish_dead_letter)
    finally:
        subscriber.close()
        client.close()  # type: ignore[no-untyped-call]


@pytest.fixture
def backend(harness: Harness) -> Backend:
    """The ports."""
    return harness.backend
