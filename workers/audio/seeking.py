"""Begin to decode in the middle of a file, where its format says exactly what lies where."""

from __future__ import annotations

import itertools

import av
from av.container import InputContainer
from av.stream import Stream

#: Demuxers whose packet times are exact anywhere. In an MP3 or a raw AAC file FFmpeg computes them from a bit rate.
_EXACT = {"wav", "w64", "flac", "ogg", "matroska", "webm", "mov", "mp4", "aiff", "caf", "au", "wv", "tta"}
#: Seconds decoded before the place that is sought: decoders and resamplers need some sound until theirs is right.
_RUN_UP = 2.0
_PACKETS = 50  #: to look at, at most, for the first with a time


def begin_at(container: InputContainer, stream: Stream, seconds: float) -> bool:
    """Move a container so that decoding begins a little before a place of the recording; False if that is not exact.

    After False the container is of no more use: open it again, and decode from the beginning.
    """
    if not _EXACT & set(container.format.name.split(",")) or not stream.time_base:
        return False
    origin = (container.start_time or 0) / 1e6
    target = max(0.0, seconds - _RUN_UP)
    try:
        place = round((origin + target) / stream.time_base)
        container.seek(place, stream=stream)
        packets = itertools.islice(container.demux(stream), _PACKETS)
        first = next((packet.pts for packet in packets if packet.pts is not None), None)
        if first is None or float(first * stream.time_base) - origin > target + 1e-3:
            return False
        container.seek(place, stream=stream)
    except (av.error.FFmpegError, IndexError):
        return False
    return True
