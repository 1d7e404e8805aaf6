"""Files as odd recorders write them: channel orders of their own, tracks that begin late, holes, several tracks."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from tests.workers.audio.media import RATE

Sound = npt.NDArray[np.float32]
LEFT, RIGHT, CENTER, LFE, LEFT_SURROUND, RIGHT_SURROUND, UNUSED = 1, 2, 3, 4, 5, 6, 0  #: Core Audio's channel labels


def write_caf(path: Path, channels: Sequence[Sound], labels: Sequence[int]) -> Path:
    """A CAF with a label for each channel, as QuickTime and Logic write them."""
    samples = (np.stack(channels, axis=1) * 32767).astype(">i2").tobytes()
    count = len(channels)
    description = struct.pack(">d4sIIIII", RATE, b"lpcm", 0, 2 * count, 1, count, 16)
    layout = struct.pack(">III", 0, 0, count) + b"".join(struct.pack(">II3f", label, 0, 0, 0, 0) for label in labels)
    chunks = ((b"desc", description), (b"chan", layout), (b"data", bytes(4) + samples))
    path.write_bytes(b"caff\0\1\0\0" + b"".join(name + struct.pack(">q", len(body)) + body for name, body in chunks))
    return path


def write_tracks(
    path: Path,
    tracks: Sequence[Sound],
    *,
    codec: str,
    picture: float = 0.0,
    moved: Callable[[float], float] = lambda time: time,
    languages: Sequence[str] = (),
    defaults: Sequence[bool] = (),
) -> Path:
    """Mono tracks in one file, after `picture` seconds of video if any.

    `moved` gives the time, in seconds, of a packet that belongs at a time.
    """
    with av.open(str(path), "w") as container:
        if picture:
            video = container.add_stream("mpeg4", rate=10)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        streams: list[Any] = [container.add_stream(codec, rate=RATE, layout="mono") for _ in tracks]
        for stream, language in zip(streams, languages, strict=False):
            stream.metadata["language"] = language
        for stream, default in zip(streams, defaults, strict=False):
            stream.disposition = av.stream.Disposition.default if default else av.stream.Disposition(0)
        if picture:
            for number in range(round(picture * 10)):
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number % 256, np.uint8), format="rgb24")
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        packets = [one for stream, sound in zip(streams, tracks, strict=True) for one in _encoded(stream, sound)]
        for time, packet in sorted(packets, key=lambda timed: timed[0]):
            assert packet.time_base
            packet.pts = packet.dts = round(moved(time) / packet.time_base)
            container.mux(packet)
    return path


def _encoded(stream: av.AudioStream, sound: Sound) -> list[tuple[float, av.Packet[av.AudioStream]]]:
    """Packets with their times, in seconds."""
    resampler = av.AudioResampler(stream.format.name, "mono", stream.rate)
    frames = []
    for start in range(0, len(sound), RATE // 50):
        block = np.ascontiguousarray(sound[np.newaxis, start : start + RATE // 50])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = RATE, start
        frames += resampler.resample(frame)
    frames += resampler.resample(None)
    packets = [packet for frame in [*frames, None] for packet in stream.encode(frame)]
    return [(float(one.pts * one.time_base), one) for one in packets if one.pts is not None and one.time_base]


def begins(samples: npt.NDArray[np.float32], *, after: float = 0.0) -> float:
    """When the first sound after a time begins, in seconds."""
    start = round(after * RATE)
    return (start + int(np.argmax(np.abs(samples[0, start:]) > 0.05))) / RATE
