"""Open an upload under the allow lists of `formats`, and choose its stream."""

from __future__ import annotations

from io import BufferedReader
from pathlib import Path

import av
from av.container import InputContainer

from speechpipe.contract.errors import ErrorCode, Rejected
from workers.audio.formats import opening, refusal
from workers.audio.protection import encrypted_streams

#: Limits for what a header claims. Beyond them one short frame could be resampled into gigabytes.
MIN_RATE, MAX_RATE = 2_000, 768_000
MAX_CHANNELS = 64


def open_container(path: Path, file: BufferedReader) -> InputContainer:
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


def audio_stream(container: InputContainer) -> av.AudioStream:
    """The stream to decode. Raises Rejected if there is none that can be."""
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
