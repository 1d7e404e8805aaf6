"""The console's list as people see it: nothing that matters is cut off, and a dropped folder is its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from speechpipe import Client
from speechpipe.console import Console
from speechpipe.contract import Status
from tests.backends.examples import NOW, finished, recording
from tests.browser.test_console import client, row, trouble, visit  # noqa: F401 - fixtures

pytestmark = pytest.mark.browser

Open = Callable[..., Page]
CUT = """() => [...document.querySelectorAll("#table th, #rows td")]
  .filter((cell) => cell.offsetParent && !cell.classList.contains("name") && cell.scrollWidth > cell.clientWidth)
  .map((cell) => cell.textContent)"""


def put(client: Client, name: str, number: int, status: Status | None) -> None:  # noqa: F811
    made = recording(number, name=name)
    if status:
        made = finished(made, status).model_copy(update={"result": None, "announced_at": NOW, "expires_at": None})
    client.backend.store.create_recording(made)


@pytest.mark.parametrize("width", [1280, 1440])
def test_no_status_date_or_length_is_cut_off(client: Client, visit: Open, width: int) -> None:  # noqa: F811
    for number, status in enumerate([*(s for s in Status if s.is_final and s is not Status.ERASED), None]):
        put(client, f"call {number}.wav", number, status)
    with Console(client) as console:
        page = visit(console.url)
        page.set_viewport_size({"width": width, "height": 800})
        expect(row(page, "call 0.wav")).to_be_visible()
        assert page.evaluate(CUT) == []


def test_the_progress_column_is_there_only_while_something_runs(client: Client, visit: Open) -> None:  # noqa: F811
    put(client, "done.wav", 1, Status.COMPLETED)
    with Console(client) as console:
        page = visit(console.url)
        expect(row(page, "done.wav")).to_be_visible()
        expect(page.get_by_role("columnheader", name="Progress")).to_be_hidden()
        put(client, "waits.wav", 2, None)
        expect(row(page, "waits.wav")).to_be_visible()
        expect(page.get_by_role("columnheader", name="Progress")).to_be_visible()


def test_a_dropped_folder_is_its_files(client: Client, visit: Open, tmp_path: Path) -> None:  # noqa: F811
    folder = tmp_path / "calls of May"
    (folder / "week 1").mkdir(parents=True)
    for name in ("a.wav", "week 1/b.wav", ".DS_Store"):
        (folder / name).write_bytes(b"sound")
    for number in range(120):  # more than a browser lists at a time
        (folder / "week 1" / f"{number:03}.wav").write_bytes(b"sound")
    with Console(client) as console:
        page = visit(console.url)
        expect(page.locator("#empty")).to_be_visible()
        devtools = page.context.new_cdp_session(page)
        data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            devtools.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": data})
        expect(page.locator("#uploads li").first).to_be_visible()
        expect(page.locator("#uploads li")).to_have_count(0, timeout=60_000)  # each goes when it has been uploaded
        uploaded = {source.name for source in client.backend.uploads.objects()}
    assert {"calls of May/a.wav", "calls of May/week 1/b.wav", "calls of May/week 1/119.wav"} <= uploaded
    assert len(uploaded) == 122
