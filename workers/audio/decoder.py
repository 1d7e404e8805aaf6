"""Decode untrusted media with PyAV, under limits: any uploaded file in, int16 samples at 16 kHz out.

Uploads come from strangers, so nothing that a file says about itself is trusted. Container formats and protocols are
limited to a list, because a text file named .wav can be an ffconcat playlist that opens *other* files. Samples are
counted while they are decoded, because 2 h of silence fit into a FLAC of 1.3 MB and a forged sample rate falsifies any
declared duration. Invalid frames are skipped, but not the rest of the file (faster-whisper's own decoder stops at the
first).

`decode_stream` runs in a separate, limited process (`decoder_process`). Workers call `reader.open_audio`.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
from collections.abc import Generator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import av
from av.container import InputContainer

from speechpipe.contract import Audio, Caution
from speechpipe.contract.errors import ErrorCode, Rejected
from workers.audio.declared import cautions, declared_seconds
from workers.audio.frames import StreamDecoder, too_long
from workers.audio.opening import MAX_CHANNELS, audio_stream, open_container
from workers.audio.samples import SAMPLE_RATE, Block, Samples, as_float
from workers.audio.waveform import WaveformBuilder

__all__ = ["MAX_CHANNELS", "SAMPLE_RATE", "Block", "Facts", "Head", "Samples", "as_float", "decode_stream"]


_AFTER_SEEKING = 2000  #: packets to read, at most, from the index entry to the position sought
_MIN_SECONDS = 0.02  #: a file with less audio is not a recording


@dataclass(frozen=True)
class Head:
    """What is known of a recording before decoding starts."""

    expected_seconds: float | None  #: as claimed by its header


@dataclass(frozen=True)
class Facts:
    """What is known of a recording after decoding it all."""

    audio: Audio
    cautions: tuple[Caution, ...] = ()


def decode_stream(path: Path, *, split: bool = False, max_seconds: float) -> Generator[Head | Block | Facts]:
    """Decode a file's best audio stream to 16 kHz int16, mixed down to mono or with its channels kept apart (`split`).

    Yields one Head, then blocks of shape (channels, n) as they are decoded, then Facts.

    Raises Rejected with empty_object, unsupported_format (not recognised or not on the list), no_audio_stream (a
    picture, a silent video), decode_failed (no samples) or too_long (more than `max_seconds`; with `split` all channels
    together may have twice that). too_long is raised immediately if a packet far into the file shows it, else when the
    decoded samples exceed the limit.
    """
    # Kept open throughout: with FFmpeg's own descriptor, it uses up what the limited process may open.
    with path.open("rb") as file:
        if _size(file) == 0:
            raise Rejected(ErrorCode.EMPTY_OBJECT, "the file is empty (0 bytes)")
        with open_container(path, file) as container:
            if _declares_at_most(max_seconds, container):
                yield from _decoded(container, file, split=split, max_seconds=max_seconds)
                return
            if _has_packet_after(max_seconds, container):
                raise too_long(max_seconds)
        with open_container(path, file) as container:  # reopened, since seeking has changed its state
            yield from _decoded(container, file, split=split, max_seconds=max_seconds)


def _declares_at_most(seconds: float, container: InputContainer) -> bool:
    return container.duration is not None and container.duration / 1e6 <= 1.01 * seconds + 1


def _has_packet_after(seconds: float, container: InputContainer) -> bool:
    """Whether a file has a packet later than `seconds`, asked if its header declares too long a duration or none.

    If it has, nothing needs to be decoded and analysed first, for example hours of silence in a small file.
    """
    stream = audio_stream(container)
    try:
        container.seek(round(seconds * 1e6))
        base, first = stream.time_base or 0, stream.start_time or 0
        times = (packet.pts for packet in itertools.islice(container.demux(stream), _AFTER_SEEKING))
        return any(time is not None and (time - first) * base > seconds for time in times)
    except (av.error.FFmpegError, IndexError):  # not every format supports seeking; see also `StreamDecoder._packets`
        return False


def _decoded(
    container: InputContainer, file: BufferedReader, *, split: bool, max_seconds: float
) -> Generator[Head | Block | Facts]:
    decoder = StreamDecoder(container, audio_stream(container), split=split, max_seconds=max_seconds)
    yield Head(container.duration / 1e6 if container.duration else None)
    waveform = WaveformBuilder()
    with contextlib.closing(decoder.blocks()) as blocks:
        for block in blocks:
            waveform.add(block)
            yield block
    if decoder.samples < _MIN_SECONDS * SAMPLE_RATE:
        raise Rejected(ErrorCode.DECODE_FAILED, "the file holds no audio that can be decoded: empty or damaged")
    duration = decoder.samples / SAMPLE_RATE
    declared = declared_seconds(decoder, duration, file)
    file.seek(0)
    audio = Audio(
        duration=duration,
        channels=decoder.channels,
        sample_rate=decoder.rate,
        sha256=hashlib.file_digest(file, "sha256").hexdigest(),
        format=decoder.format,
        length_in_header=declared is not None,
        waveforms=waveform.waveforms(),
    )
    yield Facts(audio, tuple(cautions(decoder, audio.duration, declared)))


def _size(file: BufferedReader) -> int:
    return os.fstat(file.fileno()).st_size
