"""Traces: contexts, exporters, and what traces never contain."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from speechpipe.backends.local import TRACES_FILE, connect
from speechpipe.contract import Stage, Status
from speechpipe.contract.errors import Busy
from speechpipe.embedded.runner import Runner
from speechpipe.observe import exporters
from speechpipe.observe.spans import OFF, parse_traceparent, root_context
from speechpipe.observe.waterfall.layout import Span, read
from speechpipe.settings import Limits
from tests.doubles import FixedEngine, ready
from tests.embedded.test_runner import until


class Collector:
    """Receives OTLP over HTTP and responds with `status`."""

    def __init__(self, status: int = 200) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Collector]:
    made = Collector(getattr(request, "param", 200))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(exporters, "EXPORT_SECONDS", 60.0)  # a busy machine may need more than production allows
    yield made
    made.server.shutdown()
    made.server.server_close()


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_otlp_exports_spans_to_a_collector_before_the_verb_returns(collector: Collector) -> None:
    tracing = exporters.tracing_to("otlp", "ingest", flush_each=True)
    with tracing.verb("ingest", "rec_a"):
        assert not collector.requests
    (request,) = collector.requests
    tracing.shutdown()
    resource = {each.key: each.value.string_value for each in request.resource_spans[0].resource.attributes}
    assert resource["service.name"] == "speechpipe-ingest"
    (span,) = request.resource_spans[0].scope_spans[0].spans
    assert (span.name, span.trace_id.hex()) == ("ingest", f"{root_context('rec_a').trace_id:032x}")
    assert span.parent_span_id.hex() == f"{root_context('rec_a').span_id:016x}"


@pytest.mark.parametrize("collector", [400], indirect=True)
def test_a_collector_that_refuses_spans_causes_one_warning_and_no_failure(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    tracing = exporters.tracing_to("otlp", "ingest", flush_each=True)
    done = []
    for number in range(3):
        with tracing.verb("ingest", f"rec_{number}"):
            done.append(number)
    tracing.shutdown()
    assert done == [0, 1, 2]
    assert len(collector.requests) == 1  # then exports pause
    assert [record.__dict__["action"] for record in caplog.records] == ["traces_lost"]


def test_a_path_that_cannot_be_written_causes_a_warning_and_no_failure(
    folder: Path, audio: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "a.wav").write_bytes(b"audio")
    engines = {stage: FixedEngine(stage) for stage in Stage}
    with Runner(folder, ready(engines), Limits(), traces=str(audio / "traces.jsonl")) as work:
        until(work.idle, 240)
    assert connect(folder).store.recordings()[0].status is Status.COMPLETED
    assert "traces_lost" in [getattr(record, "action", None) for record in caplog.records]


def test_spans_keep_an_exceptions_class_and_busy_is_not_an_error(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "traces.jsonl"
    tracing = exporters.tracing_to(str(path), "test")
    with pytest.raises(ValueError, match="Aubergine"), tracing.verb("fails", "rec_a"):
        raise ValueError("Aubergine")
    with pytest.raises(Busy), tracing.verb("waits", "rec_a"):
        raise Busy("Aubergine")
    tracing.shutdown()
    fails, waits = lines(path)
    assert (fails["error"], waits["error"]) == ("ValueError", None)
    assert waits["attributes"] == {"speechpipe.recording_id": "rec_a", "speechpipe.outcome": "busy"}
    assert "Aubergine" not in path.read_text()


def test_a_span_links_to_the_request_that_delivered_the_work(tmp_path: Path) -> None:
    request = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    tracing = exporters.tracing_to(str(tmp_path / "t"), "test")
    with tracing.verb("ingest", "rec_a", delivery=request):
        pass
    tracing.shutdown()
    (span,) = lines(tmp_path / "t")
    assert span["links"] == ["0af7651916cd43dd8448eb211c80319c/b7ad6b7169203331"]
    assert span["trace_id"] == f"{root_context('rec_a').trace_id:032x}"


def test_with_tracing_off_log_lines_have_the_requests_trace() -> None:
    from opentelemetry import trace

    with OFF.verb("ingest", "rec_a", delivery="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"):
        context = trace.get_current_span().get_span_context()
        assert f"{context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert not trace.get_current_span().get_span_context().is_valid


@pytest.mark.parametrize("text", [None, "", "nonsense", "00-" + "0" * 32 + "-b7ad6b7169203331-01"])
def test_an_invalid_traceparent_is_none(text: str | None) -> None:
    assert parse_traceparent(text) is None


def run(folder: Path, engines: dict[Stage, FixedEngine]) -> list[Span]:
    with Runner(folder, ready(engines), Limits()) as work:
        until(work.idle, 240)
    (recording,) = connect(folder).store.recordings()
    path = folder / ".speechpipe" / TRACES_FILE
    return read(path, f"{root_context(recording.id).trace_id:032x}")


def lost(spans: list[Span]) -> list[str]:
    known = {span.span_id for span in spans}
    return [span.name for span in spans if span.parent_id not in known and span.name != "upload"]


def test_a_folders_recording_is_one_connected_trace_without_its_name(folder: Path) -> None:
    (folder / "Aubergine.wav").write_bytes(b"audio")
    spans = run(folder, {stage: FixedEngine(stage) for stage in Stage})
    assert not lost(spans)
    names = [span.name for span in spans]
    assert {"upload", "ingest", "publish stt", "queue ser", "perform stt", "join", "publish completion"} <= set(names)
    assert "Aubergine" not in (folder / ".speechpipe" / TRACES_FILE).read_text()
    (event,) = connect(folder).completions.receive(1.0)
    assert parse_traceparent(event.traceparent) == root_context(event.data.recording_id)


def test_failed_attempts_and_giving_up_are_in_the_trace(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechpipe.embedded.consumer.MAX_BACKOFF_SECONDS", 0.01)
    (folder / "a.wav").write_bytes(b"audio")
    engines = {stage: FixedEngine(stage) for stage in Stage}
    engines[Stage.SER].error = RuntimeError("broken")
    spans = run(folder, engines)
    assert not lost(spans)
    assert [span.error for span in spans if span.name == "perform ser"] == ["RuntimeError"] * 5
    assert "give_up" in [span.name for span in spans]
    assert connect(folder).store.recordings()[0].status is Status.PARTIAL


def test_the_otlp_exporters_own_logger_is_silent() -> None:
    exporters.tracing_to("otlp", "x").shutdown()
    assert not logging.getLogger("opentelemetry.exporter.otlp").isEnabledFor(logging.ERROR)
