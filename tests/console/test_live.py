"""One watcher serves all viewers, and slow viewers delay nobody."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from speechpipe import Client
from speechpipe.backends.ports import Changes
from speechpipe.console import Console, watcher
from speechpipe.console.hub import MAX_BACKLOG, RESYNC, Hub
from speechpipe.contract import Stage
from tests.console.conftest import WAIT_SECONDS
from tests.doubles import FixedEngine, ready

pytestmark = pytest.mark.slow  # together over ten seconds


def test_a_slow_viewer_does_not_make_others_miss_events() -> None:
    async def watch() -> tuple[list[bytes], int]:
        hub = Hub()
        slow, fast = hub.subscribe(), hub.subscribe()
        received = 0
        for number in range(MAX_BACKLOG + 10):
            hub.publish("rows", [number])
            await asyncio.sleep(0)
            received += await anext(fast.events()) == f"event: rows\ndata: [{number}]\n\n".encode()
        hub.close()
        await asyncio.sleep(0)
        left = [body async for body in slow.events()]
        return left, received

    left, received = asyncio.run(watch())
    assert received == MAX_BACKLOG + 10
    assert left == []  # it was closed before it read anything


def test_missed_events_are_replaced_by_one_resync() -> None:
    async def watch() -> list[bytes]:
        hub = Hub()
        slow = hub.subscribe()
        for number in range(MAX_BACKLOG + 3):
            hub.publish("rows", [number])
        await asyncio.sleep(0)
        stream = slow.events()
        return [await anext(stream) for _ in range(3)]

    assert asyncio.run(watch()) == [RESYNC, *(f"event: rows\ndata: [{MAX_BACKLOG + n}]\n\n".encode() for n in (1, 2))]


class CountingStore:
    """A store that counts calls of `changes` and fails on demand."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.polls = 0
        self.broken = False
        self.polled = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def changes(self, after: str = "", *, limit: int = 1000) -> Changes:
        self.polls += 1
        self.polled.set()
        if self.broken:
            raise ConnectionError("the store is unreachable")
        found: Changes = self._store.changes(after, limit=limit)
        return found


@pytest.fixture
def counted(folder: Path) -> Any:
    client = Client(folder, engines=ready({stage: FixedEngine(stage) for stage in Stage}))
    store = CountingStore(client.backend.store)
    object.__setattr__(client.backend, "store", store)
    return client, store


def follow(url: str, seen: list[str]) -> None:
    """Collect the data of all events until the stream ends."""
    with httpx.stream("GET", f"{url}api/events", timeout=WAIT_SECONDS) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                seen.append(line)


def wait_for(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_many_viewers_cause_no_more_polls_and_no_viewers_cause_none(
    counted: tuple[Client, CountingStore], audio: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "POLL_SECONDS", 0.2)
    client, store = counted
    with Console(client) as console:
        assert console.app.state.watcher.loaded.wait(WAIT_SECONDS)
        polls_without_viewers = store.polls
        store.polled.clear()
        assert not store.polled.wait(1)  # five intervals
        assert store.polls == polls_without_viewers
        seen: list[list[str]] = [[] for _ in range(10)]
        viewers = [threading.Thread(target=follow, args=(console.url, each)) for each in seen]
        for viewer in viewers:
            viewer.start()
        wait_for(lambda: all(seen))
        client.submit(audio).result(timeout=WAIT_SECONDS)
        wait_for(lambda: all(any('"announced":true' in line for line in list(each)) for each in seen))
        began, before = time.monotonic(), store.polls
        for _ in range(5):
            store.polled.clear()
            assert store.polled.wait(WAIT_SECONDS)
        polls, intervals = store.polls - before, (time.monotonic() - began) / watcher.POLL_SECONDS
        assert polls <= intervals + 2  # one watcher's, with an extra one after the transcript; not ten watchers'
        console.app.state.hub.close()
        for viewer in viewers:
            viewer.join(WAIT_SECONDS)
            assert not viewer.is_alive()
    client.close()


def test_viewers_see_that_the_store_fails_and_that_it_recovers(
    counted: tuple[Client, CountingStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "POLL_SECONDS", 0.05)
    client, store = counted
    with Console(client) as console, httpx.stream("GET", f"{console.url}api/events", timeout=WAIT_SECONDS) as stream:
        failing: list[bool] = []
        store.broken = True
        for line in stream.iter_lines():
            if line.startswith("data: {") and '"failing"' in line:
                failing.append(json.loads(line.removeprefix("data: "))["failing"])
                store.broken = not any(failing)
            if failing[-2:] == [True, False]:
                break
    client.close()


def test_the_console_stops_while_the_store_does_not_answer(
    counted: tuple[Client, CountingStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "_STOP_SECONDS", 0.1)
    client, store = counted
    called, answer = threading.Event(), threading.Event()

    def changes(after: str = "", *, limit: int = 1000) -> Changes:
        called.set()
        answer.wait()  # as Google's clients do, for minutes
        return Changes([], after)

    monkeypatch.setattr(store, "changes", changes, raising=False)
    with Console(client) as console:
        assert called.wait(WAIT_SECONDS)
        with httpx.stream("GET", f"{console.url}api/events", timeout=WAIT_SECONDS) as stream:
            first = next(line for line in stream.iter_lines() if line.startswith("data: "))
        counters = json.loads(first.removeprefix("data: "))  # complete from the first event: the page reads all of it
        assert (set(counters["stages"]), counters["filled"]) == ({"stt", "ser"}, False)
    [blocked] = [thread for thread in threading.enumerate() if thread.name == "console-watcher"]
    assert blocked.is_alive()  # still in its call: the console did not wait for it
    answer.set()
    blocked.join(WAIT_SECONDS)  # it ends without using what is closed by now
    assert not blocked.is_alive()
    client.close()
