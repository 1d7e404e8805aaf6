"""Decode one audio stream to blocks: skip invalid packets, count samples, resample, mix, and keep a player's time."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import av
import numpy as np
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import InputContainer

from speechpipe.contract.errors import ErrorCode, Rejected
from workers.audio.holes import Holes
from workers.audio.layouts import plain
from workers.audio.mixing import Mixer
from workers.audio.opening import MAX_CHANNELS, MAX_RATE, MIN_RATE
from workers.audio.samples import SAMPLE_RATE, Block
from workers.audio.timeline import Timeline

#: Limit on samples before resampling, as a rate: a forged high sample rate makes hours look like minutes.
RAW_RATE = 192_000

_BLOCK = 1 << 16  #: samples passed to the resampler at a time; one call per frame is slow
_MAX_STALLS = 100  #: consecutive demuxer errors after which the file counts as ended


class StreamDecoder:
    """Decodes one stream: counts its samples, skips invalid frames, resamples, mixes, and fills gaps with silence."""

    def __init__(
        self,
        container: InputContainer,
        stream: av.AudioStream,
        *,
        split: bool,
        max_seconds: float,
        sought: bool = False,
    ) -> None:
        """`sought`: decoding begins in the middle."""
        self.container, self.stream, self.split, self.max_seconds = container, stream, split, max_seconds
        self.sought = sought
        self.channels = self.rate = 0  # of the first frame; the header may say otherwise
        self.raw_samples = self.samples = 0  # per channel, before and after resampling
        self.invalid = self.interrupted = 0  # invalid packets, and how many of these come before a valid one
        #: Players count from the earliest track, which for FFmpeg is the container's start.
        self.origin = None if container.start_time is None else container.start_time / 1e6
        self.timeline = Timeline(self.origin, max_seconds)
        self.mixer = Mixer()
        self.holes = Holes(container.format.name)

    @property
    def format(self) -> str:
        """`container/codec`, such as `mp4/aac`."""
        names = self.container.format.name.split(",")
        return f"{'mp4' if 'mp4' in names else names[0]}/{self.stream.codec_context.name}"

    def blocks(self) -> Generator[Block]:
        """Yield int16 blocks of shape (channels, n) at 16 kHz. Raises Rejected(too_long)."""
        setup: tuple[str, int, int] | None = None
        fifo, resampler = AudioFifo(), AudioResampler()
        for frame in self._frames():
            if setup is None:
                self._begin(frame)
            now = (frame.format.name, frame.layout.nb_channels, frame.sample_rate)
            silence = self.timeline.silence_before(frame.time)
            if now != setup or silence:  # the first frame, a gap, or a chained stream with other parameters
                if setup is not None:
                    yield from self._resampled(fifo, resampler, flush=True)
                setup = now
                self._start(frame)
                fifo, resampler = AudioFifo(), AudioResampler("s16", self._layout(setup[1]), SAMPLE_RATE)
                yield from self._silence(silence)
            self.timeline.position += frame.samples / frame.sample_rate
            frame.pts = None  # the fifo refuses gaps
            fifo.write(frame)
            if fifo.samples >= _BLOCK:
                yield from self._resampled(fifo, resampler)
        if setup is not None:
            yield from self._resampled(fifo, resampler, flush=True)

    def _begin(self, frame: AudioFrame) -> None:
        """Count from the first frame's place, if decoding begins in the middle (`seeking`)."""
        if self.sought and frame.time is not None:
            self.timeline.position = max(0.0, frame.time - (self.origin or 0.0))
            self.samples = round(self.timeline.position * SAMPLE_RATE)

    def _start(self, frame: AudioFrame) -> None:
        channels = frame.layout.nb_channels
        if not MIN_RATE <= frame.sample_rate <= MAX_RATE or not 0 < channels <= MAX_CHANNELS:
            raise Rejected(ErrorCode.DECODE_FAILED, "the audio in the file is damaged beyond use")
        if not self.rate:
            self.channels, self.rate = channels, frame.sample_rate

    def _layout(self, channels: int) -> str:
        """The resampler's output for frames of so many channels: a mean by FFmpeg of two, all of more for the mixer."""
        if self.split:
            return plain(self.channels)
        return plain(channels) if channels > 2 else "mono"

    def _silence(self, seconds: float) -> Iterator[Block]:
        left = round(seconds * SAMPLE_RATE)
        while left:
            size = min(left, _BLOCK)
            yield self._counted(np.zeros((self.channels if self.split else 1, size), np.int16))
            left -= size

    def _resampled(self, fifo: AudioFifo, resampler: AudioResampler, *, flush: bool = False) -> Iterator[Block]:
        frames = [frame for frame in (fifo.read(0, partial=True),) if frame is not None]
        for frame in [*frames, None] if flush else frames:
            if frame is not None and frame.layout.nb_channels == 2 and not self.split:
                self.mixer.stereo(frame)
            try:
                converted = resampler.resample(frame)
            except (av.error.FFmpegError, ValueError):  # a damaged frame claims a layout that does not exist
                self.invalid += 1
                return
            for made in converted:
                block = made.to_ndarray().astype(np.int16, copy=False).reshape(-1, made.layout.nb_channels).T
                yield self._counted(self.mixer.many(block) if len(block) > 1 and not self.split else block)

    def _counted(self, block: Block) -> Block:
        self.samples += block.shape[1]
        if self.samples > self._max_samples(SAMPLE_RATE):
            raise too_long(self.max_seconds, self.channels if self.split else 1)
        return block

    def _frames(self) -> Iterator[AudioFrame]:
        bad_before = 0  # invalid packets since the last valid one
        for packet in self._packets():
            missing = self.holes.after(packet)
            try:
                frames = packet.decode()
            except (av.error.FFmpegError, UnicodeError):
                self.invalid += 1
                bad_before += 1
                frames = []
            for frame in frames:
                if not isinstance(frame, AudioFrame) or not frame.samples:
                    continue
                self.interrupted += bad_before
                bad_before = 0
                self.raw_samples += frame.samples
                if self.raw_samples > self._max_samples(RAW_RATE):
                    raise too_long(self.max_seconds, self.channels if self.split else 1)
                yield frame
            if missing:
                self.timeline.lost(missing)

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
