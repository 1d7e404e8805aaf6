"""A decoded frame's samples as arrays, in any of FFmpeg's sample formats, without a copy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame

_TYPES: dict[str, type[np.generic]] = {
    "u8": np.uint8, "s16": np.int16, "s32": np.int32, "s64": np.int64, "flt": np.float32, "dbl": np.float64
}  # fmt: skip

_MOST_PLANES = 2


def planes(frame: AudioFrame) -> list[npt.NDArray[np.generic]]:
    """One writable array per channel; none if the sample format is a new one, or planar with more than two channels.

    PyAV counts planes up to a null pointer, which is not there behind eight of them, and goes on into other memory.
    """
    kind, channels = _TYPES.get(frame.format.name.removesuffix("p")), frame.layout.nb_channels
    if kind is None or (frame.format.is_planar and channels > _MOST_PLANES):
        return []
    if frame.format.is_planar:
        return [np.frombuffer(memoryview(plane), kind)[: frame.samples] for plane in frame.planes[:channels]]
    packed = np.frombuffer(memoryview(frame.planes[0]), kind)[: channels * frame.samples]
    return [packed[channel::channels] for channel in range(channels)]


def normal(samples: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Samples of any type as float32, -1 to 1."""
    if samples.dtype.kind == "f":
        with np.errstate(all="ignore"):  # damaged floats exceed any range
            return samples.astype(np.float32)
    full = float(2 ** (8 * samples.dtype.itemsize - 1))
    return (samples.astype(np.float32) - np.float32(full if samples.dtype.kind == "u" else 0)) / np.float32(full)


def energy(samples: npt.NDArray[np.float32]) -> float:
    """Mean square: 1 for a square wave at full scale. 0 where damaged floats are no numbers."""
    with np.errstate(all="ignore"):
        value = float(np.dot(samples, samples)) / max(1, len(samples))
    return value if np.isfinite(value) else 0.0
