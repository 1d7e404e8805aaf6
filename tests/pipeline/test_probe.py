"""Lengths from headers: exact if the header is readable, else a guess marked as one; little of the file is read."""

from __future__ import annotations

import io
import json
import random
import struct
import wave
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechpipe.contract.errors import ErrorCode, Rejected
from speechpipe.pipeline.probe import BLOCK_BYTES, GUESSED_BITRATE, MAX_BLOCKS, Length, probe

SAMPLES = Path(__file__).parents[1] / "samples"
DURATIONS = {sample["file"]: sample["duration"] for sample in json.loads((SAMPLES / "samples.json").read_text())}
FILES = list(DURATIONS)


class Counted(io.BytesIO):
    """A file that counts the bytes read from it."""

    bytes_read = 0

    def read(self, size: int | None = -1, /) -> bytes:
        part = super().read(size)
        self.bytes_read += len(part)
        return part


def length(body: bytes) -> Length:
    return probe(io.BytesIO(body), len(body))


def wav(seconds: float, *, claimed: int | None = None) -> bytes:
    """16 kHz, 16 bit, mono; `claimed` bytes of audio in its header."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 16000, 0, "NONE", ""))
        writer.writeframes(b"\1\0" * int(16000 * seconds))
    body = bytearray(file.getvalue())
    if claimed is not None:
        body[40:44] = struct.pack("<I", claimed)
    return bytes(body)


def opus(seconds: int) -> bytes:
    """An Ogg file with one page of 8 kB per second; its payload is not real audio."""

    def page(granule: int, kind: int, payload: bytes, sizes: list[int]) -> bytes:
        return struct.pack("<4sBBqIIIB", b"OggS", 0, kind, granule, 7, 0, 0, len(sizes)) + bytes(sizes) + payload

    head = b"OpusHead" + struct.pack("<BBHIhB", 1, 1, 0, 48000, 0, 0)
    pages = [page(0, 2, head, [len(head)]), page(0, 0, b"OpusTags" + bytes(8), [16])]
    pages += [page(48000 * (n + 1), 4 if n == seconds - 1 else 0, b"\xaa" * 8000, [160] * 50) for n in range(seconds)]
    return b"".join(pages)


@pytest.mark.parametrize("name", FILES)
def test_the_length_of_each_sample_is_read_from_its_header(name: str) -> None:
    found = length((SAMPLES / name).read_bytes())
    assert found.exact
    assert found.channels == (2 if "stereo" in name or name.endswith("m4a") else 1)  # MP4 gives 2 for mono as well
    assert found.seconds == pytest.approx(DURATIONS[name], abs=0.05)


def test_only_the_ends_of_a_long_file_are_read() -> None:
    for body, seconds in ((wav(600), 600), (opus(1800), 1800)):
        file = Counted(body)
        assert probe(file, len(body)) == Length(seconds, exact=True)
        assert len(body) > 10_000_000
        assert file.bytes_read <= 3 * BLOCK_BYTES


@pytest.mark.parametrize("claimed", [0, 0xFFFFFFFF, 10**9])
def test_a_wav_whose_header_has_no_true_length_is_measured_by_its_bytes(claimed: int) -> None:
    found = length(wav(10, claimed=claimed))
    assert found.seconds == pytest.approx(10, abs=0.01)
    assert found.exact


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"RIFF",
        b"OggS" + bytes(3 * BLOCK_BYTES),
        b"\x1aE\xdf\xa3" + bytes(5000),  # WebM
        b"#!AMR\n" + bytes(5000),
        b"\xff\xf1" * 300_000,  # looks like endless MPEG frames but is not
        b"\x00\x00\x00\x18ftypisom" + bytes(100),
        (SAMPLES / "missing_table.flac").read_bytes()[:60],  # its header claims ten seconds
    ],
    ids=lambda body: f"{body[:4]!r} {len(body)}",
)
def test_the_length_of_a_file_without_a_credible_header_is_guessed_from_its_size(body: bytes) -> None:
    assert length(body) == Length(len(body) * 8 / GUESSED_BITRATE, exact=False)


def test_a_header_that_claims_one_second_for_gigabytes_is_not_trusted() -> None:
    class Endless(io.BytesIO):
        """A header, followed by endless zeros."""

        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(size).ljust(size or 0, b"\0")

    size = 50 * 1024**3
    assert not probe(Endless(wav(1)[:44]), size).exact


@pytest.mark.parametrize(
    "body",
    [
        b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 2_000_000,  # empty chunks
        b"RIFF\0\0\0\0WAVEfmt \xfe\xff\xff\xff" + bytes(20_000_000),  # a header of four gigabytes
        b"\x00\x00\x00\x14ftypisom" + bytes(8) + b"\x00\x04\x00\x00free".ljust(0x40000, b"\0") * 80,  # far apart
    ],
    ids=["many empty chunks", "a huge header", "boxes far apart"],
)
def test_a_hostile_file_cannot_make_the_probe_read_much(body: bytes) -> None:
    file = Counted(body)
    assert not probe(file, len(body)).exact
    assert file.bytes_read <= MAX_BLOCKS * BLOCK_BYTES


@given(
    name=st.sampled_from([*FILES, "long.opus"]),
    seed=st.integers(0, 2**32),
    changes=st.integers(0, 30),
    keep=st.floats(0, 1),
    reach=st.sampled_from([64, 1024, 10**9]),
)
def test_a_damaged_file_has_a_length_and_raises_no_error(
    name: str, seed: int, changes: int, keep: float, reach: int
) -> None:
    chance = random.Random(seed)
    body = bytearray(opus(100) if name == "long.opus" else (SAMPLES / name).read_bytes())
    for _ in range(changes):
        body[chance.randrange(min(reach, len(body)))] = chance.choice([0, 1, 127, 255, chance.randrange(256)])
    cut = bytes(body[: int(len(body) * keep)])
    file = Counted(cut)
    found = probe(file, len(cut))
    assert 0 <= found.seconds <= len(cut) * 8 / 500
    assert file.bytes_read <= min(MAX_BLOCKS * BLOCK_BYTES, len(cut))


def test_errors_of_the_stream_itself_are_passed_on() -> None:
    class Gone(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise Rejected(ErrorCode.OBJECT_GONE, "gone")

    with pytest.raises(Rejected):
        probe(Gone(b"RIFF"), 4)
