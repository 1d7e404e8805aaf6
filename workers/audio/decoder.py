"""Hostile media in, samples out: whatever people upload, decoded with PyAV under limits.

A recording comes from a stranger, so nothing that it says about itself is believed: container and protocol are on a
list (a text file named .wav can be an ffconcat playlist that opens *other* files), samples are counted while they are
decoded (2 h of silence is a FLAC of 1.3 MB, and a forged sample rate makes any declared duration a lie), and invalid
frames are skipped, not the rest of the file (faster-whisper's own decoder stops at the first).

`stream` runs in a limited process of its own (`decoding`); what a worker calls is `preparation.prepare`.
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
from av.audio.stream import AudioStream
from av.container import InputContainer

from speechpipe.contract import Audio, Caution
from speechpipe.contract.errors import ErrorCode, Rejected
from workers.audio.waveform import Outline

SAMPLE_RATE = 16_000  #: Hz, of everything that comes out; both engines want it

#: Demuxers that may open an upload. No playlist, no image, no device, nothing that opens a second file.
FORMATS = "wav,w64,mp3,flac,ogg,matroska,webm,mov,mp4,m4a,3gp,aac,amr,amrnb,amrwb,aiff,caf,asf,au,avi,flv,mpegts"
FORMAT_NAMES = (
    "WAV, MP3, FLAC, Ogg (Vorbis, Opus), M4A/AAC, MP4, MOV, WebM, Matroska, AMR, 3GP, AIFF, CAF, W64, WMA, AU, AVI, FLV"
    " or MPEG-TS"
)


def _decodes_sound(name: str) -> bool:
    try:
        return av.Codec(name, "r").type == "audio"
    except ValueError:  # an encoder alone
        return False


#: FFmpeg would try the pictures of a video too, to say what they are: hundreds of thousands of lines for nothing.
_DECODERS = ",".join(sorted(filter(_decodes_sound, av.codecs_available)))

#: What a header may claim. Outside, one short frame could be resampled into gigabytes.
MIN_RATE, MAX_RATE = 2_000, 768_000
MAX_CHANNELS = 64
#: Cap on samples before resampling, as a rate: a forged high rate makes hours look like minutes.
RAW_RATE = 192_000

_BLOCK = 1 << 16  #: samples given to the resampler at a time; one call a frame is slow
_MAX_STALLS = 100  #: demuxer errors in a row after which the file is taken to have ended
_AFTER_SEEKING = 2000  #: packets between an index entry and what was sought, at most
_SOME_AUDIO = 0.02  #: seconds; less is no recording
_IMAGES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM")
#: First bytes of containers on the list, with their place: a file that has them and does not open is damaged.
_KNOWN = (
    (0, b"ID3"), (0, b"fLaC"), (0, b"OggS"), (0, b"\x1aE\xdf\xa3"), (0, b"#!AMR"), (0, b".snd"), (0, b"FLV"),
    (0, b"0&\xb2u\x8ef\xcf\x11"), (4, b"ftyp"), (8, b"WAVE"), (8, b"AVI "),
)  # fmt: skip

Block = npt.NDArray[np.int16]  #: shape (channels, samples), 16 kHz
Samples = npt.NDArray[np.float32]  #: the same, -1 to 1


@dataclass(frozen=True)
class Head:
    """What is known of a recording before anything of it is decoded."""

    expected_seconds: float | None  #: by its header: a claim


@dataclass(frozen=True)
class Facts:
    """What is known of a recording once all of it is decoded."""

    audio: Audio
    cautions: tuple[Caution, ...] = ()


def stream(path: Path, *, split: bool = False, max_seconds: float) -> Generator[Head | Block | Facts]:
    """Decode the best audio stream of a file to 16 kHz int16: mixed to mono, or each channel on its own.

    Yields one Head, then blocks of shape (channels, n) as they are decoded, then Facts.

    Raises Rejected: empty_object, unsupported_format (not recognised or not on the list), no_audio_stream (a picture, a
    silent video), decode_failed (no samples in it), too_long (more than `max_seconds`: at once where a packet far
    into the file says so, else counted while decoding; with `split` the channels together may hold twice that).
    """
    # Open all the time: with FFmpeg's own there is then no file left that a limited process may open (`decoding`).
    with path.open("rb") as file:
        if _size(file) == 0:
            raise Rejected(ErrorCode.EMPTY_OBJECT, "the file is empty (0 bytes)")
        with _open(path, file) as container:
            if _claims_at_most(max_seconds, container):
                yield from _decoded(container, file, split=split, max_seconds=max_seconds)
                return
            if _reaches(max_seconds, container):
                raise _too_long(max_seconds)
        with _open(path, file) as container:  # afresh, as if nobody had sought in it
            yield from _decoded(container, file, split=split, max_seconds=max_seconds)


def _claims_at_most(seconds: float, container: InputContainer) -> bool:
    return container.duration is not None and container.duration / 1e6 <= 1.01 * seconds + 1


def _reaches(seconds: float, container: InputContainer) -> bool:
    """Whether a file goes on after so many seconds, as its header says or does not say: a packet that belongs there.

    Saves decoding and analysing all before it, hours of silence in a small file for one.
    """
    stream = _audio_stream(container)
    try:
        container.seek(round(seconds * 1e6))
        base, first = stream.time_base or 0, stream.start_time or 0
        places = (packet.pts for packet in itertools.islice(container.demux(stream), _AFTER_SEEKING))
        return any(place is not None and (place - first) * base > seconds for place in places)
    except (av.error.FFmpegError, IndexError):  # not every format can be sought in; see also `_Reader._packets`
        return False


def _decoded(
    container: InputContainer, file: BufferedReader, *, split: bool, max_seconds: float
) -> Generator[Head | Block | Facts]:
    reader = _Reader(container, _audio_stream(container), split=split, max_seconds=max_seconds)
    yield Head(container.duration / 1e6 if container.duration else None)
    outline = Outline()
    with contextlib.closing(reader.blocks()) as blocks:
        for block in blocks:
            outline.add(block)
            yield block
    if reader.made < _SOME_AUDIO * SAMPLE_RATE:
        raise Rejected(ErrorCode.DECODE_FAILED, "the file holds no audio that can be decoded: empty or damaged")
    file.seek(0)
    audio = Audio(
        duration=reader.made / SAMPLE_RATE,
        channels=reader.channels,
        sample_rate=reader.rate,
        sha256=hashlib.file_digest(file, "sha256").hexdigest(),
        format=reader.format,
        waveforms=outline.waveforms(),
    )
    declared = _declared_seconds(reader, audio.duration, file)
    yield Facts(audio, tuple(_cautions(reader, audio.duration, declared)))


def _size(file: BufferedReader) -> int:
    return os.fstat(file.fileno()).st_size


def as_float(samples: Block) -> Samples:
    """int16 as the float32 that models want, -1 to 1, of the same shape."""
    return np.multiply(samples, np.float32(1 / 32768), dtype=np.float32)


def _open(path: Path, file: BufferedReader) -> InputContainer:
    """Open under the white lists. Text for the user is ours alone: FFmpeg's messages hold paths."""
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file", "codec_whitelist": _DECODERS}
    try:
        # `file:` keeps a name like `concat:a|b` a name. Tags in any encoding are ignored, not fatal.
        return av.open(f"file:{path.resolve()}", mode="r", metadata_errors="ignore", options=options)
    except (av.error.FFmpegError, ValueError):
        raise _unopened(file.read(16)) from None


def _unopened(head: bytes) -> Rejected:
    """Say why a file that starts so could not be opened."""
    if head.startswith(_IMAGES) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP"):
        return Rejected(ErrorCode.NO_AUDIO_STREAM, "the file is a picture: there is no sound in it")
    if any(head[at:].startswith(mark) for at, mark in _KNOWN):
        return Rejected(ErrorCode.DECODE_FAILED, "the file is damaged or incomplete: nothing in it could be decoded")
    message = f"the file is not a recording that can be read: it must be {FORMAT_NAMES}"
    return Rejected(ErrorCode.UNSUPPORTED_FORMAT, message)


def _audio_stream(container: InputContainer) -> AudioStream:
    stream = container.streams.best("audio")
    if not isinstance(stream, AudioStream):
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


class _Reader:
    """Frames of one stream, counted, skipped where invalid, and resampled."""

    def __init__(self, container: InputContainer, stream: AudioStream, *, split: bool, max_seconds: float) -> None:
        self.container, self.stream, self.split, self.max_seconds = container, stream, split, max_seconds
        self.channels = self.rate = 0  # of the first frame: a header may say otherwise
        self.layout = "mono"
        self.raw = self.made = 0  # samples a channel, before and after resampling
        self.invalid = self.interrupted = 0  # invalid packets; of these, followed by good ones

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
            if now != setup:  # the first frame; or a chained stream goes on with other parameters
                if setup is not None:
                    yield from self._resampled(fifo, resampler, flush=True)
                setup = now
                self._begin(frame)
                fifo, resampler = AudioFifo(), AudioResampler("s16", self.layout, SAMPLE_RATE)
            frame.pts = None  # the fifo refuses gaps
            fifo.write(frame)
            if fifo.samples >= _BLOCK:
                yield from self._resampled(fifo, resampler)
        if setup is not None:
            yield from self._resampled(fifo, resampler, flush=True)

    def _begin(self, frame: AudioFrame) -> None:
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
            except (av.error.FFmpegError, ValueError):  # a damaged frame claimed a layout that does not exist
                self.invalid += 1
                return
            for made in converted:
                block = made.to_ndarray().astype(np.int16, copy=False).reshape(-1, made.layout.nb_channels).T
                self.made += block.shape[1]
                if self.made > self._cap(SAMPLE_RATE):
                    raise _too_long(self.max_seconds, self.channels if self.split else 1)
                yield block

    def _frames(self) -> Iterator[AudioFrame]:
        bad_before = 0  # invalid packets since the last good one
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
                self.raw += frame.samples
                if self.raw > self._cap(RAW_RATE):
                    raise _too_long(self.max_seconds, self.channels if self.split else 1)
                yield frame

    def _packets(self) -> Iterator[av.Packet[AudioStream]]:
        """Packets up to the end; a demuxer error costs what is unreadable, not the rest of the file."""
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
            except IndexError:  # PyAV's, for a packet of a stream that began after the header: it is read, and not ours
                continue

    def _cap(self, rate: int) -> float:
        seconds = self.max_seconds
        if self.split and self.channels > 2:
            seconds *= 2 / self.channels  # all channels together are held in memory
        return seconds * rate


def _too_long(seconds: float, channels: int = 1) -> Rejected:
    allowed = f"{seconds / 3600:.4g} hours" if seconds >= 3600 else f"{seconds:.4g} seconds"
    more = f" and {channels} separate channels" if channels > 2 else ""
    return Rejected(ErrorCode.TOO_LONG, f"the recording is too long{more}: at most {allowed} are allowed here")


def _declared_seconds(reader: _Reader, seconds: float, file: BufferedReader) -> float | None:
    """What the header says, where it says it and does not guess.

    FFmpeg guesses an MP3's duration from its size unless there is a Xing or Info header, AAC's and AMR's always, and it
    corrects a WAV's by the size of the file.
    """
    stream, name = reader.stream, reader.container.format.name
    if name in ("aac", "amr", "amrnb", "amrwb") or (name == "mp3" and not _has_mp3_length(file)):
        return None
    if name == "wav":
        file.seek(4)
        declared = int.from_bytes(file.read(4), "little") + 8
        # A writer that could not seek back leaves a huge number, or none.
        return seconds * max(1.0, declared / _size(file)) if declared < 0x7FFF_0000 else None
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    duration = reader.container.duration
    return duration / 1e6 if duration is not None else None


def _has_mp3_length(file: BufferedReader) -> bool:
    """Whether an MP3's first frame, behind its ID3 tag, says how many frames there are."""
    file.seek(0)
    head = file.read(10)
    tag = 0
    if head[:3] == b"ID3":  # its size: four bytes of seven bits
        tag = 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    file.seek(tag)
    first_frame = file.read(200)
    return any(mark in first_frame for mark in (b"Xing", b"Info", b"VBRI"))


def _cautions(reader: _Reader, seconds: float, declared: float | None) -> Iterator[Caution]:
    # One undecodable packet at the very end of an MP3 is a tag or padding, as in many good files.
    junk_at_end = reader.stream.codec_context.name.startswith("mp3") and reader.invalid == 1 and not reader.interrupted
    # FLAC and PCM count samples; other formats round to frames and hide an encoder's lead-in.
    exact = reader.container.format.name in ("flac", "wav", "aiff")
    if declared is not None and seconds < (declared - 0.05 if exact else 0.98 * declared - 0.5):
        message = f"parts of the file are missing or damaged: {seconds:.1f} of {declared:.1f} seconds could be read"
        yield Caution(code="damaged_audio", message=message)
    elif reader.invalid and not junk_at_end:
        yield Caution(code="damaged_audio", message="parts of the file could not be decoded and were left out")
