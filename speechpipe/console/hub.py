"""Sends each event to every viewer. A viewer that falls behind gets `resync` instead, so it never delays the others."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

#: Events a viewer may have pending.
MAX_BACKLOG = 64
#: A comment at this interval keeps proxies from closing a quiet connection, and lets us notice that a viewer has gone.
HEARTBEAT_SECONDS = 15.0


def encode_event(event: str, data: Any) -> bytes:
    """A server-sent event (https://html.spec.whatwg.org/multipage/server-sent-events.html). JSON has no line breaks."""
    return f"event: {event}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


RESYNC = encode_event("resync", {})


class Viewer:
    """One connection and the events pending for it. Only `put` and `close` may be called from other threads."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: deque[bytes] = deque()
        self._wakeup = asyncio.Event()
        self.closed = False

    def put(self, event: bytes) -> None:
        """Queue an event, from any thread."""
        self._loop.call_soon_threadsafe(self._add, event)

    def close(self) -> None:
        """End the stream, from any thread."""
        self._loop.call_soon_threadsafe(self._end)

    def _add(self, event: bytes) -> None:
        if len(self._queue) >= MAX_BACKLOG:
            self._queue.clear()
            event = RESYNC
        self._queue.append(event)
        self._wakeup.set()

    def _end(self) -> None:
        self.closed = True
        self._wakeup.set()

    async def events(self) -> AsyncIterator[bytes]:
        """Yield events, and heartbeats while there are none, until closed."""
        while not self.closed:
            try:
                await asyncio.wait_for(self._wakeup.wait(), HEARTBEAT_SECONDS)
            except TimeoutError:
                yield b": still here\n\n"
                continue
            self._wakeup.clear()
            while self._queue:
                yield self._queue.popleft()


class Hub:
    """All viewers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._viewers: set[Viewer] = set()
        self._closed = False
        self.has_viewers = threading.Event()

    def subscribe(self) -> Viewer:
        """Add a viewer. Call it from the viewer's event loop."""
        viewer = Viewer(asyncio.get_running_loop())
        with self._lock:
            self._viewers.add(viewer)
            viewer.closed = self._closed
            self.has_viewers.set()
        return viewer

    def unsubscribe(self, viewer: Viewer) -> None:
        """Remove a viewer."""
        with self._lock:
            self._viewers.discard(viewer)
            if not self._viewers:
                self.has_viewers.clear()

    def publish(self, event: str, data: Any) -> None:
        """Send an event to all viewers, encoded once."""
        with self._lock:
            viewers = list(self._viewers)
        if viewers:
            encoded = encode_event(event, data)
            for viewer in viewers:
                viewer.put(encoded)

    def close(self) -> None:
        """End all streams, and those of viewers who subscribe later."""
        with self._lock:
            self._closed = True
            viewers = list(self._viewers)
        for viewer in viewers:
            viewer.close()
