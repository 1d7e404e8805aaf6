"""Several sound tracks: that with speech is read, the others are named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest

from speechpipe.contract.errors import ErrorCode, Rejected
from tests.workers.audio.media import RATE, tone
from tests.workers.audio.odd import Sound, write_tracks
from workers.audio.decoder import as_float
from workers.audio.reader import open_audio

SILENT = np.zeros(6 * RATE, np.float32)
HUM = (tone(6, 100) * 0.2).astype(np.float32)


def voice(hertz: float, level: float = 1.0) -> Sound:
    """Sound that comes and goes, as speech does."""
    moments = np.repeat(np.arange(12) % 3 != 0, RATE // 2)
    sound: Sound = (tone(6, hertz) * moments * level).astype(np.float32)
    return sound


def heard(path: Path, *, track: int | None = None, language: str | None = None) -> tuple[float, str]:
    """The loudest frequency of what is read of a file, and the caution about its tracks."""
    with open_audio(path, max_seconds=60, track=track, language=language) as stream:
        samples = as_float(np.concatenate(list(stream), axis=1))[0]
        cautions = [caution.message for caution in stream.cautions if caution.code == "other_tracks"]
    spectrum = np.abs(np.fft.rfft(samples))
    return round(float(np.argmax(spectrum) * RATE / len(samples)), -1), " ".join(cautions)


@pytest.mark.parametrize(("extension", "codec"), [("mp4", "aac"), ("mkv", "libopus"), ("mov", "pcm_s16le")])
def test_speech_on_the_second_track_is_heard(tmp_path: Path, extension: str, codec: str) -> None:
    path = write_tracks(tmp_path / f"a.{extension}", [SILENT, voice(440)], codec=codec, defaults=(True, False))
    hertz, caution = heard(path)
    assert hertz == 440
    assert "has 2 sound tracks: number 2" in caution
    assert "left out: 1 (default silent)" in caution


@pytest.mark.parametrize(
    ("tracks", "defaults", "language", "chosen"),
    [
        ([HUM, voice(440)], (True, False), None, 440),  # a hum is no speech
        ([voice(300), voice(440)], (False, True), None, 440),
        ([voice(300), voice(440)], (True, True), "de", 440),
        ([voice(300), voice(440)], (True, True), "en", 300),
        ([voice(300, 0.1), voice(440)], (True, True), None, 440),  # the louder one
        ([voice(300), voice(440)], (True, True), None, 300),
        ([voice(300, 0.1), voice(440)], (True, False), "de", 300),  # the default comes first
    ],
)
def test_the_default_the_language_and_the_sound_decide(
    tmp_path: Path, tracks: Sequence[Sound], defaults: Sequence[bool], language: str | None, chosen: int
) -> None:
    path = write_tracks(tmp_path / "a.mkv", tracks, codec="pcm_s16le", defaults=defaults, languages=("eng", "deu"))
    assert heard(path, language=language)[0] == chosen


def test_a_voice_that_comes_late_is_found(tmp_path: Path) -> None:
    """Tracks are listened to in several places, not only at their start."""
    late = np.concatenate([np.zeros(80 * RATE, np.float32), voice(440)])
    music = np.concatenate([SILENT, np.zeros(80 * RATE, np.float32)])
    path = write_tracks(tmp_path / "a.mp4", [music, np.tile(late, 2)], codec="aac", defaults=(True, False))
    with open_audio(path, max_seconds=600) as stream:
        assert max(np.abs(block).max() for block in stream) > 8000


def test_the_option_takes_any_track(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.mkv", [voice(300), voice(440)], codec="pcm_s16le", defaults=(True, False))
    assert [heard(path, track=number)[0] for number in (1, 2)] == [300, 440]


@pytest.mark.parametrize(("tracks", "has"), [(1, "one sound track"), (2, "2 sound tracks")])
def test_a_track_that_is_not_there_is_a_mistake_in_the_options(tmp_path: Path, tracks: int, has: str) -> None:
    path = write_tracks(tmp_path / "a.mkv", [voice(300)] * tracks, codec="pcm_s16le")
    with pytest.raises(Rejected, match=f"'track': given 3, but the file has {has}") as caught:
        heard(path, track=3)
    assert caught.value.code is ErrorCode.INVALID_OPTION


def test_one_track_is_read_without_a_word(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.mkv", [voice(300)], codec="pcm_s16le", picture=2)
    assert heard(path) == (300, "")


def test_tracks_of_eight_planar_channels_are_listened_to(tmp_path: Path) -> None:
    """PyAV counts the planes of eight channels into other memory. Found by fuzzing."""
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("aac", rate=RATE, layout="7.1") for _ in range(2)]
        for stream, sound in zip(streams, (SILENT, voice(440)), strict=True):
            for start in range(0, len(sound), 1024):
                block = np.repeat(sound[start : start + 1024] * 32767, 8)[np.newaxis].astype(np.int16)
                frame = av.AudioFrame.from_ndarray(block, format="s16", layout="7.1")
                frame.sample_rate, frame.pts = RATE, start
                for made in av.AudioResampler("fltp", "7.1", RATE).resample(frame):
                    container.mux(stream.encode(made))
            container.mux(stream.encode(None))
    hertz, caution = heard(path)
    assert hertz == 440
    assert "number 2" in caution
