"""The length of an MP3 that does not state it: exact where all frames agree or are read, else marked as an estimate."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechpipe.pipeline.mp3 import PLACE_BYTES, PLACES, frames
from speechpipe.pipeline.probe import BLOCK_BYTES, probe
from tests.pipeline.test_probe import Counted

#: MPEG-1 Layer III, 44.1 kHz, mono: the index of each bit rate in its header, and a frame's bytes without padding.
KBITS = {32: (1, 104), 64: (5, 208), 128: (9, 417), 320: (14, 1044)}
FRAME = 1152 / 44_100  #: seconds


def frame(kbits: int) -> bytes:
    index, size = KBITS[kbits]
    return bytes([0xFF, 0xFB, index << 4, 0xC0]).ljust(size, b"\x55")


def mp3(*parts: tuple[int, int], tag: int = 0) -> bytes:
    """An MP3 of (bit rate, number of frames), after an ID3 tag of `tag` bytes if any."""
    head = b"ID3\4\0\0" + bytes([0, tag >> 14 & 127, tag >> 7 & 127, tag & 127]) + bytes(tag) if tag else b""
    return head + b"".join(frame(kbits) * count for kbits, count in parts)


def test_a_small_file_of_variable_bit_rate_is_read_whole_and_exact() -> None:
    """By its first frames alone this one is three times as long as it is."""
    body = mp3((32, 500), (320, 1_000), tag=5_000)
    found = probe(io.BytesIO(body), len(body))
    assert found.exact
    assert found.seconds == pytest.approx(1_500 * FRAME)


def test_a_long_file_of_variable_bit_rate_is_an_estimate_and_close() -> None:
    body = mp3(*[(32, 700), (128, 900), (64, 800), (320, 600)] * 12)  # by its first frames 3 h 20 min
    assert len(body) > 2 * PLACES * PLACE_BYTES
    file = Counted(body)
    found = probe(file, len(body))
    assert not found.exact
    assert found.seconds == pytest.approx(12 * 3_000 * FRAME, rel=0.25)
    assert file.bytes_read <= (PLACES + 2) * BLOCK_BYTES


def test_a_long_file_of_constant_bit_rate_is_exact_without_its_table() -> None:
    body = mp3((128, 20_000), tag=300)
    found = probe(io.BytesIO(body), len(body))
    assert found.exact
    assert found.seconds == pytest.approx(20_000 * FRAME, rel=0.001)


def test_the_table_of_a_file_that_has_one_is_believed() -> None:
    table = bytearray(frame(64))
    table[21:37] = b"Xing" + (3).to_bytes(4) + (50_000).to_bytes(4) + (50_000 * 104).to_bytes(4)
    body = bytes(table) + mp3((32, 50_000))
    found = probe(io.BytesIO(body), len(body))
    assert found.exact
    assert found.seconds == pytest.approx(50_000 * FRAME, rel=0.001)


def test_what_only_looks_like_a_frame_does_not_count() -> None:
    noise = b"\xff\xfb\x90\xc0 no frame follows " * 40
    assert len(list(frames(noise + frame(128) * 10 + noise))) in (9, 10)  # the last has none of its kind after it


@given(st.lists(st.sampled_from([*KBITS]), max_size=30), st.binary(max_size=300))
def test_any_part_of_a_file_has_whole_frames_of_those_that_are_in_it(kinds: list[int], before: bytes) -> None:
    found = list(frames(before + b"".join(map(frame, kinds))))
    assert len(found) <= len(kinds) + len(before) // 24
    if kinds:
        assert [each.kbits for each in found][-len(kinds) :][-3:] == kinds[-3:]


@pytest.mark.parametrize("body", [b"\xff" * 3_000_000, b"\xff\xfb\x90\xc0" * 700_000, b"\xff\xfb\x10\xc0" + bytes(9)])
def test_hostile_data_ends_the_search(body: bytes) -> None:
    assert len(list(frames(body))) < 20_000
