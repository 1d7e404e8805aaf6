"""One reader for all viewers, and nobody waits for a slow one."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from speechpipe import Client
from speechpipe.backends.ports import Changes
from speechpipe.console import Console, watcher
from speechpipe.console.hub import MAX_BACKLOG, RESYNC, Hub
from speechpipe.contract import Stage
from tests.doubles import FixedEngine

pytestmark = pytest.mark.slow  # together over ten seconds


def test_a_slow_viewer_is_told_to_read_everything_again_and_others_miss_nothing() -> None:
    async def watch() -> tuple[list[bytes], int]:
        hub = Hub()
        slow, quick = hub.subscribe(), hub.subscribe()
        taken = 0
        for number in range(MAX_BACKLOG + 10):
            hub.publish("rows", [number])
            await asyncio.sleep(0)
            taken += await anext(quick.events()) == f"event: rows\ndata: [{number}]\n\n".encode()
        hub.close()
        await asyncio.sleep(0)
        left = [body async for body in slow.events()]
        return left, taken

    left, taken = asyncio.run(watch())
    assert taken == MAX_BACKLOG + 10
    assert left == []  # closed: what it had missed is no matter any more


def test_what_was_missed_is_one_message() -> None:
    async def watch() -> list[bytes]:
        hub = Hub()
        slow = hub.subscribe()
        for number in range(MAX_BACKLOG + 3):
            hub.publish("rows", [number])
        await asyncio.sleep(0)
        stream = slow.events()
        return [await anext(stream) for _ in range(3)]

    assert asyncio.run(watch()) == [RESYNC, *(f"event: rows\ndata: [{MAX_BACKLOG + n}]\n\n".encode() for n in (1, 2))]


class Counted:
    """A store whose `changes` are counted, and fail on demand."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.asked = 0
        self.broken = False
        self.again = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def changes(self, after: str = "", *, limit: int = 1000) -> Changes:
        self.asked += 1
        self.again.set()
        if self.broken:
            raise ConnectionError("the store is away")
        found: Changes = self._store.changes(after, limit=limit)
        return found


@pytest.fixture
def counted(folder: Path) -> Any:
    client = Client(folder, engines=lambda: {stage: FixedEngine(stage) for stage in Stage})
    store = Counted(client.backend.store)
    object.__setattr__(client.backend, "store", store)
    return client, store


def events(url: str, stop: threading.Event, seen: list[str]) -> None:
    with httpx.stream("GET", f"{url}api/events", timeout=30) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                seen.append(line)
            if stop.is_set():
                return


def test_viewers_cost_the_store_nothing_and_without_any_it_is_left_alone(
    counted: tuple[Client, Counted], audio: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "POLL_SECONDS", 0.2)
    client, store = counted
    with Console(client) as console:
        assert console.app.state.watcher.loaded.wait(10)
        alone = store.asked
        store.again.clear()
        assert not store.again.wait(1)  # five polls long
        assert store.asked == alone
        stop = threading.Event()
        seen: list[list[str]] = [[] for _ in range(10)]
        viewers = [threading.Thread(target=events, args=(console.url, stop, each)) for each in seen]
        for viewer in viewers:
            viewer.start()
        client.submit(audio).result(timeout=30)
        told = [""] * len(seen)
        while not all('"announced":true' in one for one in told):
            told = ["".join(each) for each in seen]
        store.again.clear()
        before = store.asked
        for _ in range(5):
            assert store.again.wait(5)
            store.again.clear()
        assert store.asked - before <= 6  # of one reader, not of ten
        stop.set()
    for viewer in viewers:
        viewer.join()
    client.close()


def test_a_store_that_is_away_is_said_and_asked_again(
    counted: tuple[Client, Counted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "POLL_SECONDS", 0.05)
    client, store = counted
    with Console(client) as console, httpx.stream("GET", f"{console.url}api/events", timeout=30) as stream:
        said: list[bool] = []
        store.broken = True
        for line in stream.iter_lines():
            if line.startswith("data: {") and '"failing"' in line:
                said.append(json.loads(line.removeprefix("data: "))["failing"])
                store.broken = not any(said)
            if said[-2:] == [True, False]:
                break
    client.close()


def test_a_store_that_does_not_answer_keeps_nobody_from_ending_it(
    counted: tuple[Client, Counted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "_STOP_SECONDS", 0.1)
    client, store = counted
    asked, answer = threading.Event(), threading.Event()

    def changes(after: str = "", *, limit: int = 1000) -> Changes:
        asked.set()
        answer.wait(60)  # as Google's clients do, for minutes
        return Changes([], after)

    monkeypatch.setattr(store, "changes", changes, raising=False)
    with Console(client) as console:
        assert asked.wait(10)
        with httpx.stream("GET", f"{console.url}api/events", timeout=30) as stream:
            first = next(line for line in stream.iter_lines() if line.startswith("data: "))
        figures = json.loads(first.removeprefix("data: "))  # whole from the first on: the page reads all of it
        assert (set(figures["stages"]), figures["filled"]) == ({"stt", "ser"}, False)
    [waiting] = [thread for thread in threading.enumerate() if thread.name == "console-watcher"]
    assert waiting.is_alive()  # still asking: it was not waited for
    answer.set()
    waiting.join(10)  # and nothing is told any more to whom is gone
    assert not waiting.is_alive()
    client.close()
