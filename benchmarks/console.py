"""How fast the console is with many recordings: `python -m benchmarks.console [--recordings 10000]`.

A folder's store holds that many recordings, each with a minute's transcript, and the console is served as usual. It
measures the time until all recordings are listed, and until all texts can be searched; queries over HTTP (20 of each
kind, the median and the slowest); if Chromium is installed, the time from opening the page to its first rows, and from
a jump to the end of the list to the rows there; and the process's peak memory, before and after.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from benchmarks.machine import machine
from speechpipe import Client
from speechpipe.console import Console
from speechpipe.contract import Analysis, Audio, Half, HalfStatus, Model, Partial, Recording, Source, Stage
from speechpipe.pipeline import outcomes
from speechpipe.record.combine import combine
from tests.doubles import EMOTIONS, TRANSCRIPT, segment

RESULTS = Path(__file__).parent / "results" / "console.json"
START = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("", "n", "r", "st", "lk")]
WORDS_PER_RECORDING = 150  #: of a minute
QUERIES: dict[str, dict[str, str | int]] = {
    "the first hundred": {},
    "a hundred in the middle": {"offset": 5000},
    "the last hundred": {"offset": 9900},
    "one state": {"status": "completed"},
    "a rare word": {"q": "zebra"},
    "a word in all of them": {"q": "ba"},
    "two words, a state and an emotion": {"q": "ban dolk", "status": "completed", "emotion": "neutral"},
}
REPEATS = 20
TEMPLATES = 100  #: recordings with different texts; the others repeat these


def make_recording(number: int) -> Recording:
    """A completed recording with its record; after the first hundred, one of those under another name."""
    at = START + timedelta(seconds=10 * number)
    source = Source(
        uri=f"gs://uploads/call {number}.wav",
        bucket="uploads",
        name=f"call {number}.wav",
        generation=str(number),
        size=1000,
        created_at=at,
    )
    ended = {"queued_at": at, "announced_at": at}
    if number >= TEMPLATES:
        return template(number % TEMPLATES).model_copy(update={"id": source.recording_id, "source": source, **ended})
    text = " ".join(random.Random(number).choices(WORDS, k=WORDS_PER_RECORDING)) + (" zebra" if number == 7 else "")
    recording = Recording(
        id=source.recording_id,
        source=source,
        results_uri=f"gs://results/{source.recording_id}/r1",
        queued_at=at,
        deadline_at=at,
        accepted_at=at,
        halves={stage: Half(status=HalfStatus.QUEUED, queued_at=at) for stage in Stage},
    )
    values = {
        Stage.STT: TRANSCRIPT.model_copy(update={"segments": (segment(0, 60, text),)}),
        Stage.SER: EMOTIONS,
    }
    partials = {
        stage: Partial(
            recording_id=recording.id,
            stage=stage,
            started_at=at,
            finished_at=at,
            analysis=Analysis(
                value=value,
                audio=Audio(duration=60, channels=1, sample_rate=16000, sha256="0" * 64),
                model=Model(name="none", revision="0", engine="none"),
                compute_seconds=1,
            ),
        )
        for stage, value in values.items()
    }
    record = combine(recording, partials)
    assert record
    return outcomes.finished(recording, record).model_copy(update=ended)


@cache
def template(number: int) -> Recording:
    """One of the first hundred recordings."""
    return make_recording(number)


def peak_mb() -> float:
    """Peak memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def seconds_until(done: Callable[[], bool]) -> float:
    """Seconds until `done` is true; it is polled a hundred times a second."""
    began = time.perf_counter()
    while not done():
        time.sleep(0.01)
    return time.perf_counter() - began


def time_query(http: httpx.Client, query: dict[str, str | int]) -> dict[str, float]:
    """Matches of a query, and the median and the slowest of its milliseconds."""
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        answer = http.get("/api/recordings", params=query).json()
        taken.append(1000 * (time.perf_counter() - began))
    return {
        "found": answer["total"],
        "median_ms": round(statistics.median(taken), 1),
        "slowest_ms": round(max(taken), 1),
    }


def time_page(url: str) -> dict[str, float] | None:
    """Milliseconds in Chromium; None if it is not installed."""
    chromium = shutil.which("chromium")
    if chromium is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        began = time.perf_counter()
        page.goto(url)
        page.wait_for_selector("#rows tr")
        first = time.perf_counter() - began
        rows = "document.querySelectorAll('#rows tr').length"
        jump = page.evaluate(
            "() => new Promise((done) => { const began = performance.now(); scrollTo(0, document.body.scrollHeight);"
            " const look = () => [...document.querySelectorAll('#rows a')].some((a) => a.textContent === 'call 0.wav')"
            " ? done(performance.now() - began) : requestAnimationFrame(look); look(); })"
        )
        found = {"first_rows_ms": round(1000 * first), "jump_to_the_end_ms": round(jump), "rows": page.evaluate(rows)}
        page.goto("about:blank")
        browser.close()
    return found


def main() -> None:
    """Measure, print and save the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--recordings", type=int, default=10_000)
    count = parser.parse_args().recordings
    with tempfile.TemporaryDirectory() as folder:
        client = Client(folder, environ={})
        for number in range(count):
            client.backend.store.create_recording(make_recording(number))
        before = peak_mb()
        with Console(client) as console, httpx.Client(base_url=console.url, timeout=60) as http:
            app = console.app
            listed = seconds_until(app.state.watcher.loaded.is_set)
            read = listed + seconds_until(lambda: not app.state.index.without_transcript(1))
            result: dict[str, Any] = {
                "machine": machine(),
                "recordings": count,
                "listed_seconds": round(listed, 2),
                "searchable_seconds": round(read, 2),
                "memory_mb": {"before": round(before), "after": round(peak_mb())},
                "questions": {name: time_query(http, query) for name, query in QUERIES.items()},
                "chromium": time_page(console.url),
            }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
