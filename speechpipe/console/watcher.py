"""The one reader of the store: asks what changed while anybody looks, keeps the index and tells the viewers."""

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

#: How often the store is asked while somebody looks.
POLL_SECONDS = 1.0
_STOP_SECONDS = 3.0
_PAGE = 1000
#: Lines told one by one, of those that run the newest; of more changes a viewer reads what it shows.
_TOLD = 100
#: Texts read at a time, and between two looks at what changed.
_READERS, _TEXTS = 8, 64

#: Which of the system's processes run, where that is known.
Workers = Callable[[], Mapping[str, bool]]


class Watcher:
    """Watches one store from a thread of its own, from `start` to `stop`."""

    def __init__(self, client: Client, index: Index, hub: Hub, workers: Workers | None = None) -> None:
        self._client, self._index, self._hub, self._workers = client, index, hub, workers
        self._cursor = ""
        self._stopping, self._now = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="console-watcher", daemon=True)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="console-texts")
        self.filled = threading.Event()  #: set once all that was there at the start is in the index
        self.failing = False  #: the store did not answer the last question
        self._figures = self._counted()

    def start(self) -> None:
        """Begin: fill the index, then follow."""
        self._thread.start()

    def stop(self) -> None:
        """End, soon: a question that the store does not answer is not waited for."""
        self._stopping.set()
        self._now.set()
        self._hub.wanted.set()  # it may be waiting for a viewer
        self._thread.join(_STOP_SECONDS)  # Google's clients try for five minutes
        self._readers.shutdown(wait=not self._thread.is_alive(), cancel_futures=True)

    def hurry(self) -> None:
        """Look at once: somebody has decided something and wants to see it."""
        self._now.set()

    @property
    def figures(self) -> dict[str, Any]:
        """As of the last look."""
        return self._figures

    def _watch(self) -> None:
        while not self._stopping.is_set():
            try:
                self.look()
                self.failing = False
            except Exception as error:  # the platform's: it is asked again, and viewers see that it did not answer
                if not self.failing:
                    extra = {"action": "console_blind"}
                    log.warning("the store did not answer the console: %s", type(error).__name__, extra=extra)
                self.failing = True
            if self._stopping.is_set():  # `stop` may not have waited: index, readers and viewers are gone
                return
            self._tell_figures()
            more = self.filled.is_set() and not self.failing and self._read_texts()
            if not more:
                self._now.wait(POLL_SECONDS)
                self._now.clear()
                if self.filled.is_set():
                    self._hub.wanted.wait()

    def look(self) -> None:
        """Ask what changed, and tell it."""
        store = self._client.backend.store
        while not self._stopping.is_set():
            changes = store.changes(self._cursor, limit=_PAGE)
            if self._stopping.is_set():
                return
            self._tell(self._index.put(changes.recordings, datetime.now(UTC)))
            self._cursor = changes.cursor
            if len(changes.recordings) < _PAGE:
                break
        running = store.recordings(status=Status.PROCESSING, limit=_TOLD)  # their progress is no change
        self._tell(self._index.put(running, datetime.now(UTC)))
        if not self.filled.is_set():
            self.filled.set()
            self._hub.publish("resync", {})

    def _tell(self, rows: list[dict[str, Any]]) -> None:
        if rows and self.filled.is_set():
            self._hub.publish(*(("rows", rows) if len(rows) <= _TOLD else ("resync", {})))

    def _counted(self) -> dict[str, Any]:
        workers = dict(self._workers()) if self._workers else None
        state = {"workers": workers, "failing": self.failing, "filled": self.filled.is_set()}
        return self._index.figures(datetime.now(UTC)) | state

    def _tell_figures(self) -> None:
        figures = self._counted()
        if figures != self._figures:
            self._figures = figures
            self._hub.publish("figures", figures)

    def _read_texts(self) -> bool:
        """Read some of the texts that are not in the index yet; whether there were any."""
        unread = self._index.unread(_TEXTS)
        for (recording_id, revision), text in zip(unread, self._readers.map(self._text, unread), strict=True):
            self._index.read(recording_id, revision, text)
        return bool(unread)

    def _text(self, wanted: tuple[str, int]) -> str | None:
        recording_id, _ = wanted
        try:
            return self._client.record(recording_id).text
        except NotFound:
            return None
        except Exception as error:  # once: it is found by its first words
            extra = {"action": "console_unread", "recording_id": recording_id}
            log.warning("a record could not be read for the search: %s", type(error).__name__, extra=extra)
            return None
