"""At-least-once delivery over HTTP, as Eventarc does it: anything but 2xx is tried again, with backoff.

Source: https://cloud.google.com/eventarc/docs/retry-events. The pauses are shorter here; people are waiting.
"""

from __future__ import annotations

import http.client
import logging
import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

log = logging.getLogger(__name__)

#: Requests at a time.
THREADS = 8
FIRST_PAUSE_SECONDS = 0.25
LAST_PAUSE_SECONDS = 10.0
#: A function runs at most so long (Eventarc's acknowledgement deadline).
REQUEST_SECONDS = 600.0


@dataclass(frozen=True)
class Event:
    """A request that somebody must take."""

    port: int
    headers: Mapping[str, str]
    body: bytes
    attempt: int = field(default=0)


class Deliverer:
    """Delivers events until each was taken once; with `copies` each is delivered so often, for tests."""

    def __init__(self, *, copies: int = 1) -> None:
        self._copies = copies
        self._queue: queue.Queue[Event | None] = queue.Queue()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._pending = 0
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()

    @property
    def pending(self) -> int:
        """Events that nobody has taken yet."""
        return self._pending

    def deliver(self, event: Event) -> None:
        """Take an event; returns at once."""
        with self._lock:
            self._pending += self._copies
        for _ in range(self._copies):
            self._queue.put(event)

    def stop(self) -> None:
        """Stop; what was not taken is lost."""
        self._stopping.set()
        for _ in self._threads:
            self._queue.put(None)

    def _run(self) -> None:
        while (event := self._queue.get()) and not self._stopping.is_set():
            if _post(event):
                with self._lock:
                    self._pending -= 1
            else:
                self._again(event)

    def _again(self, event: Event) -> None:
        pause = min(FIRST_PAUSE_SECONDS * 2**event.attempt, LAST_PAUSE_SECONDS)
        later = Event(event.port, event.headers, event.body, event.attempt + 1)
        timer = threading.Timer(pause, self._queue.put, [later])
        timer.daemon = True
        timer.start()


def _post(event: Event) -> bool:
    """Whether it was taken."""
    connection = http.client.HTTPConnection("127.0.0.1", event.port, timeout=REQUEST_SECONDS)
    try:
        connection.request("POST", "/", body=event.body, headers=dict(event.headers))
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        log.warning("nobody answers on port %d: %s", event.port, type(error).__name__, extra={"action": "redeliver"})
        return False
    finally:
        connection.close()
    if not 200 <= status < 300:
        log.warning("port %d answered %d", event.port, status, extra={"action": "redeliver"})
        return False
    return True
