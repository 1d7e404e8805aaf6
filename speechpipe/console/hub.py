"""One message to every viewer. Nobody waits for a slow one: it is told to read everything again instead."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

#: Messages that a viewer may be behind.
BACKLOG = 64
#: A comment so often keeps proxies from ending a silent connection, and tells us of a viewer that went.
HEARTBEAT_SECONDS = 15.0


def message(event: str, data: Any) -> bytes:
    """A server-sent event (https://html.spec.whatwg.org/multipage/server-sent-events.html); JSON holds no line end."""
    return f"event: {event}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


RESYNC = message("resync", {})


class Viewer:
    """One connection: what it has still to be sent. Used by its own event loop only, but for `put`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: deque[bytes] = deque()
        self._there = asyncio.Event()
        self.closed = False

    def put(self, body: bytes) -> None:
        """Send it a message, from any thread."""
        self._loop.call_soon_threadsafe(self._add, body)

    def close(self) -> None:
        """End its stream, from any thread."""
        self._loop.call_soon_threadsafe(self._end)

    def _add(self, body: bytes) -> None:
        if len(self._queue) >= BACKLOG:
            self._queue.clear()
            body = RESYNC
        self._queue.append(body)
        self._there.set()

    def _end(self) -> None:
        self.closed = True
        self._there.set()

    async def messages(self) -> AsyncIterator[bytes]:
        """What it is sent, and a heartbeat in between, until it is closed."""
        while not self.closed:
            try:
                await asyncio.wait_for(self._there.wait(), HEARTBEAT_SECONDS)
            except TimeoutError:
                yield b": still here\n\n"
                continue
            self._there.clear()
            while self._queue:
                yield self._queue.popleft()


class Hub:
    """The viewers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._viewers: set[Viewer] = set()
        self._closed = False
        self.wanted = threading.Event()  #: set while there is a viewer

    def join(self) -> Viewer:
        """A new viewer; called in its event loop."""
        viewer = Viewer(asyncio.get_running_loop())
        with self._lock:
            self._viewers.add(viewer)
            viewer.closed = self._closed
            self.wanted.set()
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """It is gone."""
        with self._lock:
            self._viewers.discard(viewer)
            if not self._viewers:
                self.wanted.clear()

    def publish(self, event: str, data: Any) -> None:
        """Tell everybody. Encoded once."""
        with self._lock:
            viewers = list(self._viewers)
        if viewers:
            body = message(event, data)
            for viewer in viewers:
                viewer.put(body)

    def close(self) -> None:
        """End every stream, now and later."""
        with self._lock:
            self._closed = True
            viewers = list(self._viewers)
        for viewer in viewers:
            viewer.close()
