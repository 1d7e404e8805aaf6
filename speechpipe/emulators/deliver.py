"""At-least-once delivery of events, as Eventarc does it: retries with backoff until the response is 2xx.

Source: https://cloud.google.com/eventarc/docs/retry-events. The backoff is shorter here, because a person is waiting.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from speechpipe.contract.resources import Service
from speechpipe.emulators.front import Front

#: Concurrent requests.
THREADS = 8
FIRST_PAUSE_SECONDS = 0.25
LAST_PAUSE_SECONDS = 10.0
#: The longest that a function may run (Eventarc's acknowledgement deadline).
REQUEST_SECONDS = 600.0


@dataclass(frozen=True)
class Event:
    """A request to deliver to a service."""

    service: Service
    headers: Mapping[str, str]
    body: bytes
    attempt: int = field(default=0)


class Deliverer:
    """Delivers each event until it is acknowledged; for tests, delivers it `copies` times."""

    def __init__(self, front: Front, *, copies: int = 1) -> None:
        self._front, self._copies = front, copies
        self._queue: queue.Queue[Event | None] = queue.Queue()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._pending = 0
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()

    @property
    def pending(self) -> int:
        """The number of deliveries that are not acknowledged yet."""
        return self._pending

    def deliver(self, event: Event) -> None:
        """Queue an event; returns immediately."""
        with self._lock:
            self._pending += self._copies
        for _ in range(self._copies):
            self._queue.put(event)

    def stop(self) -> None:
        """Stop; undelivered events are lost."""
        self._stopping.set()
        for _ in self._threads:
            self._queue.put(None)

    def _run(self) -> None:
        while (event := self._queue.get()) and not self._stopping.is_set():
            if self._post(event):
                with self._lock:
                    self._pending -= 1
            else:
                self._retry(event)

    def _retry(self, event: Event) -> None:
        pause = min(FIRST_PAUSE_SECONDS * 2**event.attempt, LAST_PAUSE_SECONDS)
        timer = threading.Timer(pause, self._queue.put, [replace(event, attempt=event.attempt + 1)])
        timer.daemon = True
        timer.start()

    def _post(self, event: Event) -> bool:
        """Deliver once. Returns whether the response was 2xx."""
        status = self._front.post(event.service, event.headers, event.body, REQUEST_SECONDS)
        return status is not None and 200 <= status < 300
