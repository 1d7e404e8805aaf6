"""Polls the store for changes while there are viewers, updates the index and tells all viewers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from speechpipe.client import Client
from speechpipe.console.hub import Hub
from speechpipe.console.index import Index
from speechpipe.contract import Status
from speechpipe.contract.errors import NotFound

log = logging.getLogger(__name__)

#: Interval of polls while there is a viewer.
POLL_SECONDS = 1.0
_STOP_SECONDS = 3.0
_PAGE = 1000
#: Most rows in one event, and most running recordings read per poll, newest first. If more rows changed, viewers get
#: `resync` and reload what they show.
_MAX_ROWS = 100
#: Transcripts read in parallel, and read between two polls.
_TRANSCRIPT_READERS, _TRANSCRIPTS_PER_POLL = 8, 64

#: Whether each of the system's processes is running, by name.
RunningProcesses = Callable[[], Mapping[str, bool]]


class Watcher:
    """Watches one store from a background thread, from `start` to `stop`."""

    def __init__(self, client: Client, index: Index, hub: Hub, processes: RunningProcesses | None = None) -> None:
        self._client, self._index, self._hub, self._processes = client, index, hub, processes
        self._cursor = ""
        self._stopping, self._wakeup = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="console-watcher", daemon=True)
        self._readers = ThreadPoolExecutor(_TRANSCRIPT_READERS, thread_name_prefix="console-transcripts")
        self.loaded = threading.Event()  #: set once the index has every recording that existed at the start
        self.failing = False  #: whether the last poll failed
        self._counters = self._count()

    def start(self) -> None:
        """Load all recordings into the index, then follow the changes."""
        self._thread.start()

    def stop(self) -> None:
        """Stop soon: do not wait for a request that the store does not answer."""
        self._stopping.set()
        self._wakeup.set()
        self._hub.has_viewers.set()  # the thread may be waiting for a viewer
        self._thread.join(_STOP_SECONDS)  # Google's clients retry for five minutes
        self._readers.shutdown(wait=not self._thread.is_alive(), cancel_futures=True)

    def poll_soon(self) -> None:
        """Poll without waiting for the interval, so that the result of an operation shows immediately."""
        self._wakeup.set()

    @property
    def counters(self) -> dict[str, Any]:
        """The counters as of the last poll."""
        return self._counters

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.poll()
                self.failing = False
            except Exception as error:  # from the backend: the next poll retries, and viewers see that this one failed
                if not self.failing:
                    extra = {"action": "console_blind"}
                    log.warning("the store did not answer the console: %s", type(error).__name__, extra=extra)
                self.failing = True
            if self._stopping.is_set():  # `stop` may have returned already: index, readers and viewers are gone
                return
            self._publish_counters()
            more = self.loaded.is_set() and not self.failing and self._index_transcripts()
            if not more:
                self._wakeup.wait(POLL_SECONDS)
                self._wakeup.clear()
                if self.loaded.is_set():
                    self._hub.has_viewers.wait()

    def poll(self) -> None:
        """Read what changed in the store and publish it."""
        store = self._client.backend.store
        while not self._stopping.is_set():
            changes = store.changes(self._cursor, limit=_PAGE)
            if self._stopping.is_set():
                return
            self._publish_rows(self._index.upsert(changes.recordings, datetime.now(UTC)))
            self._cursor = changes.cursor
            if len(changes.recordings) < _PAGE:
                break
        running = store.recordings(status=Status.PROCESSING, limit=_MAX_ROWS)  # `changes` leaves out progress
        self._publish_rows(self._index.upsert(running, datetime.now(UTC)))
        if not self.loaded.is_set():
            self.loaded.set()
            self._hub.publish("resync", {})

    def _publish_rows(self, rows: list[dict[str, Any]]) -> None:
        if rows and self.loaded.is_set():
            self._hub.publish(*(("rows", rows) if len(rows) <= _MAX_ROWS else ("resync", {})))

    def _count(self) -> dict[str, Any]:
        processes = dict(self._processes()) if self._processes else None
        state = {"workers": processes, "failing": self.failing, "filled": self.loaded.is_set()}
        return self._index.counters(datetime.now(UTC)) | state

    def _publish_counters(self) -> None:
        counters = self._count()
        if counters != self._counters:
            self._counters = counters
            self._hub.publish("figures", counters)

    def _index_transcripts(self) -> bool:
        """Index the next few transcripts. False if there were none left."""
        missing = self._index.without_transcript(_TRANSCRIPTS_PER_POLL)
        for (recording_id, revision), text in zip(missing, self._readers.map(self._transcript, missing), strict=True):
            self._index.add_transcript(recording_id, revision, text)
        return bool(missing)

    def _transcript(self, recording: tuple[str, int]) -> str | None:
        recording_id, _ = recording
        try:
            return self._client.record(recording_id).text
        except NotFound:
            return None
        except Exception as error:  # not retried: search still finds the recording by its preview
            extra = {"action": "console_unread", "recording_id": recording_id}
            log.warning("could not read a record for the search index: %s", type(error).__name__, extra=extra)
            return None
