"""Stands in for Pub/Sub's push: pulls from the emulator and posts each message to its service through the front end.

The emulator could push by itself, but only two messages of a subscription at a time, without a token and without
`deliveryAttempt` (docs/surprises.md). Source of the request's form and of the statuses that acknowledge:
https://cloud.google.com/pubsub/docs/push
"""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol

from google.api_core.exceptions import GoogleAPICallError
from google.cloud.pubsub_v1 import SubscriberClient

from speechpipe.contract.resources import Service, Subscription
from speechpipe.emulators.front import Front
from speechpipe.emulators.setup import exported
from speechpipe.emulators.window import ACKNOWLEDGING, PushWindow, backoff_seconds

log = logging.getLogger(__name__)

#: How long a message waits after a failed push, where a person is waiting for it; and after one to a service that is
#: not there, which is longer, so that a restart of it takes few of the message's attempts.
QUICK_BACKOFF_SECONDS = 1
ABSENT_BACKOFF_SECONDS = 4
#: How long to wait before asking an emulator again that did not answer.
PAUSE_SECONDS = 0.5
#: More pushes at a time than any window allows.
MAX_THREADS = 1000


class Window(Protocol):
    """How many messages of a subscription may be pushed and not answered yet. One thread at a time calls it."""

    @property
    def size(self) -> int:
        """The number at this moment, at least 1."""

    def answered(self, status: int | None) -> None:
        """Hear how a push ended: its status, or None if there was no answer before the deadline."""


class Pusher:
    """Pushes the messages of these subscriptions to their services until stopped.

    `patient`: a message waits after a failed push as long as its subscription says, instead of a second.
    """

    def __init__(
        self,
        project: str,
        pubsub_port: int,
        front: Front,
        subscriptions: Iterable[Subscription],
        window: Callable[[], Window] = PushWindow,
        *,
        patient: bool = False,
    ) -> None:
        with exported(PUBSUB_EMULATOR_HOST=f"127.0.0.1:{pubsub_port}"):
            client = SubscriberClient()
        self._client, self._stopping = client, threading.Event()
        self._lost: dict[Service, set[str]] = {}  # ids of the messages to services whose messages are being lost
        pushed = [each for each in subscriptions if each.push_to in front.ports]
        self._loops = [
            _Loop(project, each, client, front, window(), self._stopping, self._lost, patient) for each in pushed
        ]
        for loop in self._loops:
            loop.start()

    @contextmanager
    def losing(self, service: Service) -> Iterator[set[str]]:
        """Lose the messages to a service during this block; gives the ids of those lost so far. For tests."""
        lost = self._lost[service] = set()
        try:
            yield lost
        finally:
            del self._lost[service]

    def stop(self) -> None:
        """Take no more messages. A waiting pull ends when the emulator does: call this before that, then `join`."""
        self._stopping.set()

    def join(self) -> None:
        """Wait until every thread has ended; call it after the emulator and the services have stopped."""
        for loop in self._loops:
            loop.join()
        self._client.close()


class _Loop(threading.Thread):
    """Pushes the messages of one subscription."""

    def __init__(
        self,
        project: str,
        subscription: Subscription,
        client: Any,
        front: Front,
        window: Window,
        stopping: threading.Event,
        lost: Mapping[Service, set[str]],
        patient: bool,
    ) -> None:
        super().__init__(name=f"push-{subscription.name}", daemon=True)
        self._path = f"projects/{project}/subscriptions/{subscription.name}"
        self._subscription, self._client, self._front = subscription, client, front
        self._window, self._stopping, self._lost, self._patient = window, stopping, lost, patient
        self._unanswered, self._changed = 0, threading.Condition()
        self._posts = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix=self.name)

    def run(self) -> None:
        while not self._stopping.is_set():
            room = self._room()
            try:
                # No deadline of ours: a message that is handed out just then would be back only after its own.
                found = self._client.pull(subscription=self._path, max_messages=room, retry=None, timeout=None)
            except GoogleAPICallError:  # stopped, restarted, or its subscriptions do not exist yet
                self._stopping.wait(PAUSE_SECONDS)
                continue
            for received in found.received_messages:
                with self._changed:
                    self._unanswered += 1
                self._posts.submit(self._push, received)
        self._posts.shutdown()

    def _room(self) -> int:
        """How many more messages may be pushed now; waits until it is at least one."""
        with self._changed:
            while (room := self._window.size - self._unanswered) < 1 and not self._stopping.is_set():
                self._changed.wait(PAUSE_SECONDS)
        return max(room, 1)

    def _push(self, received: Any) -> None:
        status: int | None = None
        try:
            lost = self._lost.get(self._subscription.push_to)  # type: ignore[arg-type]
            if lost is not None:
                self._acknowledge(received)
                lost.add(received.message.message_id)
                return
            status = self._front.post(
                self._subscription.push_to,  # type: ignore[arg-type]  # those without a service are not pushed
                {"content-type": "application/json"},
                push_body(received, self._path),
                self._subscription.ack_deadline_seconds,
            )
            if status in ACKNOWLEDGING:
                self._acknowledge(received)
            else:
                self._put_back(received, answered=status is not None)
        except GoogleAPICallError as error:
            log.warning("%s: %s", self._subscription.name, type(error).__name__, extra={"action": "redeliver"})
        finally:
            with self._changed:
                self._unanswered -= 1
                self._window.answered(status)
                self._changed.notify()

    def _acknowledge(self, received: Any) -> None:
        self._client.acknowledge(subscription=self._path, ack_ids=[received.ack_id], retry=None)

    def _put_back(self, received: Any, *, answered: bool) -> None:
        wait = QUICK_BACKOFF_SECONDS if answered else ABSENT_BACKOFF_SECONDS
        if self._patient:
            wait = backoff_seconds(self._subscription, max(received.delivery_attempt, 1))
        self._client.modify_ack_deadline(
            subscription=self._path, ack_ids=[received.ack_id], ack_deadline_seconds=wait, retry=None
        )


def push_body(received: Any, subscription: str) -> bytes:
    """The body of a push request, with both spellings of the id and the time, as Pub/Sub sends it."""
    message = received.message
    published = message.publish_time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    wrapped: dict[str, object] = {
        "attributes": dict(message.attributes),
        "data": base64.b64encode(message.data).decode(),
        "messageId": message.message_id,
        "message_id": message.message_id,
        "publishTime": published,
        "publish_time": published,
    }
    body: dict[str, object] = {"message": wrapped, "subscription": subscription}
    if received.delivery_attempt:  # only with a dead-letter policy
        body["deliveryAttempt"] = received.delivery_attempt
    return json.dumps(body).encode()
