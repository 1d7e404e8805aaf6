"""`speechpipe trace`: a file of spans as a waterfall, on a terminal and as SVG."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from speechpipe.cli.app import app
from speechpipe.contract.errors import NotFound
from speechpipe.observe import spans, waterfall
from speechpipe.observe.waterfall.layout import Scale, duration, read, rows

RECORDING = "rec_" + "a" * 26
TRACE = f"{spans.root_context(RECORDING).trace_id:032x}"


def span(span_id: str, parent: str | None, name: str, start: float, end: float, **more: Any) -> str:
    fields: dict[str, Any] = {
        "trace_id": TRACE,
        "span_id": span_id,
        "parent_id": parent,
        "name": name,
        "service": "speechpipe-join",
    }
    fields |= {"kind": "internal", "start": start, "end": end, "error": None, "attributes": {}, "later": 1}
    return json.dumps(fields | more)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two traces, children before parents, with a cut line, a span written twice and a span whose parent is lost."""
    path = tmp_path / "traces.jsonl"
    lines = [
        span("c", "b", "engine <1>", 101.5, 103, error="MemoryError", attributes={"speechpipe.attempt": 2}),
        span("b", "a", "perform stt", 101, 104),
        span("a", None, "upload", 0, 100),
        span("a", None, "upload", 0, 100.5),
        span("d", "gone", "join", 104, 105),
        span("x", None, "upload", 0, 9, trace_id="f" * 32),
        span("e", "a", "cut", 0, 1)[:60],
    ]
    path.write_text("\n".join(lines))
    return path


def test_rows_are_below_their_parents_and_an_orphan_is_below_the_root(file: Path) -> None:
    found = [(row.span.name, row.depth, row.lost_parent) for row in rows(read(file, TRACE))]
    assert found == [("upload", 0, False), ("perform stt", 1, False), ("engine <1>", 2, False), ("join", 1, True)]


def test_a_long_upload_is_compressed(file: Path) -> None:
    scale = Scale(read(file, TRACE))
    assert scale.squeezed
    assert [round(scale(moment), 3) for moment in (0, 50, 100, 105)] == [0, 0.075, 0.15, 1]


def test_the_svg_is_one_file_that_escapes_names_and_shows_errors(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "trace.svg"
    done = CliRunner().invoke(app, ["trace", RECORDING, "--file", str(file), "--svg", str(out)])
    assert done.exit_code == 0, done.output
    elements = ET.fromstring(out.read_text()).iter("{http://www.w3.org/2000/svg}text")
    texts = [(element.text or "").replace("\N{NO-BREAK SPACE}", " ").strip() for element in elements]
    assert f"Recording {RECORDING}" in texts
    assert "engine <1> (attempt 2) · MemoryError" in texts
    assert any("the upload is not to scale" in text for text in texts)
    assert "@font-face" not in out.read_text()  # it loads nothing


def test_on_a_terminal_each_span_is_a_line(file: Path) -> None:
    done = CliRunner().invoke(app, ["trace", RECORDING, "--file", str(file)])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert [line.split("  ")[0] or line.strip().split("  ")[0] for line in lines[:2]] == ["upload", "perform stt"]
    assert lines[0].endswith("1:40")
    assert "parent lost" in lines[3]


def test_a_project_gives_a_link_and_a_missing_trace_an_error(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert waterfall.console_link(RECORDING, {"GOOGLE_CLOUD_PROJECT": "p"}).endswith(f"traceId={TRACE}?project=p")
    with pytest.raises(NotFound, match="which traces"):
        waterfall.console_link(RECORDING, {})
    with pytest.raises(NotFound, match="has no trace of rec_other"):
        waterfall.rows_of(file, "rec_other")
    with pytest.raises(NotFound, match="there is no trace file"):
        waterfall.rows_of(tmp_path / "none", RECORDING)


def test_the_file_comes_from_the_environment_or_else_the_folder() -> None:
    assert waterfall.file_of(Path("x"), {"SPEECHPIPE_TRACES": "/t"}) == Path("/t")
    assert waterfall.file_of(Path("x"), {"SPEECHPIPE_TRACES": "cloud"}) == Path("x/.speechpipe/traces.jsonl")
    assert waterfall.file_of(None, {}) is None


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.00041, "0.4 ms"), (0.0123, "12 ms"), (1.234, "1.23 s"), (125.9, "2:05")]
)
def test_durations_are_short(seconds: float, words: str) -> None:
    assert duration(seconds) == words
