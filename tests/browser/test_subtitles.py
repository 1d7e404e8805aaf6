"""Subtitles as the browser's own WebVTT parser reads them, in a real `<track>`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from speechpipe.contract import Record
from speechpipe.record.artifacts import emotion_vtt, transcript_vtt
from speechpipe.record.cues import cues
from tests.browser import records

pytestmark = pytest.mark.browser

PAGE = """<!doctype html><meta charset=utf-8><video src="{sound}">
<track id=said kind=subtitles src=transcript.vtt default><track id=how kind=metadata src=emotion.vtt></video>"""

READ = """async () => {
  const cues = {};
  for (const track of document.querySelectorAll("track")) {
    const loaded = new Promise((done, failed) => { track.onload = done; track.onerror = failed; });
    if (track.readyState < 2) { track.track.mode = "hidden"; await loaded; }
    cues[track.id] = [...track.track.cues].map((cue) => {
      const made = track.id === "said" ? cue.getCueAsHTML() : document.createDocumentFragment();
      const spans = [...made.querySelectorAll("span")];
      return {
        start: cue.startTime, end: cue.endTime, raw: cue.text, text: made.textContent,
        classes: spans.map((span) => span.className).filter(Boolean),
        voices: spans.map((span) => span.title).filter(Boolean),
      };
    });
  }
  return cues;
}"""


def parse_in_browser(chromium: Browser, site: str, folder: Path, record: Record) -> Any:
    """A record's cues as the browser parses them."""
    # The audio is embedded in the page, because seeking in a file needs range requests, which Python's server lacks.
    (folder / "index.html").write_text(PAGE.format(sound=records.data_url(records.silence(8))))
    (folder / "transcript.vtt").write_text(transcript_vtt(record), encoding="utf-8")
    (folder / "emotion.vtt").write_text(emotion_vtt(record), encoding="utf-8")
    with chromium.new_context() as context:
        page = context.new_page()
        page.goto(site)
        found = page.evaluate(READ)
        page.evaluate("document.querySelector('video').currentTime = 2.0")
        page.wait_for_function("said.track.activeCues.length > 0")
        found["shown"] = page.evaluate("[...said.track.activeCues].map((cue) => cue.getCueAsHTML().textContent)")
    return found


def test_two_speakers(chromium: Browser, site: str, tmp_path: Path) -> None:
    record = records.stereo()
    found = parse_in_browser(chromium, site, tmp_path, record)
    expected = cues(record)
    assert [(cue["start"], cue["end"], cue["text"]) for cue in found["said"]] == [
        (cue.start, cue.end, "\n".join(cue.lines)) for cue in expected
    ]
    assert [cue["voices"] for cue in found["said"]] == [[cue.speaker] for cue in expected]
    assert [cue["classes"] for cue in found["said"]] == [["neutral"], ["angry"], ["sadness"]]
    assert found["shown"] == ["Good evening,\nhow can I help you?", "I want my money back today."]
    assert [json.loads(cue["raw"])["emotion"] for cue in found["how"]] == ["neutral", "angry", "sadness"]
    assert [cue["start"] for cue in found["how"]] == [window.start for window in record.emotion_windows]


def test_hostile_text_stays_text(chromium: Browser, site: str, tmp_path: Path) -> None:
    record = records.hostile()
    found = parse_in_browser(chromium, site, tmp_path, record)
    assert [cue["text"] for cue in found["said"]] == ["\n".join(cue.lines) for cue in cues(record)]
    shown = "".join("".join(cue["text"].split()) for cue in found["said"])
    assert shown.startswith("hello<script>hacked=1</script>")
    assert [json.loads(cue["raw"])["emotion"] for cue in found["how"]] == [records.HOSTILE]


def test_long_sentences_in_other_scripts(chromium: Browser, site: str, tmp_path: Path) -> None:
    texts = (
        "吾輩は猫である。名前はまだ無い。",
        "ฉันสั่งซื้อเครื่องพิมพ์สีน้ำเงินเมื่อวันพฤหัสบดีที่แล้ว",
        "أريد أن أعرف متى ستصل الطابعة؟",
    )
    segments = tuple(
        records.make_segment(number, 0.5 + 2.4 * number, text, pace=2.0 / len(text.split()))
        for number, text in enumerate(texts)
    )
    record = records.make_record(segments, (), seconds=8)
    found = parse_in_browser(chromium, site, tmp_path, record)
    shown = "".join(cue["text"] for cue in found["said"])
    for added in ("\n", " ", "\u2066", "\u2067", "\u2069"):  # breaks of lines, and isolates of what runs to the left
        shown = shown.replace(added, "")
    assert shown == "".join(texts).replace(" ", "")
