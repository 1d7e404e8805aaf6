"""The console in a real browser: everyday use on the emulators, hostile input and accessibility on a folder.

`SCREENSHOTS=docs/images pytest tests/browser/test_console.py` takes the screenshots for the documentation. They
show real recordings and genuine Whisper; without them the test has the toys and their recordings.
"""

from __future__ import annotations

import base64
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, Route, expect

from benchmarks import demo
from speechpipe import Client
from speechpipe.console import Console
from speechpipe.contract import Quote, Recording, Stage, Status
from speechpipe.emulators import LocalCloud
from speechpipe.emulators.setup import exported
from tests import weights
from tests.backends.examples import NOW, finished, recording
from tests.browser.conftest import WAIT_MS
from tests.doubles import TRANSCRIPT, FixedEngine, ready, segment
from tests.emulators.conftest import TEST_SECONDS, started
from tests.media import SAMPLES

pytestmark = pytest.mark.browser


@dataclass(frozen=True)
class Cast:
    """The recordings of a test, by what happens to them."""

    folder: Path
    played: str  #: and found by `said`, a word of it
    broken: str  #: its upload is interrupted after 256 KiB
    erased: str  #: the only one of which most sounds angry
    said: str
    models: str

    @property
    def names(self) -> tuple[str, str, str]:
        return self.played, self.broken, self.erased


TOYS = Cast(SAMPLES, "changing_mood.m4a", "order_inquiry.wav", "angry_customer.ogg", "kettle", "toy")
REAL = Cast(demo.SAMPLES, "changing_mood_german.m4a", "call_stereo.wav", "lobster_or_crayfish.ogg", "Tüten", "demo")
CAST = REAL if os.environ.get("SCREENSHOTS") else TOYS

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text(encoding="utf-8")
#: Text that closes tags and attributes, runs scripts, or changes how the text around it reads.
HOSTILE = """<script>hacked=1</script>"'><img src=x onerror=hacked=1>\u202egpj.exe\u2066 \x1b[31m&lt; ${hacked=1}.wav"""
Open = Callable[..., Page]
#: The player's clock after the first second: which second it shows when it is read is a matter of luck.
PLAYED = re.compile(r"^0:(0[1-9]|[1-5]\d) / ")
WAIT_SECONDS = WAIT_MS / 1000
REFUSED = "net::ERR_CONNECTION_REFUSED"


@pytest.fixture
def trouble() -> list[str]:
    """Errors in the page."""
    return []


@pytest.fixture
def visit(chromium: Browser, trouble: list[str]) -> Iterator[Open]:
    """Open a URL. At the end of the test, `trouble` must be empty."""
    contexts: list[BrowserContext] = []

    def note_failure(request: Request) -> None:
        # Ignored: requests that the page cancelled, and its last ones after the test's server has stopped.
        if request.failure not in ("net::ERR_ABORTED", REFUSED):
            trouble.append(f"failed: {request.method} {request.url}")

    def note_message(message: ConsoleMessage) -> None:
        if REFUSED not in message.text:
            trouble.append(f"console: {message.text}")

    def open_page(url: str, **options: Any) -> Page:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        page.on("console", note_message)
        page.on("requestfailed", note_failure)
        page.on("dialog", lambda dialog: trouble.append(f"dialog: {dialog.message}"))
        page.goto(url)
        expect(page.locator("#live")).to_have_text("Live")
        trouble.clear()  # from loading, such as an icon that was requested twice
        return page

    yield open_page
    for context in contexts:
        for page in context.pages:
            page.goto("about:blank")  # closes its event stream before the server stops
        context.close()
    assert trouble == []


def screenshot(page: Page, name: str) -> None:
    """Take a screenshot for the documentation if SCREENSHOTS is set."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png")


def drop(page: Page, files: dict[str, bytes]) -> None:
    """Drop files on the page."""
    given = [{"name": name, "body": base64.b64encode(content).decode()} for name, content in files.items()]
    transfer = page.evaluate_handle(
        "(files) => { const given = new DataTransfer(); for (const { name, body } of files) given.items.add(new File("
        "[Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0))], name)); return given; }",
        given,
    )
    page.dispatch_event("body", "dragenter", {"dataTransfer": transfer})
    expect(page.locator("#veil")).to_be_visible()
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    expect(page.locator("#veil")).to_be_hidden()


def row(page: Page, name: str) -> Locator:
    """The row of a recording."""
    return page.locator("#rows tr").filter(has=page.get_by_role("link", name=name, exact=True))


def assert_accessible(page: Page) -> None:
    """axe-core finds no violations."""
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document, { iframes: false })")
    assert [(each["id"], [node["html"][:120] for node in each["nodes"]]) for each in found["violations"]] == []


# ------------------------------------------------------------------------------------------- on the emulators


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[LocalCloud]:
    """The local cloud with real workers."""
    settings = {"SPEECHPIPE_MODELS": CAST.models, "HF_HUB_OFFLINE": "1", "SPEECHPIPE_DEVICE": "cpu"}
    if CAST is REAL:
        request.getfixturevalue("whisper_base")
        settings["XDG_CACHE_HOME"] = str(weights.cache())
    cloud = LocalCloud(state=tmp_path_factory.mktemp("cloud"), settings=settings)
    started(cloud)
    yield cloud
    cloud.stop()


def remember_session(route: Route, sessions: list[str]) -> None:
    """Let a request for an upload session through, and keep the session's URL if it is for the file to be broken."""
    answer = route.fetch()
    if (route.request.post_data_json or {}).get("name") == CAST.broken:
        sessions.append(answer.json()["url"])
    route.fulfill(response=answer)


def break_connection(route: Route) -> None:
    """Deliver the first 256 KiB, then break the connection."""
    content = (CAST.folder / CAST.broken).read_bytes()
    headers = {"content-range": f"bytes 0-{2**18 - 1}/{len(content)}"}
    assert httpx.put(route.request.url, content=content[: 2**18], headers=headers, timeout=60).status_code == 308
    route.abort()


def pass_on(route: Route) -> None:
    """Let a request through."""
    route.continue_()


@pytest.mark.emulators
@pytest.mark.engines
@pytest.mark.slow
@pytest.mark.timeout(TEST_SECONDS)
def test_upload_playback_search_redrive_and_erase(
    cloud: LocalCloud, visit: Open, trouble: list[str], tmp_path: Path
) -> None:
    sent: list[tuple[str, str]] = []
    with exported(**cloud.environment()):
        client = Client(environ={**os.environ, **cloud.environment()})
        with Console(client, processes=cloud.running) as console:
            page = visit(console.url)
            page.on("request", lambda request: sent.append((request.method, request.url)))
            to_break: list[str] = []
            broken = iter([True])  # one upload's connection breaks halfway, and the upload resumes there
            page.route("**/api/uploads", lambda route: remember_session(route, to_break))
            page.route(
                lambda url: url in to_break,
                lambda route: (break_connection if next(broken, False) else pass_on)(route),
            )
            drop(page, {name: (CAST.folder / name).read_bytes() for name in CAST.names})
            for name in CAST.names:
                expect(row(page, name)).to_be_visible()
            screenshot(page, "console-uploads")
            for name in CAST.names:
                expect(row(page, name).locator(".state")).to_have_text("completed", timeout=180_000)
            storage = cloud.environment()["STORAGE_EMULATOR_HOST"]
            put = [url for method, url in sent if method == "PUT"]
            assert len(put) == 5  # one per file, and two more for the one that broke: how much arrived, then the rest
            with client.backend.uploads.open(client.get(CAST.broken).source) as file:
                assert file.read() == (CAST.folder / CAST.broken).read_bytes()
            assert all(url.startswith(storage) for url in put), put  # to the bucket, not through the console
            assert all("upload_id" in line or "ERR_FAILED" in line for line in trouble), trouble
            trouble.clear()
            expect(page.locator("#figures")).to_contain_text("10 running")
            screenshot(page, "console-list")
            assert_accessible(page)

            page.get_by_role("link", name=CAST.played).click()
            report = page.frame_locator("#report")
            expect(report.locator("body[data-ready=player]")).to_be_attached()
            expect(page.locator("#story li b").first).to_have_text("uploaded")
            assert_accessible(page)
            report.get_by_role("button", name="Play").click()
            expect(report.get_by_role("button", name="Pause")).to_be_visible()
            audio = report.locator("audio")
            expect(report.locator("#clock")).to_contain_text(PLAYED)
            report.get_by_role("button", name="Pause").click()
            report.locator(".s").nth(3).scroll_into_view_if_needed()  # only then its words become elements
            word = report.locator(".s").nth(3).locator(".w").nth(2)
            word.click()
            spoken = client.record(CAST.played).segments[3].words[2]
            assert audio.evaluate("(audio) => audio.currentTime") == pytest.approx(spoken.start, abs=0.05)
            expect(word).to_have_class("w on")
            screenshot(page, "console-recording")

            page.get_by_role("button", name="Redrive emotions").click()
            expect(page.locator("#one-facts")).to_contain_text("revision 2")
            page.evaluate("scrollTo(0, 0)")
            screenshot(page, "console-again")
            expect(page.locator("#one-facts .state")).to_have_text("completed", timeout=180_000)
            assert client.get(CAST.played).rerun == (Stage.SER,)
            expect(page.frame_locator("#report").locator("body[data-ready=player]")).to_be_attached()

            stored = client.record(CAST.played).artifacts.report
            assert stored is not None
            (tmp_path / "report.html").write_bytes(client.backend.results.read(stored))
            alone = page.context.new_page()  # as somebody would open the stored file elsewhere, years later
            alone.goto((tmp_path / "report.html").as_uri())
            alone.get_by_role("button", name="Play").click()
            expect(alone.locator("#clock")).to_contain_text(PLAYED)
            alone.close()

            page.get_by_role("link", name="All recordings").click()
            page.get_by_label("Search").fill(CAST.said)
            expect(page.locator("#count")).to_contain_text("1 recording")
            expect(row(page, CAST.played)).to_be_visible()
            screenshot(page, "console-search")
            page.get_by_role("button", name="Clear filters").click()
            page.locator("#filters [name=emotion]").select_option("anger")
            expect(row(page, CAST.erased)).to_be_visible()
            expect(row(page, CAST.broken)).to_have_count(0)
            page.get_by_role("button", name="Clear filters").click()

            page.get_by_role("link", name=CAST.erased).click()
            page.get_by_role("button", name="Erase…").click()
            page.get_by_label("Also delete the uploaded file").check()
            screenshot(page, "console-erase")
            assert_accessible(page)
            page.get_by_role("button", name="Erase", exact=True).click()
            expect(page.locator("#said")).to_have_text(f"Erased {CAST.erased}")
            expect(row(page, CAST.erased)).to_have_count(0)
            expect(row(page, "(erased)")).to_be_visible()
            assert client.backend.uploads.find(CAST.erased) is None
            page.goto("about:blank")


# ----------------------------------------------------------------------------------------------- on a folder


@pytest.fixture
def client(folder: Path) -> Iterator[Client]:
    """A client of a folder, with an engine that returns a hostile transcript."""
    hostile = TRANSCRIPT.model_copy(update={"segments": (segment(0.0, 2.0, f"said {HOSTILE}"),)})
    engines = {Stage.STT: TranscriptEngine(hostile), Stage.SER: FixedEngine(Stage.SER)}
    with Client(folder, engines=ready(engines)) as made:
        yield made


class TranscriptEngine(FixedEngine):
    """An engine that returns a given transcript."""

    def __init__(self, transcript: Any) -> None:
        super().__init__(Stage.STT)
        self._transcript = transcript

    def __call__(self, path: Any, options: Any, progress: Any, part: Any = None) -> Any:
        return super().__call__(path, options, progress).model_copy(update={"value": self._transcript})


def test_hostile_names_metadata_and_words_are_shown_as_text(client: Client, audio: Path, visit: Open) -> None:
    name = HOSTILE.replace("/", "∕")  # a file name cannot contain a slash
    uploads = client.backend.uploads
    for source in (
        uploads.upload(audio, "rejected.wav", {"langauge": HOSTILE}),
        uploads.upload(audio, name, {"ref": "".join(filter(str.isprintable, HOSTILE))}),
    ):
        client.wait(source.recording_id, timeout=WAIT_SECONDS)
    visible = name.replace("\x1b", "\ufffd").replace("\u202e", "\ufffd").replace("\u2066", "\ufffd")
    with Console(client) as console:
        page = visit(console.url)
        link = page.locator("#rows .name a").first
        expect(link).to_have_text(visible)
        expect(page.locator("#rows .name span").first).to_contain_text("said <script>hacked=1</script>")
        expect(page.locator("#rows .name span").last).to_contain_text("given '<script>hacked=1</script>")
        screenshot(page, "console-hostile")
        link.click()
        expect(page.locator("#one-name")).to_have_text(visible)
        expect(page.frame_locator("#report").locator("body[data-ready]")).to_be_attached()
        page.get_by_text("Source", exact=True).click()
        expect(page.locator("#one-source")).to_contain_text("<img src=x onerror=hacked=1>")
        assert page.evaluate("window.hacked") is None
        assert page.frames[1].evaluate("window.hacked") is None
        markup = "script:not([src='/console.js']), img:not([src='/icon.svg'])"
        assert page.locator(markup).count() == 0
        page.get_by_role("button", name="Erase…").click()
        expect(page.locator("#erase-name")).to_have_text(visible)
        page.get_by_role("button", name="Erase", exact=True).click()
        expect(page.locator("#said")).to_contain_text("<script>hacked=1<")


def test_injected_markup_and_scripts_do_not_run(client: Client, visit: Open, trouble: list[str]) -> None:
    with Console(client) as console:
        page = visit(console.url)
        refused = page.evaluate(
            "() => { try { document.body.innerHTML = '<img src=x onerror=hacked=1>'; return 'taken' }"
            " catch (error) { return error.name } }"
        )
        assert refused == "TypeError"
        page.evaluate(
            "() => new Promise((done) => { const made = document.createElement('script'); made.onerror = done;"
            " try { made.src = 'data:text/javascript,hacked=1'; document.body.append(made) } catch { done() } })"
        )
        assert page.evaluate("window.hacked") is None
        assert trouble
        trouble.clear()


def test_everything_works_with_the_keyboard(client: Client, audio: Path, visit: Open) -> None:
    client.submit(audio, name="one.wav").result(timeout=WAIT_SECONDS)
    with Console(client) as console:
        page = visit(console.url)
        link = row(page, "one.wav").get_by_role("link")
        expect(link).to_be_visible()
        page.keyboard.press("Tab")
        expect(page.locator(".skip")).to_be_focused()
        page.keyboard.press("Enter")
        for _ in range(30):  # a date field has a tab stop for each of its parts
            page.keyboard.press("Tab")
            if link.evaluate("(link) => link === document.activeElement"):
                break
        page.keyboard.press("Enter")
        expect(page.locator("#one-name")).to_be_focused()
        page.get_by_role("button", name="Erase…").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#erase")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#erase")).to_be_hidden()
        assert client.get("one.wav").status is Status.COMPLETED
        page.get_by_role("link", name="All recordings").focus()
        page.keyboard.press("Enter")
        expect(link).to_be_focused()


def test_no_button_of_one_recording_remains_on_the_page_of_the_next(client: Client, audio: Path, visit: Open) -> None:
    for name in ("one.wav", "two.wav"):
        client.submit(audio, name=name).result(timeout=WAIT_SECONDS)
    with Console(client) as console:
        page = visit(console.url)
        page.get_by_role("link", name="one.wav").click()
        expect(page.get_by_role("button", name="Erase…")).to_be_visible()
        page.route("**/api/recordings/rec_*", lambda route: None)  # the response for the next one never arrives
        page.evaluate(f"location.hash = '#/{client.get('two.wav').id}'")
        expect(page.locator("#one-name")).to_have_text("…")
        expect(page.locator("#one-view").get_by_role("button")).to_have_count(0)
        expect(page.locator("#report")).to_be_hidden()
        page.unroute_all()


def test_it_is_readable_on_a_phone_and_in_dark_mode(client: Client, audio: Path, visit: Open) -> None:
    client.submit(audio, name="a rather long name of a call with a customer from somewhere.wav").result(
        timeout=WAIT_SECONDS
    )
    with Console(client) as console:
        page = visit(console.url, viewport={"width": 390, "height": 800}, color_scheme="dark", device_scale_factor=2)
        expect(page.locator("#rows tr")).to_have_count(1)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert_accessible(page)
        screenshot(page, "console-phone")
        page.locator("#rows a").click()
        expect(page.frame_locator("#report").locator("body[data-ready]")).to_be_attached()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert_accessible(page)


def test_progress_is_shown_and_an_invalid_upload_is_refused_immediately(
    folder: Path, audio: Path, visit: Open, trouble: list[str]
) -> None:
    gate = threading.Event()
    engines = {stage: FixedEngine(stage, gate=gate) for stage in Stage}
    with Client(folder, engines=ready(engines)) as client, Console(client) as console:
        client.work()
        page = visit(console.url)
        drop(page, {"call.wav": b"audio"})
        expect(row(page, "call.wav").locator(".state")).to_have_text("processing")
        expect(row(page, "call.wav").locator(".bar")).to_contain_text("50%")
        expect(row(page, "call.wav").locator(".bar")).to_contain_text("left")
        gate.set()
        expect(row(page, "call.wav").locator(".state")).to_have_text("completed")
        page.get_by_text("Upload options").click()
        page.get_by_label("Language").first.fill("klingon")
        drop(page, {"second.wav": b"audio"})
        expect(page.locator("#uploads .bad")).to_contain_text("option 'language': given 'klingon'")
        trouble.clear()  # the browser logs the 422


def test_an_estimated_length_is_marked_as_on_the_command_line(client: Client, visit: Open) -> None:
    for number, (name, exact) in enumerate({"estimated.webm": False, "stated.wav": True}.items()):
        quoted = {"quote": Quote(audio_seconds=278, exact=exact)}
        client.backend.store.create_recording(recording(number, name=name).model_copy(update=quoted))
    with Console(client) as console:
        page = visit(console.url)
        expect(row(page, "estimated.webm")).to_contain_text("≈4:38")
        expect(row(page, "stated.wav")).to_contain_text("4:38")
        expect(row(page, "stated.wav")).not_to_contain_text("≈")
        row(page, "estimated.webm").get_by_role("link").click()
        expect(page.locator("#one-facts")).to_contain_text("≈4:38")


@pytest.mark.slow
def test_a_list_of_ten_thousand_is_fast(client: Client, visit: Open) -> None:
    """Only the visible rows are drawn, and queries are fast. `benchmarks.console` measures how fast."""
    fast = 15_000  # instead of 20 to 300 ms, for a busy machine
    fill(client, 10_000)
    with Console(client) as console:
        page = visit(console.url)
        expect(page.locator("#count")).to_contain_text("10,000 recordings", timeout=180_000)
        assert page.locator("#rows tr").count() < 60
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        expect(row(page, "call 0.wav")).to_be_visible(timeout=fast)
        assert page.locator("#rows tr").count() < 60
        page.evaluate("scrollTo(0, 0)")
        page.get_by_label("Search").fill("call 99")
        expect(page.locator("#count")).to_contain_text("111 recordings", timeout=fast)  # 99, 99x and 99xx
        page.get_by_label("Search").fill("")
        page.get_by_role("combobox", name="Status").select_option("failed")
        expect(page.locator("#count")).to_contain_text("1,000 recordings", timeout=fast)


def fill(client: Client, count: int) -> list[Recording]:
    """Put finished recordings into a store."""
    made = []
    for number in range(count):
        status = Status.FAILED if number % 10 == 0 else Status.COMPLETED
        one = recording(number, name=f"call {number}.wav", queued_at=NOW + timedelta(seconds=number))
        one = finished(one, status).model_copy(update={"result": None, "announced_at": NOW, "expires_at": None})
        client.backend.store.create_recording(one)
        made.append(one)
    return made
