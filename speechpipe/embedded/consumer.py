"""Take messages from the embedded bus and run the verbs that they ask for."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from speechpipe.backends.local.bus import LocalBus, Message
from speechpipe.backends.local.disk import is_unusable
from speechpipe.backends.ports import Analyse
from speechpipe.contract import Task
from speechpipe.contract.errors import Busy, ErrorCode, Unreadable
from speechpipe.embedded.engines import length_of
from speechpipe.observe.spans import Tracing, parse_traceparent
from speechpipe.pipeline.give_up import end
from speechpipe.pipeline.interruptible import Interruptible
from speechpipe.pipeline.perform import perform
from speechpipe.pipeline.world import World

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_ATTEMPTS = 5  #: failed attempts before a task is given up
MAX_CRASHES = 20  #: times the process may die during a task before the task is given up; people do press Ctrl-C
LEASE_SECONDS = 60.0  #: extended while the engine runs; the next start frees the leases of a killed runner
IDLE_SECONDS = 0.05
MAX_BACKOFF_SECONDS = 60.0
UNUSABLE_SECONDS = 1.0  #: between retries while the folder's state cannot be written, for example on a full disk


class Consumer:
    """Takes messages until `stopping` is set. Any thread may call `serve`."""

    def __init__(self, bus: LocalBus, stopping: threading.Event) -> None:
        self._bus, self._stopping = bus, stopping

    def serve(self, handlers: Mapping[str, Callable[[Message], None]]) -> None:
        """Deliver the messages of these topics to their handlers, one at a time."""
        while not self._stopping.is_set():
            idle = True
            for topic, handle in handlers.items():
                message = self._insist(partial(self._bus.take, topic))
                if message:
                    idle = False
                    self._deliver(message, handle)
            if idle:
                self._stopping.wait(IDLE_SECONDS)

    def _insist(self, call: Callable[[], T]) -> T | None:
        """Call until it works or the runner stops: a disk may be full for an hour, and the thread must survive that."""
        while True:
            try:
                return call()
            except Exception:
                log.exception("the folder's state could not be written", extra={"action": "state_failed"})
                if self._stopping.wait(UNUSABLE_SECONDS):
                    return None

    def _deliver(self, message: Message, handle: Callable[[Message], None]) -> None:
        """Run a handler. The type of its exception decides what becomes of the message (see `contract.errors`)."""
        try:
            handle(message)
        except Unreadable as error:
            log.error("dropped a message: %s", error, extra={"action": "unreadable"})
        except Busy:
            self._insist(partial(self._bus.redeliver, message, 1.0, count_attempt=False))
            return
        except Exception as error:
            if is_unusable(error):  # no fault of the task's, so no attempt of it
                log.error("the folder's disk is full or read-only, so this waits", extra={"action": "state_failed"})
                self._insist(partial(self._bus.redeliver, message, UNUSABLE_SECONDS, count_attempt=False))
                return
            log.exception("attempt %d failed", message.attempts, extra={"action": "attempt_failed"})
            delay = min(2.0 ** (message.attempts - 1), MAX_BACKOFF_SECONDS)
            self._insist(partial(self._bus.redeliver, message, delay))
            return
        self._insist(partial(self._bus.acknowledge, message))


class Performer:
    """Performs the tasks of one stage with its engine; a handler for `Consumer`."""

    def __init__(
        self,
        engine: Analyse,
        world: World,
        bus: LocalBus,
        *,
        holder: str,
        scratch: Path,
        stopping: threading.Event,
        tracing: Tracing,
    ) -> None:
        """`holder`: who holds the leases: this process."""
        self._analyse, self._world, self._bus = Interruptible(engine, stopping), world, bus
        self._holder, self._scratch, self._tracing = holder, scratch, tracing

    def __call__(self, message: Message) -> None:
        """Perform a task, or give it up if it has failed too often."""
        task = Task.model_validate_json(message.body)
        if message.attempts > MAX_ATTEMPTS or message.crashes >= MAX_CRASHES:
            # The dead letter first: a second one does no harm.
            self._bus.publish_dead_letter(task, message.attempts + message.crashes - 1)
            self._give_up(task)
            return
        holder = f"{self._holder}-{secrets.token_hex(4)}"  # another one for each delivery
        with self._tracing.perform(task, holder):
            perform(
                task,
                self._world.attempt(
                    self._analyse,
                    holder=holder,
                    lease_seconds=LEASE_SECONDS,
                    scratch=self._scratch,
                    length=length_of,
                ),
            )

    def _give_up(self, task: Task) -> None:
        parent = parse_traceparent(task.traceparent)
        with self._tracing.verb("give_up", task.recording_id, parent=parent, stage=task.stage):
            end(task, self._world, code=ErrorCode.MODEL_ERROR, reason=f"{task.stage.value} failed")
