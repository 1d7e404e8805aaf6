"""The report in a real browser: what readers see, hear and can do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request

from speechpipe.contract import Record, Stage
from speechpipe.record.artifacts import transcript_srt, transcript_vtt
from speechpipe.record.exports import to_csv
from speechpipe.record.report import data_url, render_report
from tests.browser import records
from tests.browser.conftest import WAIT_MS
from tests.workers.audio.media import tone, write_audio

pytestmark = pytest.mark.browser

AXE = Path(__file__).parent / "axe" / "axe.min.js"
Open = Callable[..., Page]


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    context.set_default_timeout(WAIT_MS)
    yield context
    context.close()


@pytest.fixture
def trouble() -> list[str]:
    """Errors in the page, and the URLs that it requested from the network."""
    return []


@pytest.fixture
def show(context: BrowserContext, tmp_path: Path, trouble: list[str]) -> Iterator[Open]:
    """Open a record's report from a file. At the end of the test, `trouble` must be empty."""

    def note_request(request: Request) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            trouble.append(request.url)

    def open_report(record: Record, *, audio: str | None = None, address: str = "", ready: str = "player") -> Page:
        file = tmp_path / "report.html"
        file.write_text(render_report(record, audio=audio), encoding="utf-8")
        page = context.new_page()
        page.on("request", note_request)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("console", lambda message: trouble.append(message.text))
        page.on("dialog", lambda dialog: trouble.append(dialog.message))
        page.goto(file.as_uri() + address)
        page.wait_for_selector(f"body[data-ready='{ready}']")
        return page

    yield open_report
    assert trouble == []


def at(page: Page) -> Any:
    """The player's position in seconds."""
    return page.evaluate("document.querySelector('audio').currentTime")


def until(page: Page, condition: str) -> None:
    """Wait for a JavaScript condition. Playwright's own wait evaluates strings, which the page's policy forbids."""
    page.evaluate(
        "() => new Promise((done) => {"
        f"  const look = () => {condition} ? done() : requestAnimationFrame(look);"
        "  look();"
        "})"
    )


def highlighted(page: Page) -> list[str]:
    """The words that the page highlights as being spoken."""
    return page.locator(".w.on").all_inner_texts()


def open_with_audio(show: Open, record: Record | None = None, **more: str) -> Page:
    record = record or records.call()
    assert record.audio is not None
    page = show(record, audio=records.data_url(records.silence(record.audio.duration)), **more)
    page.evaluate("document.querySelector('audio').load()")
    until(page, "document.querySelector('audio').readyState >= 1")
    return page


# --------------------------------------------------------------------------------------------------- player


def test_clicking_a_word_jumps_to_its_time(show: Open) -> None:
    page = open_with_audio(show)
    page.get_by_text("still", exact=True).click()
    assert at(page) == pytest.approx(3.6)
    assert highlighted(page) == ["still"]
    assert page.locator("#clock").inner_text() == "0:03 / 0:06"


def test_words_follow_playback(show: Open) -> None:
    page = open_with_audio(show, address="#t=0.25")
    # Recorded inside the page, and played slowly: asked from here, a busy machine would miss words.
    page.evaluate(
        "() => {"
        "  document.querySelector('audio').playbackRate = 0.25;"
        "  window.seen = [];"
        "  new MutationObserver(() => {"
        "    const word = document.querySelector('.w.on')?.textContent;"
        "    if (word && word !== seen.at(-1)) seen.push(word);"
        "  }).observe(document.body, {subtree: true, attributeFilter: ['class']});"
        "}"
    )
    page.get_by_role("button", name="Play").click()
    until(page, "document.querySelector('audio').currentTime > 1.8")
    words = ["ordered", "blue", "phone"]
    assert [word for word in page.evaluate("seen") if word in words] == words
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Play").wait_for()
    assert page.locator(".s.now").count() == 1
    assert page.get_by_role("button", name="Play").is_enabled()
    where = page.evaluate("document.querySelector('.cursor').getBoundingClientRect().left")
    plot = page.evaluate("(({left, width}) => [left, width])(document.querySelector('.plot').getBoundingClientRect())")
    assert where == pytest.approx(plot[0] + plot[1] * at(page) / 6, abs=3)


def test_the_page_follows_playback_until_the_reader_scrolls(show: Open) -> None:
    page = open_with_audio(show, records.long_call(400), address="#t=60.0")
    page.evaluate("scrollTo(0, 0)")
    page.get_by_role("button", name="Play").click()
    until(page, "document.querySelector('.s.now')?.getBoundingClientRect().top < innerHeight - 40")
    page.mouse.wheel(0, -2000)
    until(page, "!document.querySelector('#follow').checked")


def test_the_keyboard_selects_a_word_and_jumps_there(show: Open) -> None:
    page = open_with_audio(show)
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "w":
            break
    focused = "document.activeElement.textContent"
    assert page.evaluate(focused) == "I"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    steps = {"ArrowRight": "ordered", "ArrowDown": "It", "ArrowLeft": "Sunday.", "Home": "I", "End": "today."}
    for key, word in steps.items():
        page.keyboard.press(key)
        assert page.evaluate(focused) == word
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert at(page) == pytest.approx(0.6)
    assert page.get_by_role("button", name="ordered, 0:00, neutral").count() == 1


def test_turning_points_times_and_the_waveform_jump_to_their_time(show: Open) -> None:
    page = open_with_audio(show)
    page.locator("ul.points a").click()
    assert at(page) == pytest.approx(2.9)
    page.locator(".turns a").click()
    page.locator(".s a").first.click()
    assert at(page) == pytest.approx(0.3)
    page.locator(".wave").click()
    assert at(page) == pytest.approx(3.0, abs=0.05)
    page.get_by_role("slider", name="Position").focus()
    page.keyboard.press("End")
    assert at(page) == pytest.approx(6.0, abs=0.1)


def test_readers_can_open_a_recording_that_is_not_embedded(show: Open, tmp_path: Path) -> None:
    page = show(records.call())
    play = page.get_by_role("button", name="Play")
    assert play.is_disabled()
    page.get_by_text("still", exact=True).click()  # jumping works without audio too
    assert highlighted(page) == ["still"]
    (tmp_path / "mine.wav").write_bytes(records.silence(6))
    page.set_input_files("#file", tmp_path / "mine.wav")
    play.click()
    until(page, "document.querySelector('audio').currentTime > 3.6")
    assert "nothing is uploaded" in page.locator("#said").inner_text()


def test_the_wrong_file_is_noticed(show: Open, tmp_path: Path) -> None:
    page = show(records.call())
    (tmp_path / "other.wav").write_bytes(records.silence(11))
    page.set_input_files("#file", tmp_path / "other.wav")
    page.get_by_role("button", name="Play").click()
    page.get_by_text("This file is 0:11 long but the recording is 0:06").wait_for()


def test_a_player_that_estimates_another_length_raises_no_doubt_about_the_file(show: Open, tmp_path: Path) -> None:
    """Chromium takes an MP3 of variable bit rate without its table to be as long as its first frames suggest."""
    record = records.call()
    assert record.audio is not None
    audio = record.audio.model_copy(update={"length_in_header": False})
    page = show(record.model_copy(update={"audio": audio}))
    (tmp_path / "same.mp3").write_bytes(records.silence(11))
    page.set_input_files("#file", tmp_path / "same.mp3")
    page.get_by_role("button", name="Play").click()
    page.get_by_text("The player estimates 0:11 for this recording of 0:06").wait_for()
    assert "right file" not in page.locator("#said").inner_text()


def test_audio_from_a_link_in_the_address_is_not_loaded_before_playing(
    show: Open, site: str, tmp_path: Path, trouble: list[str]
) -> None:
    (tmp_path / "signed.wav").write_bytes(records.silence(6))
    page = show(records.call(), address=f"#audio={site}/signed.wav?signature=x%26y")
    assert f"from {site.removeprefix('http://')}" in page.locator("#said").inner_text()
    assert trouble == []
    page.get_by_role("button", name="Play").click()
    until(page, "document.querySelector('audio').currentTime > 0")
    assert set(trouble) == {f"{site}/signed.wav?signature=x&y"}
    trouble.clear()


def test_a_broken_audio_link_is_reported(show: Open, tmp_path: Path, trouble: list[str]) -> None:
    page = show(records.call(), audio=(tmp_path / "gone.wav").as_uri())
    page.get_by_role("button", name="Play").click()
    page.get_by_text("The recording could not be loaded.").wait_for()
    assert page.get_by_text("Open the recording to listen").is_visible()
    trouble.clear()


@pytest.mark.parametrize("where", ["beside the page", "in the page"])
def test_sound_that_the_browser_cannot_play_is_said_to_be_that(
    show: Open, tmp_path: Path, trouble: list[str], where: str
) -> None:
    sound = write_audio(tmp_path / "call.aiff", [tone(6)], codec="pcm_s16be")
    record = records.call()
    assert record.audio is not None
    record = record.model_copy(update={"audio": record.audio.model_copy(update={"format": "aiff/pcm_s16be"})})
    url = data_url(sound.read_bytes(), "call.aiff") if where == "in the page" else sound.as_uri()
    page = show(record, audio=url)
    if where == "beside the page":  # else it is tried at once
        page.get_by_role("button", name="Play").click()
    page.get_by_text("This browser cannot play the recording's format (aiff/pcm_s16be).").wait_for()
    page.locator(".w").first.click()
    assert highlighted(page)  # the rest of the page works: the transcript follows clicks without sound
    (tmp_path / "converted.wav").write_bytes(records.silence(6))
    page.set_input_files("#file", tmp_path / "converted.wav")
    page.get_by_role("button", name="Play").click()
    until(page, "document.querySelector('audio').currentTime > 0")
    trouble.clear()


@pytest.mark.parametrize("address", ["javascript:hacked=1", "//", "ftp://example.com/a.wav", "data"])
def test_an_address_that_is_not_audio_does_nothing(show: Open, address: str, trouble: list[str]) -> None:
    page = show(records.call(), address=f"#audio={address}")
    assert page.evaluate("typeof hacked") == "undefined"
    trouble.clear()


# ------------------------------------------------------------------------------------------------ downloads


def test_downloads_equal_the_files_that_the_pipeline_writes(show: Open, tmp_path: Path) -> None:
    record = records.stereo()
    page = show(record)
    texts = {}
    for kind in ("JSON", "TXT", "SRT", "VTT", "CSV"):
        with page.expect_download() as download:
            page.get_by_role("button", name=kind, exact=True).click()
        assert download.value.suggested_filename == f"call.wav.{kind.lower()}"
        download.value.save_as(tmp_path / kind)
        texts[kind] = (tmp_path / kind).read_bytes().decode()
    assert Record.model_validate_json(texts["JSON"]) == record
    assert texts["TXT"] == record.text + "\n"
    assert texts["SRT"] == transcript_srt(record)
    assert texts["VTT"] == transcript_vtt(record)
    assert texts["CSV"] == to_csv(record)


# --------------------------------------------------------------------------------------------- hostile text


def test_hostile_text_stays_text(show: Open) -> None:
    record = records.hostile()
    page = show(record)
    assert page.evaluate("typeof hacked") == "undefined"
    assert page.locator("h1").inner_text().startswith("<script>hacked=1</script>")
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 2
    page.locator(".w").first.click()
    with page.expect_download() as download:
        page.get_by_role("button", name="JSON").click()
    assert Record.model_validate_json(Path(download.value.path()).read_bytes()) == record


def test_injected_scripts_do_not_run(show: Open, trouble: list[str]) -> None:
    page = show(records.call())
    page.evaluate(
        "document.body.insertAdjacentHTML("
        "  'beforeend', '<img src=x onerror=hacked=1><a href=javascript:hacked=1>x</a>');"
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'hacked = 1'}));"
        "fetch('https://example.com').catch(() => {})"
    )
    page.get_by_role("link", name="x", exact=True).click()
    assert page.evaluate("typeof hacked") == "undefined"
    refused = "\n".join(trouble)
    assert "Content Security Policy" in refused
    assert [line for line in trouble if line.startswith("http")] == []
    trouble.clear()


# -------------------------------------------------------------------------------------------- accessibility

STATES: dict[str, Callable[[], Record]] = {
    "completed": records.call,
    "stereo": records.stereo,
    "silent": records.silent,
    "no transcript": lambda: records.half(Stage.STT),
    "no emotions": lambda: records.half(Stage.SER),
    "rejected": records.rejected,
    "hostile": records.hostile,
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing_and_a_phone_needs_no_horizontal_scrolling(show: Open, state: str, scheme: Any) -> None:
    page = show(STATES[state](), ready="" if state == "rejected" else "player")
    page.emulate_media(color_scheme=scheme)
    for details in page.locator("details summary").all():
        details.click()
    for width in (1280, 360):
        page.set_viewport_size({"width": width, "height": 740})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.evaluate(AXE.read_text(encoding="utf-8"))
        found = page.evaluate("axe.run({resultTypes: ['violations']})")
        problems = [
            (each["id"], each["impact"], [node["html"][:120] for node in each["nodes"][:3]])
            for each in found["violations"]
        ]
        assert problems == [], json.dumps(problems, indent=1)


def test_missing_parts_are_named(show: Open) -> None:
    page = show(records.half(Stage.STT))
    assert "The transcript is missing." in page.locator(".notices").inner_text()
    assert page.get_by_role("heading", name="Emotion scores by label").is_visible()
    page = show(records.half(Stage.SER))
    assert "The emotion scores are missing." in page.locator(".notices").inner_text()
    assert page.locator(".s").count() == 2
    page = show(records.rejected(), ready="")
    assert "There is nothing to show." in page.locator(".notices").inner_text()
    assert page.locator(".controls").count() == 0
    page = show(records.silent())
    assert "No speech was found" in page.locator("#transcript").inner_text()


def test_channels_are_side_by_side(show: Open) -> None:
    page = show(records.stereo())
    assert page.locator(".wave").count() == 2
    first, second = (page.locator(".s").nth(number).bounding_box() for number in (0, 1))
    assert first
    assert second
    assert first["x"] + first["width"] < second["x"]
    assert second["y"] >= first["y"] + first["height"]


def test_it_is_readable_without_its_script(chromium: Browser, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(render_report(records.call()), encoding="utf-8")
    with chromium.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto((tmp_path / "report.html").as_uri())
        assert page.get_by_text("I ordered a blue phone last Sunday.").is_visible()
        assert not page.locator(".controls").is_visible()
        assert not page.locator(".downloads").is_visible()


def test_print_has_the_text_and_no_buttons(show: Open) -> None:
    page = show(records.long_call(2000))
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.querySelector('.chunk:last-child')).contentVisibility") == "visible"
    assert page.locator("button:visible, input:visible, audio:visible").count() == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf().startswith(b"%PDF")


def test_a_table_repeats_what_the_lanes_show(show: Open) -> None:
    page = show(records.call())
    page.get_by_text("Show as a table").click()
    cells = page.get_by_role("row", name="0:02").get_by_role("cell").all_inner_texts()
    assert page.get_by_role("columnheader").nth(1).inner_text() == "angry"
    assert len(cells) == len(records.LABELS)
    assert page.locator(".lane").count() == len(records.LABELS)


def test_ten_thousand_words_become_elements_only_where_visible(show: Open) -> None:
    record = records.long_call(10_000)
    page = show(record)
    assert 0 < page.locator(".w").count() < 1500
    last = record.segments[-1].words[-1]
    page.evaluate("document.querySelector('.chunk:last-child').scrollIntoView()")
    until(page, "document.querySelector('.chunk:last-child .s:last-child').querySelector('.w')")
    page.locator(".w").last.click()
    assert page.locator(".w.on").inner_text() == last.word.strip()
    assert page.locator(".w").count() < 4000
