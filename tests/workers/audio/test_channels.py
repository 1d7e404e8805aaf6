"""Channel orders of their own, many channels, and channels that cancel each other out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from speechpipe.contract.errors import ErrorCode, Rejected
from tests.workers.audio.media import RATE, decode, tone, write_audio
from tests.workers.audio.odd import (
    CENTER,
    LEFT,
    LEFT_SURROUND,
    LFE,
    RIGHT,
    RIGHT_SURROUND,
    UNUSED,
    write_caf,
)  # fmt: skip

ORDERS = {
    "left and right swapped": (RIGHT, LEFT),
    "5.1 as QuickTime has it": (CENTER, LEFT, RIGHT, LEFT_SURROUND, RIGHT_SURROUND, LFE),
    "unused channels": (LEFT, UNUSED, RIGHT, UNUSED),
    "discrete channels": tuple((1 << 16) + number for number in range(9)),
    "sixty channels": tuple((1 << 16) + number for number in range(60)),
}


def loudest_hertz(samples: np.ndarray) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(samples[4000:12000]))) * 2)


@pytest.mark.parametrize("order", ORDERS)
def test_any_order_of_channels_is_split_in_the_file_s_order(tmp_path: Path, order: str) -> None:
    labels = ORDERS[order]
    hertz = [200 + 20 * number for number in range(len(labels))]
    path = write_caf(tmp_path / "a.caf", [tone(1, one) for one in hertz], labels)
    decoded = decode(path, split=True, max_seconds=60)
    assert [loudest_hertz(channel) for channel in decoded.samples] == hertz
    assert decoded.cautions == ()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("speaking", [0, -1])
def test_the_mix_of_any_order_has_what_one_channel_says(tmp_path: Path, order: str, speaking: int) -> None:
    labels = ORDERS[order]
    channels = [np.zeros(RATE, np.float32) for _ in labels]
    channels[speaking] = tone(1, 300)
    mixed = decode(write_caf(tmp_path / "a.caf", channels, labels), max_seconds=60).samples
    assert mixed.shape == (1, RATE)
    assert loudest_hertz(mixed[0]) == 300
    assert np.abs(mixed).max() > 0.2


def test_the_mix_of_many_channels_has_what_each_says_and_does_not_clip(tmp_path: Path) -> None:
    channels = [0.4 * tone(1, 200 * (number + 1)) for number in range(9)]
    mixed = decode(write_caf(tmp_path / "a.caf", channels, ORDERS["discrete channels"]), max_seconds=60).samples[0]
    spectrum = np.abs(np.fft.rfft(mixed))
    assert all(spectrum[200 * (number + 1)] > 0.9 * spectrum[200] for number in range(9))
    assert np.abs(mixed).max() < 1


def test_more_channels_than_can_be_read_are_a_sentence(tmp_path: Path) -> None:
    labels = [(1 << 16) + number for number in range(65)]
    path = write_caf(tmp_path / "a.caf", [tone(0.2)] * 65, labels)
    with pytest.raises(Rejected, match="has 65 channels: at most 64 can be read here") as caught:
        decode(path, max_seconds=60)
    assert caught.value.code is ErrorCode.UNSUPPORTED_FORMAT


@pytest.mark.parametrize(("extension", "codec"), [("wav", "pcm_s16le"), ("wav", "pcm_u8"), ("wav", "pcm_f32le"),
                                                  ("flac", "flac"), ("m4a", "alac"), ("opus", "libopus")])  # fmt: skip
def test_channels_out_of_phase_are_heard(tmp_path: Path, extension: str, codec: str) -> None:
    path = write_audio(tmp_path / f"a.{extension}", [0.8 * tone(2), -tone(2)], codec=codec)
    decoded = decode(path, max_seconds=60)
    assert loudest_hertz(decoded.samples[0]) == pytest.approx(440, abs=4)
    assert np.abs(decoded.samples).max() == pytest.approx(0.5, abs=0.05)
    (caution,) = decoded.cautions
    assert caution.code == "out_of_phase"
    assert "2.0 of 2.0 seconds" in caution.message


def test_three_channels_out_of_phase_are_heard(tmp_path: Path) -> None:
    sound = tone(2)
    path = write_caf(
        tmp_path / "a.caf", [sound, np.float32(-0.5) * sound, np.float32(-0.5) * sound], (LEFT, CENTER, RIGHT)
    )
    decoded = decode(path, max_seconds=60)
    assert np.abs(decoded.samples).max() == pytest.approx(0.5, abs=0.05)
    assert [caution.code for caution in decoded.cautions] == ["out_of_phase"]


@pytest.mark.parametrize("other", ["the same", "silent", "another voice", "faint"])
def test_channels_in_phase_are_mixed_without_a_word(tmp_path: Path, other: str) -> None:
    sound = tone(2)
    second = {"the same": sound, "silent": 0 * sound, "another voice": tone(2, 300), "faint": -0.01 * sound}[other]
    path = write_audio(tmp_path / "a.wav", [sound, second], codec="pcm_s16le")
    decoded = decode(path, max_seconds=60)
    np.testing.assert_allclose(decoded.samples[0], (sound + second) / 2, atol=1e-3)
    assert decoded.cautions == ()


def test_out_of_phase_for_a_while_is_mixed_again_afterwards(tmp_path: Path) -> None:
    voice, other = tone(20), tone(20, 300)
    right = np.concatenate([-voice[: 10 * RATE], other[10 * RATE :]])
    decoded = decode(write_audio(tmp_path / "a.wav", [voice, right], codec="pcm_s16le"), max_seconds=60)
    early, late = decoded.samples[0, : 8 * RATE], decoded.samples[0, -4 * RATE :]
    assert np.abs(early).max() == pytest.approx(0.5, abs=0.01)
    np.testing.assert_allclose(late, ((voice + right) / 2)[-4 * RATE :], atol=1e-3)
