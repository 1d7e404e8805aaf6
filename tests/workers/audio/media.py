"""Media files for tests, made with PyAV: a tone in any container and codec. Also decodes whole recordings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from speechpipe.contract import Audio, Caution
from workers.audio.decoder import Samples, as_float
from workers.audio.reader import open_audio

RATE = 16_000


@dataclass(frozen=True)
class Decoded:
    samples: Samples
    audio: Audio
    cautions: tuple[Caution, ...]


def decode(path: Path, *, split: bool = False, max_seconds: float) -> Decoded:
    """Decode a whole recording in the decoder process."""
    with open_audio(path, split=split, max_seconds=max_seconds) as stream:
        samples = as_float(np.concatenate(list(stream), axis=1))
        return Decoded(samples, stream.audio, stream.cautions)


def tone(seconds: float, hertz: float = 440.0, rate: int = RATE) -> npt.NDArray[np.float32]:
    time = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def write_audio(
    path: Path,
    channels: list[npt.NDArray[np.float32]],
    *,
    codec: str,
    rate: int = RATE,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode channels of equal length, -1 to 1, into the container given by the file's extension."""
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(channels)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout, options=options or {})
        encode(container, stream, channels, layout, rate)
    return path


def write_video(path: Path, sound: npt.NDArray[np.float32] | None, *, seconds: float = 1.0) -> Path:
    """A small video, with or without audio."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mpeg4", rate=10)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("aac", rate=RATE, layout="mono") if sound is not None else None
        for number in range(round(seconds * 10)):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number * 20 % 256, np.uint8), format="rgb24")
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        if audio is not None and sound is not None:
            encode(container, audio, [sound], "mono", RATE)
    return path


def encode(container, stream, channels, layout, rate) -> None:  # type: ignore[no-untyped-def]
    resampler = av.AudioResampler(stream.format.name, layout, stream.rate)
    size = 1 << 16
    for start in range(0, len(channels[0]), size):
        block = np.stack([channel[start : start + size] for channel in channels])
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, None
        for made in resampler.resample(frame):
            container.mux(stream.encode(made))
    for made in resampler.resample(None):
        container.mux(stream.encode(made))
    container.mux(stream.encode(None))
