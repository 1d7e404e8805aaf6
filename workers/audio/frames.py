"""Decode one audio stream to blocks: skip invalid packets, count samples, resample, mix."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import av
import numpy as np
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import InputContainer

from speechpipe.contract.errors import ErrorCode, Rejected
from workers.audio.opening import MAX_CHANNELS, MAX_RATE, MIN_RATE
from workers.audio.samples import SAMPLE_RATE, Block

#: Limit on samples before resampling, as a rate: a forged high sample rate makes hours look like minutes.
RAW_RATE = 192_000

_BLOCK = 1 << 16  #: samples passed to the resampler at a time; one call per frame is slow
_MAX_STALLS = 100  #: consecutive demuxer errors after which the file counts as ended


class StreamDecoder:
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
                    raise too_long(self.max_seconds, self.channels if self.split else 1)
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
                    raise too_long(self.max_seconds, self.channels if self.split else 1)
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


def too_long(seconds: float, channels: int = 1) -> Rejected:
    """The rejection of a recording with more than `seconds`, and if it is split, of so many channels."""
    allowed = f"{seconds / 3600:.4g} hours" if seconds >= 3600 else f"{seconds:.4g} seconds"
    more = f" with {channels} separate channels" if channels > 2 else ""
    return Rejected(ErrorCode.TOO_LONG, f"the recording is too long{more}: at most {allowed} are allowed here")
