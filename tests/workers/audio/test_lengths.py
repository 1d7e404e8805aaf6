"""Headers that say less than is there: all of the sound is read, or the caution says how much was not."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from speechpipe.contract.errors import Rejected
from tests.workers.audio.media import RATE, Decoded, decode, tone, write_audio
from tests.workers.audio.test_decoder import wav_header
from workers.audio.wav import repair

LIST = b"LIST" + struct.pack("<I", 26) + b"INFOISFT\x0e\0\0\0Lavf59.27.100\0"


def wav(path: Path, *parts: bytes) -> Path:
    path.write_bytes(b"".join(parts))
    return path


def samples(seconds: float, hertz: float = 440.0, channels: int = 1) -> bytes:
    return np.repeat(tone(seconds, hertz)[:, np.newaxis] * 32767, channels, axis=1).astype("<i2").tobytes()


def read(path: Path, *, seconds: float) -> Decoded:
    decoded = decode(path, max_seconds=600)
    assert decoded.audio.duration == pytest.approx(seconds, abs=0.001)
    return decoded


def test_a_recorder_that_crashed_has_recorded_more_than_it_wrote_down(tmp_path: Path) -> None:
    decoded = read(wav(tmp_path / "a.wav", wav_header(data=8 * RATE), samples(11)), seconds=11)
    np.testing.assert_allclose(decoded.samples[0], tone(11), atol=1e-3)
    assert decoded.cautions == ()


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_two_joined_files_are_one_recording(tmp_path: Path, channels: int) -> None:
    one = wav_header(channels=channels, data=4 * RATE * channels) + samples(2, 300, channels) + LIST
    other = wav_header(channels=channels, data=6 * RATE * channels) + samples(3, 440, channels) + LIST
    decoded = read(wav(tmp_path / "a.wav", one, other), seconds=5)
    np.testing.assert_allclose(decoded.samples[0], np.concatenate([tone(2, 300), tone(3)]), atol=2e-3)
    assert decoded.cautions == ()


def test_a_joined_file_of_another_kind_is_said_to_be_unread(tmp_path: Path) -> None:
    one = wav_header(data=4 * RATE) + samples(2)
    other = wav_header(rate=8000, data=6 * RATE) + samples(3)
    (caution,) = read(wav(tmp_path / "a.wav", one, other), seconds=2).cautions
    assert caution.code == "damaged_audio"
    assert "2.0 of 8.0 seconds" in caution.message


def test_a_length_that_wrapped_is_not_believed(tmp_path: Path) -> None:
    """Beyond 4 GiB only the rest is left of the length. Here most of the file is a hole on the disk."""
    path, size = tmp_path / "a.wav", (1 << 32) + 4 * RATE
    with path.open("wb") as file:
        file.write(wav_header(data=4 * RATE) + samples(3))
        file.truncate(44 + size)
    with path.open("rb") as file:
        found = repair(file)
        assert found is not None
        assert found.source is not None
        assert found.source.seek(0, 2) == 44 + size
        found.source.seek(44 + RATE)
        assert found.source.read(1000) == samples(3)[RATE : RATE + 1000]


@pytest.mark.parametrize("tail", [b"", LIST, LIST * 3, bytes(20_000), b"TAG" + bytes(125), LIST + bytes(5)])
def test_what_is_no_sound_behind_the_sound_is_left_alone(tmp_path: Path, tail: bytes) -> None:
    assert read(wav(tmp_path / "a.wav", wav_header(data=4 * RATE), samples(2), tail), seconds=2).cautions == ()


@pytest.mark.parametrize("declared", [0, 0xFFFF_FFFF])
def test_a_length_that_was_never_written_is_no_length(tmp_path: Path, declared: int) -> None:
    assert read(wav(tmp_path / "a.wav", wav_header(data=declared), samples(2)), seconds=2).cautions == ()


@pytest.mark.parametrize("size", range(0, 90, 7))
def test_a_header_that_is_cut_off_is_no_crash(tmp_path: Path, size: int) -> None:
    with pytest.raises(Rejected):
        decode(wav(tmp_path / "a.wav", (wav_header(data=100) + LIST)[:size]), max_seconds=600)


def test_an_edit_of_duration_0_plays_all(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.m4a", [tone(5)], codec="aac")
    content = bytearray(path.read_bytes())
    at = content.index(b"elst")
    content[at + 12 : at + 16] = bytes(4)  # after version, flags and the number of entries
    path.write_bytes(content)
    decoded = decode(path, max_seconds=60)
    assert decoded.audio.duration == pytest.approx(5, abs=0.15)
    assert np.abs(decoded.samples[0, : RATE // 2]).max() == pytest.approx(0.5, abs=0.1)
    assert decoded.cautions == ()
