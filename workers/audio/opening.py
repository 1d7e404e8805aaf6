"""Open an upload under the allow lists, and say why one could not be opened."""

from __future__ import annotations

from collections.abc import Mapping
from io import BufferedReader, RawIOBase
from pathlib import Path

import av
from av.container import InputContainer

from speechpipe.contract.errors import ErrorCode, Rejected
from workers.audio.layouts import take_layout

#: Demuxers that may open an upload: no playlists, images, devices or anything else that opens a second file.
FORMATS = "wav,w64,mp3,flac,ogg,matroska,webm,mov,mp4,m4a,3gp,aac,amr,amrnb,amrwb,aiff,caf,asf,au,avi,flv,mpegts"
FORMAT_NAMES = (
    "WAV, MP3, FLAC, Ogg (Vorbis, Opus), M4A/AAC, MP4, MOV, WebM, Matroska, AMR, 3GP, AIFF, CAF, W64, WMA, AU, AVI, FLV"
    " or MPEG-TS"
)


def _decodes_audio(name: str) -> bool:
    try:
        return av.Codec(name, "r").type == "audio"
    except ValueError:  # an encoder without a decoder
        return False


#: Audio decoders only. To describe a video FFmpeg would run its picture decoders too: hundreds of thousands of lines of
#: code that we do not need.
_DECODERS = ",".join(sorted(filter(_decodes_audio, av.codecs_available)))

#: Limits for what a header claims. Beyond them one short frame could be resampled into gigabytes.
MIN_RATE, MAX_RATE = 2_000, 768_000
MAX_CHANNELS = 64
_IMAGE_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM")
#: Offset and first bytes of supported containers: a file that has them and cannot be opened is damaged.
_SIGNATURES = (
    (0, b"ID3"), (0, b"fLaC"), (0, b"OggS"), (0, b"\x1aE\xdf\xa3"), (0, b"#!AMR"), (0, b".snd"), (0, b"FLV"),
    (0, b"0&\xb2u\x8ef\xcf\x11"), (4, b"ftyp"), (8, b"WAVE"), (8, b"AVI "),
)  # fmt: skip


def open_container(
    path: Path, file: BufferedReader, source: RawIOBase | None = None, options: Mapping[str, str] | None = None
) -> InputContainer:
    """Open a file, or what is to be read in its place, under the allow lists.

    Error messages are our own, since FFmpeg's contain paths.
    """
    limits = {"format_whitelist": FORMATS, "protocol_whitelist": "file", "codec_whitelist": _DECODERS}
    # With `file:` a name like `concat:a|b` stays a file name. Tags in an unknown encoding are ignored, not fatal.
    what = source or f"file:{path.resolve()}"
    try:
        return av.open(what, mode="r", metadata_errors="ignore", options={**limits, **(options or {})})
    except (av.error.FFmpegError, ValueError):
        file.seek(0)
        raise _open_failure(file.read(16)) from None


def _open_failure(head: bytes) -> Rejected:
    """Say why a file with these first bytes could not be opened."""
    if head.startswith(_IMAGE_SIGNATURES) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP"):
        return Rejected(ErrorCode.NO_AUDIO_STREAM, "the file is a picture: there is no sound in it")
    if any(head[at:].startswith(mark) for at, mark in _SIGNATURES):
        return Rejected(ErrorCode.DECODE_FAILED, "the file is damaged or incomplete: nothing in it could be decoded")
    message = f"the file is not a recording that can be read: it must be {FORMAT_NAMES}"
    return Rejected(ErrorCode.UNSUPPORTED_FORMAT, message)


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
