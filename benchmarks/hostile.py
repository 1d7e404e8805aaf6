"""Make hostile files, decompression bombs and forged headers, for `benchmarks.media`.

    python -m benchmarks.hostile FOLDER && python -m benchmarks.media FOLDER --output benchmarks/results/hostile.json

It also writes a `media.csv` with how each file must end: a bomb as `reject` (too_long), a forged header as `reject` or,
if there is sound after it, as `either`.
"""

from __future__ import annotations

import argparse
import csv
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream

from benchmarks.media import LIST

HOURS = 300  #: of silence in the densest bomb
_LARGEST_FRAME = 65_535  #: samples of a FLAC frame


def silence(path: Path, codec: str, *, hours: float, rate: int = 8000, **options: str) -> None:
    """Write some hours of silence. FLAC needs 14 bytes for eight seconds of it."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono", options=options)
        assert isinstance(stream, AudioStream)
        stream.codec_context.open()
        samples = stream.codec_context.frame_size or _LARGEST_FRAME
        form = stream.format.name
        frame = av.AudioFrame(form, "mono", samples)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        for _ in range(round(hours * 3600 * rate / samples)):
            frame.sample_rate, frame.pts = rate, None
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def wav(path: Path, *, rate: int = 16_000, channels: int = 1, bits: int = 16, data: int | None = None) -> None:
    """Write a second of noise after a header with these values, true or not."""
    sound = np.random.default_rng(0).integers(-3000, 3000, 16_000, np.int16).tobytes()
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * block & 0xFFFF_FFFF, block & 0xFFFF, bits)
    size = len(sound) if data is None else data
    head = b"RIFF" + struct.pack("<I", (36 + size) & 0xFFFF_FFFF) + b"WAVEfmt " + struct.pack("<I", 16) + form
    path.write_bytes(head + b"data" + struct.pack("<I", size) + sound)


def flac(path: Path, at: int, number: int, size: int) -> None:
    """Write a second of silence in FLAC, and a number over part of its header (RFC 9639, section 8.2)."""
    silence(path, "flac", hours=1 / 3600)
    content = bytearray(path.read_bytes())
    content[at : at + size] = number.to_bytes(size, "big")
    path.write_bytes(content)


def unknown_length(path: Path) -> None:
    """Write the FLAC bomb with a sample count of 0 in its header, which means unknown."""
    silence(path, "flac", hours=HOURS, frame_size=str(_LARGEST_FRAME))
    content = bytearray(path.read_bytes())
    content[22:26] = bytes(4)
    path.write_bytes(content)


def m4a(path: Path, atom: bytes, at: int, number: int) -> None:
    """Write a second of silence as m4a, and a number over four bytes of an atom, `at` bytes after its name."""
    silence(path, "aac", hours=1 / 3600, rate=16_000)
    content = bytearray(path.read_bytes())
    start = content.index(atom) + 4 + at
    content[start : start + 4] = number.to_bytes(4, "big")
    path.write_bytes(content)


#: By file name: how it must end, what it is, and how to make it.
FILES: dict[str, tuple[str, str, Callable[[Path], None]]] = {
    "bomb.flac": ("reject", f"{HOURS} hours of silence", lambda path: silence(
        path, "flac", hours=HOURS, frame_size=str(_LARGEST_FRAME))),
    "bomb_of_unknown_length.flac": ("reject", "the same, but its header does not give the length", unknown_length),
    "bomb.opus": ("reject", "12 hours of silence", lambda path: silence(
        path, "libopus", hours=12, vbr="on", frame_duration="60", b="500")),
    "wav_rate_1.wav": ("reject", "1 Hz", lambda path: wav(path, rate=1)),
    "wav_rate_4e9.wav": ("reject", "4294967295 Hz", lambda path: wav(path, rate=0xFFFF_FFFF)),
    "wav_rate_2000.wav": ("either", "2 kHz, so that one second becomes eight", lambda path: wav(path, rate=2000)),
    "wav_65535_channels.wav": ("reject", "65,535 channels", lambda path: wav(path, channels=65_535)),
    "wav_64_channels.wav": ("either", "64 channels", lambda path: wav(path, channels=64)),
    "wav_0_bits.wav": ("reject", "samples of 0 bits", lambda path: wav(path, bits=0)),
    "wav_data_4e9.wav": ("either", "claims 4 GB of samples, has a second", lambda path: wav(path, data=0xFFFF_FFF0)),
    "flac_all_samples.flac": ("either", "2^32 samples", lambda path: flac(path, 22, 0xFFFF_FFFF, 4)),
    "flac_block_65535.flac": ("either", "blocks of 65,535 samples", lambda path: flac(path, 8, 0xFFFF_FFFF, 4)),
    "m4a_mdhd_duration.m4a": ("either", "a length of 2^32 units", lambda path: m4a(path, b"mdhd", 16, 0xFFFF_FFFF)),
    "m4a_mdhd_scale_0.m4a": ("either", "no time scale", lambda path: m4a(path, b"mdhd", 12, 0)),
    "m4a_stsz_count.m4a": ("either", "2^32 packets", lambda path: m4a(path, b"stsz", 8, 0xFFFF_FFFF)),
    "m4a_stsz_size.m4a": ("either", "packets of 4 GB", lambda path: m4a(path, b"stsz", 4, 0xFFFF_FFF0)),
    "m4a_stts_count.m4a": ("either", "a packet repeated 2^32 times", lambda path: m4a(path, b"stts", 8, 0xFFFF_FFFF)),
    "m4a_stco_count.m4a": ("either", "2^32 chunks", lambda path: m4a(path, b"stco", 4, 0xFFFF_FFFF)),
    "m4a_moov_size.m4a": ("either", "an atom of 4 GB", lambda path: m4a(path, b"mdat", -8, 0xFFFF_FFFF)),
}  # fmt: skip


def main() -> int:
    """Write the files and `media.csv`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LIST).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "expect", "what", "bytes"])
        for name, (expect, what, make) in FILES.items():
            make(folder / name)
            rows.writerow([name, expect, what, (folder / name).stat().st_size])
    return 0


if __name__ == "__main__":
    sys.exit(main())
