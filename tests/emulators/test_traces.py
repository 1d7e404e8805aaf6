"""One trace per recording: over real processes and HTTP, with every event delivered twice, and with a killed worker."""

from __future__ import annotations

import base64
import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from speechpipe.contract import Stage, Status, resources
from speechpipe.emulators import LocalCloud
from speechpipe.observe.counters import Counters
from speechpipe.observe.spans import root_context, traceparent
from speechpipe.observe.waterfall.layout import Span, read
from tests.emulators.conftest import CANNED_WORKER, TEST_SECONDS, User, started, using, wait_for

pytestmark = [pytest.mark.emulators, pytest.mark.timeout(TEST_SECONDS)]

HOPS = {
    "upload",
    "ingest",
    *(f"{what} {stage.value}" for what in ("publish", "queue", "perform") for stage in Stage),
    "uploads.download",
    "store.claim",
    "store.create_partial",
    "join",
    "results.create",
    "store.finish",
    "publish completion",
    "store.mark_announced",
}


@pytest.fixture(scope="module")
def tracer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """A user of a local cloud that delivers each event twice."""
    cloud = LocalCloud(
        state=tmp_path_factory.mktemp("traced"),
        workers=lambda stage: (sys.executable, str(CANNED_WORKER)),
        settings={"SPEECHPIPE_LEASE_SECONDS": "6", "CANNED_HANGS": str(tmp_path_factory.mktemp("hangs"))},
        sweep_seconds=3600,  # sweep would add its spans if a recording took long
        copies=2,
    )
    yield from using(started(cloud))


def trace_of(user: User, recording: str) -> list[Span]:
    return read(user.cloud.traces, f"{root_context(recording).trace_id:032x}")


def lost(spans: list[Span]) -> list[Span]:
    """Spans whose parent is missing."""
    known = {span.span_id for span in spans}
    return [span for span in spans if span.parent_id not in known and span.name != "upload"]


def test_every_hop_of_a_recording_is_in_one_connected_trace(tracer: User) -> None:
    recording = tracer.drop(b"RIFF0 one", "one.wav")
    final = tracer.final(recording)
    wait_for(lambda: sum(span.name == "ingest" for span in trace_of(tracer, recording)) >= 2)

    def complete() -> list[Span]:
        """The trace, once every span is written; a span may end after the recording is announced."""
        found = trace_of(tracer, recording)
        return found if {span.name for span in found} >= HOPS and not lost(found) else []

    trace = wait_for(complete)
    assert sum(span.name == "upload" for span in trace) == 1
    services = {"ingest", "join", "stt-worker", "ser-worker"}
    assert {span.service.removeprefix("speechpipe-") for span in trace} == services
    expected = traceparent(root_context(recording))
    assert final.traceparent == expected
    assert {event.traceparent for event in tracer.events_of(recording)} == {expected}


def test_log_lines_have_the_ids_of_spans(tracer: User) -> None:
    recording = tracer.drop(b"RIFF0 two", "two.wav")
    tracer.final(recording)

    def logged() -> list[dict[str, Any]]:
        """The recording's lines, once those of every verb are there."""
        texts = [log.read_text().rpartition("\n")[0].splitlines() for log in tracer.cloud.logs.glob("*.log")]
        found = [json.loads(line) for text in texts for line in text if recording in line and line.startswith("{")]
        return found if {line["action"] for line in found} >= {"queued", "performed", "announced"} else []

    lines = wait_for(logged)

    def written() -> dict[str, Span]:
        return {span.span_id: span for span in trace_of(tracer, recording)}

    ids = {line["logging.googleapis.com/spanId"] for line in lines}
    spans = wait_for(lambda: found if ids <= (found := written()).keys() else {})  # spans are written when they end
    for line in lines:
        span = spans[line["logging.googleapis.com/spanId"]]
        assert line["logging.googleapis.com/trace"] == f"projects/{tracer.cloud.ids.project}/traces/{span.trace_id}"
        assert line["logging.googleapis.com/trace_sampled"] is True


def test_the_trace_stays_connected_and_shows_a_killed_worker(tracer: User) -> None:
    recording = tracer.drop(b"hang", "hang.wav")
    wait_for(lambda: any(s.name == "uploads.download" and "stt" in s.service for s in trace_of(tracer, recording)))
    wait_for(lambda: Path(tracer.cloud.settings["CANNED_HANGS"], "hung").exists())  # else the second attempt would hang
    tracer.cloud.send(resources.WORKERS[Stage.STT].value, signal.SIGKILL)
    killed = time.time()
    final = tracer.final(recording)
    assert final.status is Status.COMPLETED

    def attempts(spans: list[Span]) -> list[Span]:
        found = [s for s in spans if s.name == "perform stt" and "speechpipe.attempt" in s.attributes]
        return sorted(found, key=lambda span: span.start)

    def hanging(spans: list[Span]) -> list[Span]:
        """Orphans, except for spans that the killed process may have left of refusing the second delivery."""
        refusing = {"store.recording", "store.partials", "store.claim"}
        return [s for s in lost(spans) if not (s.name in refusing and "stt" in s.service and s.end < killed)]

    spans = wait_for(
        lambda: found if len(attempts(found := trace_of(tracer, recording))) == 2 and not hanging(found) else []
    )
    first, second = attempts(spans)
    assert (first.error, second.error) == ("WorkerLost", None)
    downloads = [span.parent_id for span in spans if span.name == "uploads.download" and "stt" in span.service]
    assert sorted(filter(None, downloads)) == sorted([first.span_id, second.span_id])


def test_logs_and_spans_contain_neither_content_nor_names(tracer: User) -> None:
    recording = tracer.drop(b"RIFF0 secret", "Zebrafink/Aubergine.wav", hotwords="Quittengelee", ref="Kaltblut")
    tracer.final(recording)
    written = tracer.cloud.traces.read_text() + "".join(p.read_text() for p in ours(tracer.cloud.logs))
    assert recording in written
    for word in ("Zebrafink", "Aubergine", "Quittengelee", "Kaltblut", "Grüße"):
        assert word not in written
        assert base64.b64encode(word.encode()).decode()[:-2] not in written


def ours(logs: Path) -> list[Path]:
    """Our processes' logs, without the emulators'."""
    return [path for path in logs.glob("*.log") if path.stem not in ("pubsub", "firestore", "storage")]


def test_the_status_counters_follow_the_logs(tracer: User) -> None:
    tracer.final(tracer.drop(b"RIFF0 three", "three.wav"))

    def counted() -> Counters | None:
        """The counters once both workers' lines and the join's are read: they are written in any order."""
        found = tracer.cloud.status().counters
        performed = all(found.count("attempts", stage.value, "performed") for stage in Stage)
        return found if performed and found.count("outcomes", "completed") else None

    counters = wait_for(counted)
    assert counters.distribution("audio_seconds", "ser").mean == 2.0
    assert counters.distribution("rtfx", "stt").p50 == 20.0
