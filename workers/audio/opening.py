"""Open an upload under the allow lists of `formats`, and choose its stream."""

from __future__ import annotations

from collections.abc import Mapping
from io import BufferedReader, RawIOBase
from pathlib import Path

import av
from av.container import InputContainer

from speechpipe.contract.errors import ErrorCode, Rejected
from workers.audio.formats import opening, refusal
from workers.audio.layouts import take_layout
from workers.audio.protection import encrypted_streams

#: Limits for what a header claims. Beyond them one short frame could be resampled into gigabytes.
MIN_RATE, MAX_RATE = 2_000, 768_000
MAX_CHANNELS = 64


def open_container(
    path: Path, file: BufferedReader, source: RawIOBase | None = None, options: Mapping[str, str] | None = None
) -> InputContainer:
    """Open a file, or what is to be read in its place, under the allow lists.

    Error messages are our own, since FFmpeg's contain paths.
    """
    how = opening(path, file)
    try:
        # Tags in an unknown encoding are ignored, not fatal.
        container = av.open(
            source or how.url,
            mode="r",
            format=how.format,
            metadata_errors="ignore",
            options={**how.options, **(options or {})},
        )
    except (av.error.FFmpegError, ValueError):
        raise refusal(path, file) from None
    if message := encrypted_streams(container):
        container.close()
        raise Rejected(ErrorCode.UNSUPPORTED_FORMAT, message)
    return container


def check(stream: av.AudioStream) -> None:
    """Raise Rejected for a stream that no decoder can read, or whose header claims what is no sound."""
    try:
        rate = stream.codec_context.sample_rate
    except AttributeError:  # no decoder for this codec
        raise Rejected(
            ErrorCode.UNSUPPORTED_FORMAT, "the sound in this file is in a codec that cannot be read here"
        ) from None
    channels = take_layout(stream.codec_context)
    if rate and not MIN_RATE <= rate <= MAX_RATE:
        raise Rejected(ErrorCode.DECODE_FAILED, f"the file claims a sample rate of {rate} Hz: it is damaged")
    if channels > MAX_CHANNELS:
        message = f"the file has {channels} channels: at most {MAX_CHANNELS} can be read here"
        raise Rejected(ErrorCode.UNSUPPORTED_FORMAT, message)
