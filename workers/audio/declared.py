"""What a file declares of its sound, against what could be read of it: the decoder's cautions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BufferedReader

from speechpipe.contract import Caution
from workers.audio.formats import WITHOUT_LENGTH, start_of
from workers.audio.frames import StreamDecoder


def declared_seconds(decoder: StreamDecoder, seconds: float, file: BufferedReader) -> float | None:
    """The duration that the header declares; None if it declares none and FFmpeg only estimates it.

    FFmpeg estimates the duration of every raw AAC, AC-3 and AMR file from its size, and that of an MP3 without a Xing
    or Info header. For a WAV it corrects the declared duration by the size of the file, so that one is read here.
    """
    stream, name = decoder.stream, decoder.container.format.name
    start = start_of(file)
    if name in WITHOUT_LENGTH or (name == "mp3" and not _has_mp3_length(file, start)):
        return None
    if name == "wav":
        file.seek(start + 4)
        declared = int.from_bytes(file.read(4), "little") + 8
        # A writer that could not seek back leaves a huge number or zero.
        there = os.fstat(file.fileno()).st_size - start
        return seconds * max(1.0, declared / there) if declared < 0x7FFF_0000 else None
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    duration = decoder.container.duration
    return duration / 1e6 if duration is not None else None


def _has_mp3_length(file: BufferedReader, start: int) -> bool:
    """Whether an MP3's first frame, after its ID3 tag at `start`, declares the number of frames."""
    file.seek(start)
    head = file.read(10)
    tag = 0
    if head[:3] == b"ID3":  # its size is four bytes of seven bits each
        tag = 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    file.seek(start + tag)
    first_frame = file.read(200)
    return any(mark in first_frame for mark in (b"Xing", b"Info", b"VBRI"))


def cautions(decoder: StreamDecoder, seconds: float, declared: float | None) -> Iterator[Caution]:
    """Say what is missing of the sound, in seconds if the file declares how much there is."""
    # Many good MP3s have one undecodable packet at the very end: a tag or padding.
    junk_at_end = (
        decoder.stream.codec_context.name.startswith("mp3") and decoder.invalid == 1 and not decoder.interrupted
    )
    # FLAC and PCM declare exact samples. Other formats round to frames and skip the encoder's lead-in.
    exact = decoder.container.format.name in ("flac", "wav", "aiff")
    if declared is not None and seconds < (declared - 0.05 if exact else 0.98 * declared - 0.5):
        message = f"parts of the file are missing or damaged: {seconds:.1f} of {declared:.1f} seconds could be read"
        yield Caution(code="damaged_audio", message=message)
    elif decoder.invalid and not junk_at_end:
        yield Caution(code="damaged_audio", message="parts of the file could not be decoded and were left out")
