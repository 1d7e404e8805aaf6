"""The task and completion topics, the completion subscription and the dead letters on Pub/Sub."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

from google.api_core.exceptions import Cancelled, DeadlineExceeded, ServiceUnavailable
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from google.cloud.pubsub_v1.types import BatchSettings

from speechpipe.contract import Completion, Letter, Stage, Task, wire
from speechpipe.contract.errors import Unreadable
from speechpipe.settings import Topics

log = logging.getLogger(__name__)

#: The library retries for a minute; after that, our caller's caller does.
PUBLISH_SECONDS = 60.0
#: Timeout of a pull; an empty subscription answers when it ends.
PULL_SECONDS = 10.0
#: Timeout of a pull of dead letters: if none arrives for that long, there are no more.
PEEK_SECONDS = 3.0
#: The most messages per request.
_MAX_MESSAGES = 1000


class PubSubBus:
    """`ports.Bus` on topics."""

    def __init__(self, project: str, topics: Topics) -> None:
        self._project = project
        self._task_topics = {Stage.STT: topics.stt_topic, Stage.SER: topics.ser_topic}
        self._completions_topic = topics.completions_topic

    @cached_property
    def _publisher(self) -> PublisherClient:
        """Created on first use, because most processes never publish.

        Without batching: we wait for each message, and the library would hold it back 10 ms to wait for more.
        """
        return PublisherClient(batch_settings=BatchSettings(max_messages=1))

    def publish_task(self, task: Task) -> None:
        """Publish and wait until it is durable."""
        self._publish(self._task_topics[task.stage], wire.task_to_message(task))

    def publish_completion(self, completion: Completion) -> None:
        """Publish and wait until it is durable."""
        self._publish(self._completions_topic, wire.completion_to_message(completion))

    def _publish(self, topic: str, message: wire.Message) -> None:
        data, attributes = message
        path = f"projects/{self._project}/topics/{topic}"
        self._publisher.publish(path, data, **attributes).result(timeout=PUBLISH_SECONDS)


class PubSubCompletions:
    """`ports.Completions` on a pull subscription."""

    def __init__(self, project: str, subscription: str) -> None:
        self._path = f"projects/{project}/subscriptions/{subscription}"

    @cached_property
    def _subscriber(self) -> SubscriberClient:
        """Created on first use, because only clients receive."""
        return SubscriberClient()

    def receive(self, timeout: float) -> Iterator[Completion]:
        """Yield events, one per pull, so that a caller who stops early hides no other events from anybody."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            completion = self._next(min(left, PULL_SECONDS))
            if completion is not None:
                yield completion
                deadline = time.monotonic() + timeout

    def _next(self, seconds: float) -> Completion | None:
        request = {"subscription": self._path, "max_messages": 1}
        try:
            response = self._subscriber.pull(request=request, timeout=seconds, retry=None)
        except (DeadlineExceeded, Cancelled):  # no message; the emulator may notice the deadline first and cancel
            return None
        except ServiceUnavailable:  # the connection broke: pause before the next pull
            time.sleep(min(seconds, 1.0))
            return None
        for received in response.received_messages:
            self._subscriber.acknowledge(request={"subscription": self._path, "ack_ids": [received.ack_id]})
            message = received.message
            try:
                return wire.completion_from_message(message.data, dict(message.attributes))
            except Unreadable as error:
                log.error("%s", error, extra={"action": "unreadable"})
        return None


class PubSubDeadLetters:
    """`ports.DeadLetters` on pull subscriptions. Listing hides the letters from others for a moment."""

    def __init__(self, project: str, *subscriptions: str) -> None:
        self._paths = [f"projects/{project}/subscriptions/{subscription}" for subscription in subscriptions]

    @cached_property
    def _subscriber(self) -> SubscriberClient:
        """Created on first use, because only people list dead letters."""
        return SubscriberClient()

    def peek(self) -> list[Letter]:
        """Pull all and put them back. Logs messages that are not ours and leaves them there."""
        letters = {}
        for received in self._pull_all():
            message = received.message
            try:
                letter = wire.letter_from_message(
                    message.message_id, message.data, dict(message.attributes), message.publish_time
                )
            except Unreadable as error:
                log.error("%s", error, extra={"action": "unreadable"})
                continue
            letters[letter.id] = letter
        return sorted(letters.values(), key=lambda letter: (letter.at, letter.id))

    def acknowledge(self, ids: Collection[str]) -> None:
        """Pull all, acknowledge these and put the others back: only a delivery of a message can be acknowledged."""
        self._pull_all(take=frozenset(ids))

    def _pull_all(self, take: Collection[str] = ()) -> list[Any]:
        """Pull all messages, acknowledge those in `take`, put the others back; return all.

        All subscriptions at the same time: that one is empty takes seconds to find out.
        """
        subscriber = self._subscriber
        with ThreadPoolExecutor(len(self._paths)) as pool:
            found = pool.map(lambda path: _pull_all_of(subscriber, path, take), self._paths)
            return [received for of_one in found for received in of_one.values()]


def _pull_all_of(subscriber: SubscriberClient, path: str, take: Collection[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        while received := _pull(subscriber, path):
            taken = [each.ack_id for each in received if each.message.message_id in take]
            if taken:
                subscriber.acknowledge(request={"subscription": path, "ack_ids": taken})
            found |= {each.message.message_id: each for each in received}
            if take and found.keys() >= set(take):
                break
    finally:
        returned = [each.ack_id for name, each in found.items() if name not in take]
        for start in range(0, len(returned), _MAX_MESSAGES):
            request = {
                "subscription": path,
                "ack_ids": returned[start : start + _MAX_MESSAGES],
                "ack_deadline_seconds": 0,
            }
            subscriber.modify_ack_deadline(request=request)
    return found


def _pull(subscriber: SubscriberClient, path: str) -> list[Any]:
    request = {"subscription": path, "max_messages": _MAX_MESSAGES}
    try:
        return list(subscriber.pull(request=request, timeout=PEEK_SECONDS, retry=None).received_messages)
    except (DeadlineExceeded, Cancelled):  # as in `PubSubCompletions`
        return []
