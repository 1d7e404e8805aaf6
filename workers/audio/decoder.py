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
import math
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import av
from av.container import InputContainer

from speechpipe.contract import Audio, Caution
from speechpipe.contract.errors import ErrorCode, Rejected
from workers.audio.declared import cautions, declared_seconds
from workers.audio.frames import StreamDecoder, too_long
from workers.audio.opening import MAX_CHANNELS, check, open_container
from workers.audio.samples import SAMPLE_RATE, Block, Samples, as_float
from workers.audio.seeking import begin_at
from workers.audio.timeline import MAX_GAP
from workers.audio.tracks import Choice, choose
from workers.audio.wav import Repair, repair
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


def decode_stream(
    path: Path,
    *,
    split: bool = False,
    max_seconds: float,
    track: int | None = None,
    language: str | None = None,
    start: int = 0,
    stop: int | None = None,
) -> Generator[Head | Block | Facts]:
    """Decode a file's best sound track to 16 kHz int16, mixed down to mono or with its channels kept apart (`split`).

    Yields one Head, then blocks of shape (channels, n) as they are decoded, then Facts. Times are those of a player:
    silence stands where the file has none. `track` chooses a track, from 1; `language` is a hint for that choice.
    `start` and `stop` are samples of the recording: what lies before and behind is left out, and is not even read where
    the format allows that (`seeking`). Facts are then of what was decoded.

    Raises Rejected with empty_object, unsupported_format (not recognised or not on the list), no_audio_stream (a
    picture, a silent video), invalid_option (no such track), decode_failed (no samples) or too_long (more than
    `max_seconds`; with `split` all channels together may have twice that). too_long is raised immediately if a packet
    far into the file shows it, else when the decoded samples exceed the limit.
    """
    # Kept open throughout: with FFmpeg's own descriptor, it uses up what the limited process may open.
    with path.open("rb") as file:
        if _size(file) == 0:
            raise Rejected(ErrorCode.EMPTY_OBJECT, "the file is empty (0 bytes)")
        wav = repair(file) or Repair(None)
        job = _Job(file, wav.unread_seconds, split, max_seconds, start, stop)
        with open_container(path, file, wav.source) as container:
            choice = choose(container, wanted=track, language=language)
            options = _options(container, choice)
            whole = options is None and _declares_at_most(max_seconds, container)
            if whole and not choice.disturbed and not start:
                yield from _decoded(container, choice, job)
                return
            if not whole and _has_packet_after(max_seconds, container, choice):
                raise too_long(max_seconds)
        with open_container(path, file, wav.source, options) as container:  # again, since seeking changed its state
            if not start or begin_at(container, container.streams[choice.index], start / SAMPLE_RATE):
                yield from _decoded(container, choice, job, sought=bool(start))
                return
        with open_container(path, file, wav.source, options) as container:
            yield from _decoded(container, choice, job)


@dataclass(frozen=True)
class _Job:
    file: BufferedReader
    unread_seconds: float  #: of sound that is there and cannot be read
    split: bool
    max_seconds: float
    start: int  #: in samples
    stop: int | None


def _options(container: InputContainer, choice: Choice) -> dict[str, str] | None:
    """How to open an MP4 whose edit list says that nothing is to be played: with its sound at its place."""
    stream = container.streams[choice.index]
    empty = "mp4" in container.format.name and not container.duration and stream.duration == 0
    return {"advanced_editlist": "0"} if empty else None


def _declares_at_most(seconds: float, container: InputContainer) -> bool:
    return container.duration is not None and container.duration / 1e6 <= 1.01 * seconds + 1


def _has_packet_after(seconds: float, container: InputContainer, choice: Choice) -> bool:
    """Whether a file has a packet later than `seconds`, asked if its header declares too long a duration or none.

    If it has, nothing needs to be decoded and analysed first, for example hours of silence in a small file. A packet
    that is more than MAX_GAP later says nothing: the clock has jumped.
    """
    stream = container.streams[choice.index]
    try:
        container.seek(round(seconds * 1e6))
        base, origin = stream.time_base or 0, (container.start_time or 0) / 1e6
        packets = itertools.islice(container.demux(stream), _AFTER_SEEKING)
        times = (float(packet.pts * base) - origin for packet in packets if packet.pts is not None)
        return next((time for time in times if time > seconds), math.inf) <= seconds + MAX_GAP
    except (av.error.FFmpegError, IndexError):  # not every format supports seeking; see also `StreamDecoder._packets`
        return False


def _decoded(
    container: InputContainer, choice: Choice, job: _Job, *, sought: bool = False
) -> Generator[Head | Block | Facts]:
    stream = container.streams[choice.index]
    assert isinstance(stream, av.AudioStream)
    check(stream)
    decoder = StreamDecoder(container, stream, split=job.split, max_seconds=job.max_seconds, sought=sought)
    yield Head(container.duration / 1e6 if container.duration else None)
    waveform = WaveformBuilder()
    with contextlib.closing(decoder.blocks()) as blocks:
        for block in _within(blocks, decoder, job):
            waveform.add(block)
            yield block
    if not decoder.channels or (job.stop is None and decoder.samples < _MIN_SECONDS * SAMPLE_RATE):
        raise Rejected(ErrorCode.DECODE_FAILED, "the file holds no audio that can be decoded: empty or damaged")
    duration = decoder.samples / SAMPLE_RATE
    # What the header says of the end is not known to be wrong before that has been reached.
    declared = declared_seconds(decoder, duration, job.file) if job.stop is None else None
    job.file.seek(0)
    audio = Audio(
        duration=duration,
        channels=decoder.channels,
        sample_rate=decoder.rate,
        sha256="" if job.start else hashlib.file_digest(job.file, "sha256").hexdigest(),  # once for all parts
        format=decoder.format,
        length_in_header=declared is not None,
        waveforms=waveform.waveforms(),
    )
    if job.stop is not None:
        yield Facts(audio, (choice.caution,) if choice.caution else ())
        return
    found = cautions(decoder, audio.duration, declared, job.unread_seconds)
    yield Facts(audio, (*found, *((choice.caution,) if choice.caution else ())))


def _within(blocks: Iterator[Block], decoder: StreamDecoder, job: _Job) -> Iterator[Block]:
    """The samples of the stretch that is wanted."""
    for block in blocks:
        first = decoder.samples - block.shape[1]
        kept = block[:, max(0, job.start - first) : None if job.stop is None else max(0, job.stop - first)]
        if kept.shape[1]:
            yield kept
        if job.stop is not None and decoder.samples >= job.stop:
            return


def _size(file: BufferedReader) -> int:
    return os.fstat(file.fileno()).st_size
