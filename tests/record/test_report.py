"""The report as a file. How it works in a browser is tested in tests/browser."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest

from speechpipe.contract import Waveform
from speechpipe.record.artifacts import render
from speechpipe.record.report import charts, content_security_policy, render_report
from speechpipe.record.report.label_styles import label_styles
from tests.cli.test_cli import Run, run  # noqa: F401 - a fixture
from tests.doubles import AUDIO
from tests.record.test_artifacts import HOSTILE, record


def test_the_same_record_gives_the_same_bytes() -> None:
    assert render(record()) == render(record())


def test_the_policy_allows_only_the_embedded_style_and_script() -> None:
    page = render_report(record())
    for kind, text in (("style", r"<style>(.*?)</style>"), ("script", r"<script>(.*?)</script>")):
        (found,) = re.findall(text, page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(found.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in content_security_policy()
    assert f'content="{content_security_policy()}"' in page
    assert " style=" not in page  # the policy would block it


def test_the_audio_is_the_recordings_file_unless_a_url_is_given() -> None:
    made = record()
    assert "data-audio" not in render_report(made).split("<script", 1)[0]
    local = made.model_copy(update={"source": made.source.model_copy(update={"uri": "file:///calls/a%20b.wav"})})
    assert ' data-audio="file:///calls/a%20b.wav"' in render_report(local)
    assert ' data-audio="/sound?a&amp;b=&quot;"' in render_report(local, audio='/sound?a&b="')


def test_labels_of_any_model_can_be_told_apart_without_colour() -> None:
    labels = ["neutral", "negative", "ne", "happy", "happiness", HOSTILE, "x", *(f"mood {n}" for n in range(30))]
    styles = label_styles(labels)
    assert len({style.code for style in styles.values()}) == len([*labels, "unsure"])
    assert styles["neutral"].code == "Ne"
    assert len({style.slot for style in list(styles.values())[:16]}) == 16
    assert label_styles(["angry"])["angry"].slot == label_styles(["calm", "anger"])["anger"].slot


def test_mixed_peaks_are_not_drawn_as_those_of_one_channel() -> None:
    made = record()
    loud = AUDIO.model_copy(update={"waveforms": (Waveform(peaks=(255, 0)),)})
    mixed = charts.build_timeline(made.model_copy(update={"audio": loud}), label_styles(["anger", "neutral", "other"]))
    assert mixed
    assert "V1H" in charts.waveform(mixed, 0, loud.waveforms)
    two = charts.Timeline(mixed.seconds, (0, 1), {0: mixed.intervals[0], 1: []}, mixed.styles, {0: "a", 1: "b"})
    assert "V1H" not in charts.waveform(two, 0, loud.waveforms)


def test_a_report_with_embedded_audio(run: Run, audio: Path, tmp_path: Path) -> None:  # noqa: F811
    run("submit", str(audio), "--wait")
    status, _, err = run("report", "call.wav", "--embed", "-o", str(tmp_path / "a.html"))
    assert (status, err) == (0, f"{tmp_path / 'a.html'}\n")
    sound = base64.b64encode(b"audio").decode()
    assert re.search(f'data-audio="data:audio/[a-z-]+;base64,{sound}"', (tmp_path / "a.html").read_text())


def test_audio_that_is_too_large_to_embed(
    run: Run,  # noqa: F811
    audio: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("speechpipe.cli.report.MAX_EMBEDDED_BYTES", 4)
    run("submit", str(audio), "--wait")
    status, _, err = run("report", "call.wav", "--audio", str(audio), "-o", str(tmp_path / "a.html"))
    assert status == 2
    assert "give --audio a smaller" in err
    assert not (tmp_path / "a.html").exists()
