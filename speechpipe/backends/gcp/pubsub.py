"""Topics and the completion subscription on Pub/Sub."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator
from functools import cached_property
from typing import Any

from google.api_core.exceptions import Cancelled, DeadlineExceeded, ServiceUnavailable
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from google.cloud.pubsub_v1.types import BatchSettings

from speechpipe.contract import Completion, Letter, Stage, Task, wire
from speechpipe.contract.errors import Unreadable
from speechpipe.settings import Topics

log = logging.getLogger(__name__)

#: The library tries again for a minute by itself; after that the caller's caller does.
PUBLISH_SECONDS = 60.0
#: One request of a pull; an empty topic answers at its end.
PULL_SECONDS = 10.0
#: The same where people look at what is there: nothing for so long, and that was all.
LOOK_SECONDS = 3.0
#: Messages of one request at most.
_PULLED = 1000


class PubSubBus:
    """`ports.Bus` on topics."""

    def __init__(self, project: str, topics: Topics) -> None:
        self._project = project
        self._task_topics = {Stage.STT: topics.stt_topic, Stage.SER: topics.ser_topic}
        self._completions_topic = topics.completions_topic

    @cached_property
    def _publisher(self) -> PublisherClient:
        """Made on first use: a worker and a give-up function never publish.

        Without batches: we wait for each message, and the library would wait 10 ms for more before it sends one.
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
        """Made on first use: only clients receive."""
        return SubscriberClient()

    def receive(self, timeout: float) -> Iterator[Completion]:
        """Yield events, one pull each: what a caller who stops early did not take, nobody has hidden from others."""
        patience = time.monotonic() + timeout
        while (left := patience - time.monotonic()) > 0:
            completion = self._next(min(left, PULL_SECONDS))
            if completion is not None:
                yield completion
                patience = time.monotonic() + timeout

    def _next(self, seconds: float) -> Completion | None:
        request = {"subscription": self._path, "max_messages": 1}
        try:
            response = self._subscriber.pull(request=request, timeout=seconds, retry=None)
        except (DeadlineExceeded, Cancelled):  # nothing came; the emulator may notice the deadline first, and cancel
            return None
        except ServiceUnavailable:  # the connection went: ask again, not at once
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
    """`ports.DeadLetters` on a pull subscription. Whoever looks has them hidden from others for that moment."""

    def __init__(self, project: str, subscription: str) -> None:
        self._path = f"projects/{project}/subscriptions/{subscription}"

    @cached_property
    def _subscriber(self) -> SubscriberClient:
        """Made on first use: only people look."""
        return SubscriberClient()

    def peek(self) -> list[Letter]:
        """Pull all and put them back. What is no task of ours is left there, and said."""
        letters = {}
        for received in self._all().values():
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
        """Pull all, acknowledge those and put the others back: a message is acknowledged by a delivery of it."""
        self._all(take=frozenset(ids))

    def _all(self, take: Collection[str] = ()) -> dict[str, Any]:
        """All messages by id, each received once; those of `take` are acknowledged and the others put back."""
        found: dict[str, Any] = {}
        try:
            while received := self._pulled():
                taken = [each.ack_id for each in received if each.message.message_id in take]
                if taken:
                    self._subscriber.acknowledge(request={"subscription": self._path, "ack_ids": taken})
                found |= {each.message.message_id: each for each in received}
                if take and found.keys() >= set(take):
                    break
        finally:
            back = [each.ack_id for name, each in found.items() if name not in take]
            for start in range(0, len(back), _PULLED):
                request = {
                    "subscription": self._path,
                    "ack_ids": back[start : start + _PULLED],
                    "ack_deadline_seconds": 0,
                }
                self._subscriber.modify_ack_deadline(request=request)
        return found

    def _pulled(self) -> list[Any]:
        request = {"subscription": self._path, "max_messages": _PULLED}
        try:
            return list(self._subscriber.pull(request=request, timeout=LOOK_SECONDS, retry=None).received_messages)
        except (DeadlineExceeded, Cancelled):  # as in `PubSubCompletions`
            return []
