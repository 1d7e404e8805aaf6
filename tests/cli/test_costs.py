"""Quotes, holds and releases on the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.test_cli import Run, run
from tests.pipeline.test_probe import wav

__all__ = ["run"]


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A folder with an hour, half an hour without emotions, an empty file, and files that are not recordings."""
    folder = tmp_path / "calls"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.wav").write_bytes(wav(3600))
    (folder / "deep" / "b.wav").write_bytes(wav(1800))
    (folder / "deep" / "b.wav.meta.json").write_text('{"emotion": "off"}')
    (folder / "empty.wav").touch()
    (folder / ".hidden").write_text("x")
    return folder


TABLE = json.dumps({"currency": "EUR", "per_hour": {"stt": 1, "ser": 2}, "speed": {"stt": 100, "ser": 200}})


def test_quote_prints_one_row_per_recording_and_the_total(
    run: Run, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(recordings.parent)
    status, out, err = run("quote", "calls", "--prices", TABLE)
    lines = [line.split() for line in out.splitlines()]
    assert status == 1  # because of the empty file
    assert lines[0] == ["name", "audio", "stt", "stt", "EUR", "ser", "ser", "EUR", "EUR"]
    assert [line[1:] for line in lines if line[0].endswith("a.wav")] == [
        ["1:00:00", "36.0", "s", "0.0100", "18.0", "s", "0.0100", "0.0200"]
    ]
    assert [line[1:] for line in lines if line[0].endswith("b.wav")] == [
        ["30:00", "18.0", "s", "0.0050", "-", "-", "0.0050"]
    ]
    assert "the file is empty (0 bytes)" in out
    assert lines[-1] == ["total", "1:30:00", "54.0", "s", "0.0150", "18.0", "s", "0.0100", "0.0250"]
    assert ".hidden" not in out
    assert ".meta.json" not in out
    assert "the given prices" in err


def test_quote_as_json_prints_one_line_per_recording_and_the_total(run: Run, recordings: Path) -> None:
    status, out, err = run("quote", str(recordings / "a.wav"), str(recordings / "deep"), "--json", "-o", "emotion=off")
    assert status == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["name"] for row in rows] == [str(recordings / "a.wav"), str(recordings / "deep" / "b.wav"), "total"]
    assert [list(row["quote"]["compute_seconds"]) for row in rows] == [["stt"]] * 3
    assert rows[2]["quote"]["audio_seconds"] == 5400
    assert rows[2]["quote"]["cost"] == {"amount": pytest.approx(1.5 * 1.04652 / 90, abs=2e-6), "currency": "USD"}
    assert "total" not in err


def test_quote_takes_prices_from_the_environment_and_says_when_it_uses_its_default(
    run: Run, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "the l4 preset" in run("quote", str(recordings / "a.wav"))[2]
    monkeypatch.setenv("SPEECHPIPE_PRICES", TABLE)
    status, out, err = run("quote", str(recordings / "a.wav"))
    assert status == 0
    assert "0.0200" in out
    assert "l4" not in err


def test_quote_marks_guesses_and_names_what_does_not_exist(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.webm").write_bytes(b"\x1aE\xdf\xa3".ljust(120_000))
    (tmp_path / "wrong.wav").write_bytes(wav(1))
    (tmp_path / "wrong.wav.meta.json").write_text('{"language": "klingon"}')
    (tmp_path / "none").mkdir()
    (tmp_path / "away.wav").symlink_to("nowhere")
    status, out, err = run("quote", str(tmp_path), str(tmp_path / "none"), str(tmp_path / "gone.wav"))
    text = " ".join(out.split())
    assert status == 1
    assert "≈1:00" in text
    assert "≈ marks lengths that are estimates" in err
    for problem in ("'klingon'", "the folder has no files", "there is no such file"):
        assert problem in text


def test_quote_changes_nothing(run: Run, recordings: Path) -> None:
    before = sorted(recordings.rglob("*"))
    run("quote", str(recordings), str(recordings / "a.wav"))
    assert sorted(recordings.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("quote", "a.wav", "--prices", "a100"), "SPEECHPIPE_PRICES: given 'a100'"),
        (("quote", "a.wav", "-o", "langage=en"), "unknown option 'langage'"),
        (("release", "nobody"), "there is no recording 'nobody'"),
    ],
)
def test_an_error_is_one_line(run: Run, arguments: tuple[str, ...], words: str) -> None:
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert words in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("arguments", [("release",), ("release", "--all", "a.wav")])
def test_release_needs_names_or_all(run: Run, arguments: tuple[str, ...]) -> None:
    status, _, err = run(*arguments)
    assert status == 2
    assert "name the recordings or use --all" in err


# --------------------------------------------------------------------------------------------------- holds


@pytest.fixture
def capped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one recording below a cap on duration and two above it."""
    monkeypatch.setenv("SPEECHPIPE_MAX_DURATION", "60")
    monkeypatch.setenv("SPEECHPIPE_PRICES", "l4")
    for name, seconds in (("short.wav", 10), ("long.wav", 600), ("longer.wav", 900)):
        (folder / name).write_bytes(wav(seconds))
        os.utime(folder / name, (1, 1))  # old enough not to be taken for a file that is still being written
    return folder


def test_run_holds_recordings_over_a_cap_and_processes_them_once_released(run: Run, capped: Path) -> None:
    status, out, _ = run("run", str(capped))
    assert status == 0
    assert "short.wav  completed" in out
    assert "about 0.0001 USD" in out  # half a second of compute
    assert "long.wav  held: 10:00 of audio; max_duration is 1:00 of audio. `speechpipe release rec_" in out
    assert f"2 recordings are held: run `speechpipe --dir {capped} release --all`" in out
    status, out, _ = run("release", "long.wav")
    assert status == 0
    assert "released  long.wav, 10:00 of audio, about 0.0029 USD" in out
    assert "not held but queued" in run("release", "long.wav")[1]
    status, out, _ = run("run", str(capped))
    assert status == 0
    assert "long.wav  completed" in out
    assert "1 recording is held" in out
    assert "longer.wav" in run("release", "--all")[1]
    out = run("run", str(capped))[1]
    assert "longer.wav  completed" in out
    assert "held" not in out
    assert "no recordings are held" in run("release", "--all")[2]


def test_every_command_shows_that_a_recording_is_held(run: Run, capped: Path) -> None:
    run("run", str(capped))
    status, _, err = run("wait", "long.wav", "short.wav")
    assert status == 1
    assert "long.wav is held: 10:00 of audio; max_duration is 1:00 of audio. `speechpipe release rec_" in err
    assert "long.wav  held: 10:00 of audio" in run("watch", "long.wav")[1]
    listed = run("list", "--status", "held")[1]
    assert "long.wav" in listed
    assert "short.wav" not in listed
    story = run("explain", "long.wav")[1]
    assert "600.0 s of audio, about 0.0029 USD" in story
    assert "long.wav  held: 10:00 of audio" in story
    assert "task published" not in story
    run("release", "long.wav")
    assert run("wait", "long.wav")[0] == 0
    lines = run("explain", "long.wav")[1].splitlines()
    order = [next(i for i, line in enumerate(lines) if f" {what} " in line) for what in ("held", "released", "queued")]
    assert order == sorted(order)
    assert lines[-1] == "ended as completed"


def test_submit_and_wait_reports_a_hold_and_finishes_the_others(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEECHPIPE_MAX_DURATION", "60")
    (tmp_path / "long.wav").write_bytes(wav(600))
    (tmp_path / "short.wav").write_bytes(wav(1))
    status, out, err = run("submit", str(tmp_path / "long.wav"), str(tmp_path / "short.wav"), "--wait")
    assert status == 1
    assert "short.wav  completed" in out
    assert "long.wav is held" in err


def test_a_cap_on_cost_without_prices_is_an_error(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEECHPIPE_MAX_COST", "1")
    status, _, err = run("run", str(folder))
    assert status == 2
    assert "SPEECHPIPE_MAX_COST and SPEECHPIPE_MAX_COST_PER_DAY need SPEECHPIPE_PRICES" in err


def test_a_stage_that_was_not_requested_costs_nothing(run: Run, capped: Path) -> None:
    (capped / "short.wav.meta.json").write_text('{"emotion": "off"}')
    run("run", str(capped))
    record = json.loads(run("get", "short.wav")[1])
    assert record["halves"]["ser"]["cost"] is None
    assert record["cost"] == record["halves"]["stt"]["cost"]
    assert record["cost"]["amount"] == pytest.approx(0.25 * 1.04652 / 3600, abs=1e-6)
