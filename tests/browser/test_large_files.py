"""A browser plays a recording of more than 32 MiB through Cloud Run's limit, and goes to any place in it."""

from __future__ import annotations

import gzip
import io
import wave
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Response, expect

from speechpipe import Client
from speechpipe.console import Console
from speechpipe.console.pieces import PIECE_BYTES
from speechpipe.contract import Stage
from speechpipe.emulators.front import MAX_ANSWER_BYTES, CutAnswers
from tests.browser.conftest import WAIT_MS
from tests.doubles import FixedEngine, ready
from tests.emulators.conftest import wait_for

pytestmark = pytest.mark.browser

RATE, BYTES_PER_FRAME = 48_000, 4
WAIT = WAIT_MS / 1000
SECONDS = MAX_ANSWER_BYTES // (RATE * BYTES_PER_FRAME) + 20


def recording() -> bytes:
    """A quiet WAV file of more than Cloud Run passes on in one piece."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(2)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes(b"\x01\x00\xff\xff" * (RATE * SECONDS))
    return file.getvalue()


@pytest.mark.parametrize("packed", [False, True], ids=["as it is", "stored as gzip"])
def test_a_browser_plays_any_place_of_a_large_recording(
    chromium: Browser, folder: Path, tmp_path: Path, packed: bool
) -> None:
    content = recording()
    assert len(content) > MAX_ANSWER_BYTES
    (tmp_path / "long.wav").write_bytes(gzip.compress(content, 1) if packed else content)
    answers: list[Response] = []
    with (
        Client(folder, engines=ready({stage: FixedEngine(stage) for stage in Stage})) as client,
        Console(client, front=CutAnswers) as console,
    ):
        recording_id = client.submit(tmp_path / "long.wav").result(timeout=WAIT).recording_id
        page = chromium.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("response", lambda answer: answers.append(answer) if answer.url.endswith("/audio") else None)
        page.goto(f"{console.url}recordings/{recording_id}/report")
        expect(page.locator("body[data-ready=player]")).to_be_attached()
        audio = page.locator("audio")
        for second in (SECONDS - 2, SECONDS // 2, 1):
            audio.evaluate("(audio, second) => { audio.currentTime = second; return audio.play(); }", second)
            wait_for(partial(audio.evaluate, "(audio, second) => audio.currentTime > second + 0.3", second), WAIT)
        assert audio.evaluate("(audio) => audio.duration") == pytest.approx(SECONDS, abs=0.1)
        # On to the end: the browser fetches one piece after the other.
        audio.evaluate("(audio) => { audio.playbackRate = 16 }")
        wait_for(lambda: audio.evaluate("(audio) => audio.ended"), WAIT)
        assert audio.evaluate("(audio) => audio.error") is None
        page.close()
    assert len(answers) >= MAX_ANSWER_BYTES // PIECE_BYTES
    assert {answer.status for answer in answers} == {206}
    assert all(int(answer.headers["content-length"]) <= PIECE_BYTES for answer in answers)
