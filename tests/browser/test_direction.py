"""Lines that run from right to left, as a real implementation of the bidirectional algorithm draws them."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page
from rich.console import Console

from speechpipe.cli import display
from speechpipe.contract import Record
from speechpipe.record.artifacts import transcript_srt, transcript_vtt
from speechpipe.record.report import render_report
from tests.browser import records

pytestmark = pytest.mark.browser

#: Whatever shows plain text takes each line's direction from its first letter, or always runs from left to right.
PLAYERS = {"by first letter": "unicode-bidi: plaintext", "left to right": "direction: ltr"}
#: The horizontal place of each word on the page, by its first letter: on the right for one that runs to the left.
PLACES = """(words) => {
  const node = document.querySelector("pre").firstChild;
  return words.map((word) => {
    const at = node.data.indexOf(word), range = document.createRange();
    if (at < 0) throw new Error(`no ${word} in ${node.data}`);
    range.setStart(node, at);
    range.setEnd(node, at + 1);
    return range.getBoundingClientRect().x;
  });
}"""


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    with chromium.new_context() as context:
        yield context.new_page()


def drawn(page: Page, line: str, style: str, *words: str) -> list[str]:
    """The words of a line from left to right, as the browser draws them."""
    page.set_content(f"<pre style='{style}'></pre>")
    page.evaluate("(line) => { document.querySelector('pre').textContent = line; }", line)
    places = page.evaluate(PLACES, list(words))
    return [word for _, word in sorted(zip(places, words, strict=True))]


def conversation() -> Record:
    texts = [(0, "אני גר ב-New York כבר 99 שנים."), (1, "مرحبا! اسمي Anna (من برلين)."), (0, "Good evening.")]
    segments = [
        records.make_segment(number, 3.0 * number, text, channel=channel, split=True, pace=0.2)
        for number, (channel, text) in enumerate(texts)
    ]
    segments[1] = segments[1].model_copy(update={"speaker": "ליאה (2)"})
    windows = [records.make_window(3.0 * number, 3.0 * number + 2, "neutral", number % 2) for number in range(3)]
    return records.make_record(tuple(segments), tuple(windows), seconds=10, name="שיחה 1.wav")


def line_with(text: str, word: str) -> str:
    return next(line for line in text.splitlines() if word in line)


@pytest.mark.parametrize("style", PLAYERS.values(), ids=PLAYERS)
def test_subrip_keeps_labels_left_of_text_that_runs_to_the_left(page: Page, style: str) -> None:
    srt = transcript_srt(conversation())
    hebrew = drawn(page, line_with(srt, "אני"), style, "channel", "אני", "גר", "New", "York", "כבר", "99", "שנים", ".")
    assert hebrew == ["channel", ".", "שנים", "99", "כבר", "New", "York", "גר", "אני"]
    arabic = drawn(page, line_with(srt, "مرحبا"), style, "ליאה", "2", ":", "مرحبا", "Anna", "برلين", ".")
    assert arabic == ["2", "ליאה", ":", ".", "برلين", "Anna", "مرحبا"]


@pytest.mark.parametrize("style", PLAYERS.values(), ids=PLAYERS)
def test_webvtt_keeps_the_order_of_a_line_that_begins_with_another_script(page: Page, style: str) -> None:
    # The second cue begins with New York, and is a part of the same sentence.
    segment = records.make_segment(0, 0, "אני גר כבר תשעים ותשע שנים בעיר New York עם המשפחה שלי.", pace=0.4)
    words = tuple(
        word.model_copy(update={"start": word.start + 2 * (number > 6), "end": word.end + 2 * (number > 6)})
        for number, word in enumerate(segment.words)
    )
    segment = segment.model_copy(update={"words": words, "end": words[-1].end})
    line = line_with(transcript_vtt(records.make_record((segment,), (), seconds=10)), "New York")
    assert line.strip("\u2067\u2069") == "New York עם המשפחה שלי."
    assert drawn(page, line, style, "New", "York", "המשפחה") == ["המשפחה", "New", "York"]


@pytest.mark.parametrize("style", PLAYERS.values(), ids=PLAYERS)
def test_the_terminal_keeps_time_speaker_text_and_emotion_in_their_places(page: Page, style: str) -> None:
    out = io.StringIO()
    display.show_record(conversation(), Console(file=out, width=120, soft_wrap=True))
    line = line_with(out.getvalue(), "אני")
    assert drawn(page, line, style, "0:00", "channel", "אני", "York", "שנים", ".", "neutral") == [
        *("0:00", "channel", ".", "שנים", "York", "אני", "neutral"),
    ]
    title = line_with(out.getvalue(), "שיחה")
    assert drawn(page, title, style, "שיחה", "1", "wav", "completed") == ["wav", "1", "שיחה", "completed"]


def test_the_report_draws_names_and_texts_in_their_own_direction(page: Page) -> None:
    page.set_content(render_report(conversation()))
    direction = "(element) => getComputedStyle(element).direction"
    assert page.locator("h1").evaluate(direction) == "rtl"
    assert page.locator(".s b").nth(0).evaluate(direction) == "ltr"
    assert page.locator(".s b").nth(1).evaluate(direction) == "rtl"
    assert [one.evaluate(direction) for one in page.locator(".s p").all()] == ["rtl", "rtl", "ltr"]
    assert page.locator(".heads span").nth(1).evaluate(direction) == "rtl"
