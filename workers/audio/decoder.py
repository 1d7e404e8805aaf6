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
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import InputContainer

from speechpipe.contract import Audio, Caution
from speechpipe.contract.errors import ErrorCode, Rejected
from workers.audio.formats import WITHOUT_LENGTH, opening, refusal, start_of
from workers.audio.protection import encrypted_streams
from workers.audio.waveform import WaveformBuilder

SAMPLE_RATE = 16_000  #: Hz, of all decoded audio: the rate that both engines expect

#: Limits for what a header claims. Beyond them one short frame could be resampled into gigabytes.
MIN_RATE, MAX_RATE = 2_000, 768_000
MAX_CHANNELS = 64
#: Limit on samples before resampling, as a rate: a forged high sample rate makes hours look like minutes.
RAW_RATE = 192_000

_BLOCK = 1 << 16  #: samples passed to the resampler at a time; one call per frame is slow
_MAX_STALLS = 100  #: consecutive demuxer errors after which the file counts as ended
_AFTER_SEEKING = 2000  #: packets to read, at most, from the index entry to the position sought
_MIN_SECONDS = 0.02  #: a file with less audio is not a recording

Block = npt.NDArray[np.int16]  #: shape (channels, samples), 16 kHz
Samples = npt.NDArray[np.float32]  #: the same shape, -1 to 1


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
        with _open(path, file) as container:
            if _declares_at_most(max_seconds, container):
                yield from _decoded(container, file, split=split, max_seconds=max_seconds)
                return
            if _has_packet_after(max_seconds, container):
                raise _too_long(max_seconds)
        with _open(path, file) as container:  # reopened, since seeking has changed its state
            yield from _decoded(container, file, split=split, max_seconds=max_seconds)


def _declares_at_most(seconds: float, container: InputContainer) -> bool:
    return container.duration is not None and container.duration / 1e6 <= 1.01 * seconds + 1


def _has_packet_after(seconds: float, container: InputContainer) -> bool:
    """Whether a file has a packet later than `seconds`, asked if its header declares too long a duration or none.

    If it has, nothing needs to be decoded and analysed first, for example hours of silence in a small file.
    """
    stream = _audio_stream(container)
    try:
        container.seek(round(seconds * 1e6))
        base, first = stream.time_base or 0, stream.start_time or 0
        times = (packet.pts for packet in itertools.islice(container.demux(stream), _AFTER_SEEKING))
        return any(time is not None and (time - first) * base > seconds for time in times)
    except (av.error.FFmpegError, IndexError):  # not every format supports seeking; see also `_StreamDecoder._packets`
        return False


def _decoded(
    container: InputContainer, file: BufferedReader, *, split: bool, max_seconds: float
) -> Generator[Head | Block | Facts]:
    decoder = _StreamDecoder(container, _audio_stream(container), split=split, max_seconds=max_seconds)
    yield Head(container.duration / 1e6 if container.duration else None)
    waveform = WaveformBuilder()
    with contextlib.closing(decoder.blocks()) as blocks:
        for block in blocks:
            waveform.add(block)
            yield block
    if decoder.samples < _MIN_SECONDS * SAMPLE_RATE:
        raise Rejected(ErrorCode.DECODE_FAILED, "the file holds no audio that can be decoded: empty or damaged")
    file.seek(0)
    audio = Audio(
        duration=decoder.samples / SAMPLE_RATE,
        channels=decoder.channels,
        sample_rate=decoder.rate,
        sha256=hashlib.file_digest(file, "sha256").hexdigest(),
        format=decoder.format,
        waveforms=waveform.waveforms(),
    )
    declared = _declared_seconds(decoder, audio.duration, file)
    yield Facts(audio, tuple(_cautions(decoder, audio.duration, declared)))


def _size(file: BufferedReader) -> int:
    return os.fstat(file.fileno()).st_size


def as_float(samples: Block) -> Samples:
    """Convert int16 samples to the float32 that models expect, -1 to 1, in the same shape."""
    return np.multiply(samples, np.float32(1 / 32768), dtype=np.float32)


def _open(path: Path, file: BufferedReader) -> InputContainer:
    """Open a file under the allow lists. Error messages are our own, since FFmpeg's contain paths."""
    how = opening(path, file)
    try:
        # Tags in an unknown encoding are ignored, not fatal.
        container = av.open(how.url, mode="r", format=how.format, metadata_errors="ignore", options=how.options)
    except (av.error.FFmpegError, ValueError):
        raise refusal(path, file) from None
    if message := encrypted_streams(container):
        container.close()
        raise Rejected(ErrorCode.UNSUPPORTED_FORMAT, message)
    return container


def _audio_stream(container: InputContainer) -> av.AudioStream:
    stream = container.streams.best("audio")
    if not isinstance(stream, av.AudioStream):
        raise Rejected(ErrorCode.NO_AUDIO_STREAM, "the file has no audio track")
    try:
        rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
    except AttributeError:  # no decoder for this codec
        raise Rejected(
            ErrorCode.UNSUPPORTED_FORMAT, "the sound in this file is in a codec that cannot be read here"
        ) from None
    if rate and not MIN_RATE <= rate <= MAX_RATE:
        raise Rejected(ErrorCode.DECODE_FAILED, f"the file claims a sample rate of {rate} Hz: it is damaged")
    if channels > MAX_CHANNELS:
        raise Rejected(ErrorCode.DECODE_FAILED, f"the file claims {channels} channels: it is damaged")
    return stream


class _StreamDecoder:
    """Decodes one stream: counts its samples, skips invalid frames, and resamples."""

    def __init__(self, container: InputContainer, stream: av.AudioStream, *, split: bool, max_seconds: float) -> None:
        self.container, self.stream, self.split, self.max_seconds = container, stream, split, max_seconds
        self.channels = self.rate = 0  # of the first frame; the header may say otherwise
        self.layout = "mono"
        self.raw_samples = self.samples = 0  # per channel, before and after resampling
        self.invalid = self.interrupted = 0  # invalid packets, and how many of these come before a valid one

    @property
    def format(self) -> str:
        """`container/codec`, such as `mp4/aac`."""
        names = self.container.format.name.split(",")
        return f"{'mp4' if 'mp4' in names else names[0]}/{self.stream.codec_context.name}"

    def blocks(self) -> Generator[Block]:
        """Yield int16 blocks of shape (channels, n) at 16 kHz. Raises Rejected(too_long)."""
        setup: tuple[str, str, int] | None = None
        fifo, resampler = AudioFifo(), AudioResampler()
        for frame in self._frames():
            now = (frame.format.name, frame.layout.name, frame.sample_rate)
            if now != setup:  # the first frame, or a chained stream continues with other parameters
                if setup is not None:
                    yield from self._resampled(fifo, resampler, flush=True)
                setup = now
                self._start(frame)
                fifo, resampler = AudioFifo(), AudioResampler("s16", self.layout, SAMPLE_RATE)
            frame.pts = None  # the fifo refuses gaps
            fifo.write(frame)
            if fifo.samples >= _BLOCK:
                yield from self._resampled(fifo, resampler)
        if setup is not None:
            yield from self._resampled(fifo, resampler, flush=True)

    def _start(self, frame: AudioFrame) -> None:
        if not MIN_RATE <= frame.sample_rate <= MAX_RATE or frame.layout.nb_channels > MAX_CHANNELS:
            raise Rejected(ErrorCode.DECODE_FAILED, "the audio in the file is damaged beyond use")
        if not self.rate:
            self.channels, self.rate = frame.layout.nb_channels, frame.sample_rate
            self.layout = frame.layout.name if self.split else "mono"

    def _resampled(self, fifo: AudioFifo, resampler: AudioResampler, *, flush: bool = False) -> Iterator[Block]:
        frames = [frame for frame in (fifo.read(0, partial=True),) if frame is not None]
        for frame in [*frames, None] if flush else frames:
            try:
                converted = resampler.resample(frame)
            except (av.error.FFmpegError, ValueError):  # a damaged frame claims a layout that does not exist
                self.invalid += 1
                return
            for made in converted:
                block = made.to_ndarray().astype(np.int16, copy=False).reshape(-1, made.layout.nb_channels).T
                self.samples += block.shape[1]
                if self.samples > self._max_samples(SAMPLE_RATE):
                    raise _too_long(self.max_seconds, self.channels if self.split else 1)
                yield block

    def _frames(self) -> Iterator[AudioFrame]:
        bad_before = 0  # invalid packets since the last valid one
        for packet in self._packets():
            try:
                frames = packet.decode()
            except (av.error.FFmpegError, UnicodeError):
                self.invalid += 1
                bad_before += 1
                continue
            for frame in frames:
                if not isinstance(frame, AudioFrame) or not frame.samples:
                    continue
                self.interrupted += bad_before
                bad_before = 0
                self.raw_samples += frame.samples
                if self.raw_samples > self._max_samples(RAW_RATE):
                    raise _too_long(self.max_seconds, self.channels if self.split else 1)
                yield frame

    def _packets(self) -> Iterator[av.Packet[av.AudioStream]]:
        """Yield packets up to the end. After a demuxer error, continue with what can still be read."""
        stalls = 0
        while stalls < _MAX_STALLS:
            try:
                for packet in self.container.demux(self.stream):
                    stalls = 0
                    yield packet
                return
            except av.error.FFmpegError:
                self.invalid += 1
                stalls += 1
            except IndexError:  # from PyAV, for a packet of a stream added after the header: not our stream, skip it
                continue

    def _max_samples(self, rate: int) -> float:
        seconds = self.max_seconds
        if self.split and self.channels > 2:
            seconds *= 2 / self.channels  # the limit is on all channels together
        return seconds * rate


def _too_long(seconds: float, channels: int = 1) -> Rejected:
    allowed = f"{seconds / 3600:.4g} hours" if seconds >= 3600 else f"{seconds:.4g} seconds"
    more = f" with {channels} separate channels" if channels > 2 else ""
    return Rejected(ErrorCode.TOO_LONG, f"the recording is too long{more}: at most {allowed} are allowed here")


def _declared_seconds(decoder: _StreamDecoder, seconds: float, file: BufferedReader) -> float | None:
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
        return seconds * max(1.0, declared / (_size(file) - start)) if declared < 0x7FFF_0000 else None
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


def _cautions(decoder: _StreamDecoder, seconds: float, declared: float | None) -> Iterator[Caution]:
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
