"""The command line: what it prints, and its exit status."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from rich.text import Text

from speechpipe import Client, cli
from speechpipe.cli import display
from speechpipe.contract import Recording, Segment, Stage
from tests.doubles import FixedEngine, ready

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command line with fixed engines; (exit status, stdout, stderr)."""
    monkeypatch.setenv("SPEECHPIPE_DIR", str(folder))
    engines = {stage: FixedEngine(stage) for stage in Stage}
    monkeypatch.setattr("speechpipe.client.client.find_engines", lambda settings: ready(engines)())
    monkeypatch.setattr("speechpipe.cli.app.find_engines", lambda settings, on_bytes: ready(engines)())

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["speechpipe", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        code = ended.value.code
        return (code if isinstance(code, int) else 0), out, err

    return run


def test_run_prints_what_was_said_and_how_and_where_the_files_are(run: Run, folder: Path, audio: Path) -> None:
    audio.rename(folder / "call.wav")
    status, out, _ = run("run", str(folder))
    assert status == 0
    assert "where is my order" in out
    assert "anger" in out
    (line,) = (line for line in out.splitlines() if "record.json" in line)
    place, *names = line.split()
    assert set(names) == {"record.json", "transcript.vtt", "transcript.srt", "emotion.vtt", "report.html"}
    assert all((Path(place) / name).is_file() for name in names)
    assert "where is my order" not in run("run", str(folder))[1]  # a second run has nothing new to print


def test_run_tells_what_was_said_while_the_emotion_is_still_being_found(
    run: Run, folder: Path, audio: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio.rename(folder / "call.wav")
    go_on = threading.Event()
    engines = {Stage.STT: FixedEngine(Stage.STT), Stage.SER: FixedEngine(Stage.SER, gate=go_on)}
    monkeypatch.setattr("speechpipe.cli.app.find_engines", lambda settings, on_bytes: ready(engines)())
    printed = display.early_text

    def then_go_on(recording: Recording, segments: Sequence[Segment]) -> Text:
        go_on.set()
        return printed(recording, segments)

    monkeypatch.setattr(display, "early_text", then_go_on)
    status, out, err = run("run", str(folder))
    assert status == 0
    assert err.splitlines()[:2] == ["call.wav  text; emotion follows", "   0:00  where is my order"]
    assert "text; emotion follows" not in out  # the record says it all


def test_submit_and_wait_then_get_in_every_format(run: Run, folder: Path, audio: Path) -> None:
    status, out, _ = run("submit", str(audio), "--wait", "-o", "language=en", "-o", "ref=case-7")
    assert status == 0
    recording = out.split()[0]
    assert recording.startswith("rec_")
    assert json.loads(run("get", recording)[1])["options"]["ref"] == "case-7"
    assert run("get", "call.wav", "-f", "text")[1] == "where is my order it is late\n"
    assert run("get", recording, "-f", "srt")[1].startswith("1\n00:00:00,000 --> ")
    assert run("get", recording, "-f", "vtt")[1].startswith("WEBVTT")
    assert run("get", recording, "-f", "csv")[1].startswith("\ufeffrecording_id,revision,segment,")
    assert json.loads(run("get", recording, "-f", "hume")[1])[0]["results"]["errors"] == []
    assert json.loads(run("get", recording, "-f", "assemblyai")[1])["status"] == "completed"
    assert json.loads(run("get", recording, "-f", "deepgram")[1])["metadata"]["request_id"] == recording
    assert recording in run("list")[1]
    assert recording in run("list", "--status", "completed", "--json")[1]
    assert recording not in run("list", "--status", "failed")[1]
    story = run("explain", recording)[1]
    for word in ("uploaded", "seen", "queued", "attempt 1", "partial", "joined", "ended as completed"):
        assert word in story
    assert run("wait", recording)[0] == 0


def test_a_rejection_is_explained_and_sets_the_exit_status(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    status, out, _ = run("submit", str(tmp_path / "empty.wav"), "--wait")
    assert status == 1
    assert "empty_object" in out
    assert "0 bytes" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("submit", "gone.wav"), "there is no file gone.wav"),
        (("submit", __file__, "-o", "langage=en"), "unknown option 'langage'"),
        (("submit", __file__, "-o", "language=klingon"), "'klingon'"),
        (("get", "nobody"), "speechpipe list"),
        (("explain", "nobody"), "there is no recording 'nobody'"),
        (("run", "gone"), "there is no folder gone"),
        (("watch",), "nothing is in progress"),
    ],
)
def test_an_error_is_one_line_that_says_what_to_do(
    run: Run, folder: Path, arguments: tuple[str, ...], words: str
) -> None:
    status, out, err = run(*arguments)
    assert status == 2
    assert out == ""
    assert words in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1


def test_hostile_text_cannot_steer_the_terminal(
    run: Run, folder: Path, audio: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "a\x1b]0;pwned\x07[red]\u202e\x9b2J\nrec_forged  completed.wav"
    recording = Client(folder).submit(audio, name=name).id
    Client(folder).backend.uploads.upload(audio, name + "2", {name: name})  # an unknown option
    monkeypatch.setenv("SPEECHPIPE_TRACES", str(folder.parent / "traces.jsonl"))
    for arguments in (
        ("run", str(folder)),
        ("list",),
        ("list", "--json"),
        ("explain", recording),
        ("wait", recording, name + "2"),
        ("quote", str(folder)),
        ("quote", str(folder), "--json"),
        ("release", recording),
        ("trace", recording),
        ("get", name + "3"),
    ):
        _, out, err = run(*arguments)
        shown = [line for line in (out + err).split("\n") if line.strip()]
        assert shown, arguments
        assert all(line.isprintable() for line in shown), arguments
        assert not any(line.lstrip().startswith("rec_forged") for line in shown), arguments
    assert "[red]" in run("list")[1]


def test_every_command_has_help(run: Run) -> None:
    for command in (
        "run",
        "up",
        "submit",
        "wait",
        "watch",
        "get",
        "list",
        "explain",
        "doctor",
        "redrive",
        "replay",
        "backfill",
        "reconcile",
        "erase",
    ):
        status, out, _ = run(command, "--help")
        assert status == 0
        assert command in out
    assert run("--version")[1].startswith("speechpipe ")


def test_doctor_names_what_is_missing_and_the_command_that_fixes_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    _, out, _ = run("doctor")
    assert "emulators" in out
    assert "apt-get install" in out
    status, out, _ = run("doctor", "--cloud")
    assert status == 1
    assert "GOOGLE_CLOUD_PROJECT" in out


def test_export_writes_a_table_of_the_finished_recordings(run: Run, folder: Path, audio: Path, tmp_path: Path) -> None:
    run("submit", str(audio), "--wait")
    file = tmp_path / "rows.json"
    status, _, err = run("export", "bigquery", "-o", str(file))
    assert (status, "1 row " in err) == (0, True)
    assert json.loads(file.read_text())["text"] == "where is my order it is late"
    assert json.loads((tmp_path / "rows.json.schema.json").read_text())[0]["name"] == "schema_version"
    assert run("export", "parquet", "-o", str(tmp_path / "rows.parquet"))[0] == 0
    assert (tmp_path / "rows.parquet").read_bytes().startswith(b"PAR1")
    run("export", "bigquery", "-o", str(file), "--since", "2099-01-01")
    assert file.read_text() == ""
