"""Genuine Whisper `base` through Google's emulators: real recordings, and those that are hard to hear."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import demo
from speechpipe.contract import Record, Status
from speechpipe.emulators import LocalCloud
from tests import weights
from tests.emulators.conftest import TEST_SECONDS, User, started, using
from tests.workers.audio.media import decode, write_audio
from workers.audio.decoder import SAMPLE_RATE

pytestmark = [
    pytest.mark.weights,
    pytest.mark.emulators,
    pytest.mark.engines,
    pytest.mark.slow,
    pytest.mark.timeout(TEST_SECONDS),
]


@pytest.fixture(scope="module")
def cloud(whisper_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """A user of a local cloud whose workers have the models of the demo."""
    assert whisper_base.is_dir()
    settings = {
        "SPEECHPIPE_MODELS": "demo",
        "XDG_CACHE_HOME": str(weights.cache()),
        "HF_HUB_OFFLINE": "1",
        "SPEECHPIPE_DEVICE": "cpu",
    }
    yield from using(started(LocalCloud(state=tmp_path_factory.mktemp("cloud"), settings=settings)))


def record_of(cloud: User, recording: str) -> Record:
    final = cloud.final(recording)
    assert final.status is Status.COMPLETED
    assert final.result is not None
    return final.result


def codes(record: Record) -> set[str]:
    """The record's cautions, without those about what its emotions are worth."""
    about_emotions = {"acted_emotions", "narrow_band", "language_unknown_to_model"}
    return {warning.code for warning in record.warnings} - about_emotions


def test_real_recordings_have_their_words_languages_and_speakers(cloud: User) -> None:
    dropped = {
        cloud.drop((demo.SAMPLES / sample.file).read_bytes(), sample.file, **sample.options): sample
        for sample in demo.samples()
    }
    for recording, sample in dropped.items():
        record = record_of(cloud, recording)
        line = demo.compare(sample, record)
        assert line.wrong <= 0.1 * line.said, sample.file
        assert set(line.heard) == set(sample.languages), sample.file
        assert codes(record) == set(), sample.file
        if len(sample.text) == 2:
            assert {segment.speaker for segment in record.segments} == {"channel 0", "channel 1"}


def test_what_is_hard_to_hear_ends_right(cloud: User, tmp_path: Path) -> None:
    """Silence inside, very quiet, the same on two channels, a hint that nobody says, a noise alone."""
    speech = decode(demo.SAMPLES / "kennedy_1961.flac", max_seconds=60).samples[0]
    half = len(speech) * 3 // 10  # in the pause after "Americans"
    minute = np.zeros(60 * SAMPLE_RATE, np.float32)
    noise = np.random.default_rng(0).normal(0, 0.02, SAMPLE_RATE // 5).astype(np.float32)
    quiet = speech * np.float32(10 ** (-50 / 20) / np.abs(speech).max())

    def drop(name: str, *channels: NDArray[np.float32], **options: str) -> str:
        path = write_audio(tmp_path / f"{name}.wav", list(channels), codec="pcm_s16le")
        return cloud.drop(path.read_bytes(), path.name, **options)

    inside = drop("inside", np.concatenate([speech[:half], minute, speech[half:]]))
    silent, twice = drop("quiet", quiet), drop("twice", speech, speech, channels="split")
    hinted = drop("hinted", speech, hotwords="Quittengelee, Kaltblut")
    breath = drop("breath", np.concatenate([minute[:SAMPLE_RATE], noise, minute[:SAMPLE_RATE]]))

    record = record_of(cloud, inside)
    assert "ask not what your country can do for you" in record.text
    assert all(segment.end - segment.start < 15 for segment in record.segments)
    assert not any(half / SAMPLE_RATE + 1 < segment.start < half / SAMPLE_RATE + 59 for segment in record.segments)
    assert "country can do for you" in record_of(cloud, silent).text
    record = record_of(cloud, twice)
    assert "channels_alike" in codes(record)
    assert record.text.count("ask not") == 1
    record = record_of(cloud, hinted)
    assert "ask not what your country can do for you" in record.text
    assert not {"quittengelee", "kaltblut"} & set(record.text.lower().split())
    record = record_of(cloud, breath)
    assert (record.text, codes(record)) == ("", {"no_speech"})
