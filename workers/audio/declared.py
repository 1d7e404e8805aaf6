"""What a file declares of its sound, against what could be read of it: the decoder's cautions."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from io import BufferedReader

from speechpipe.contract import Caution
from workers.audio.formats import WITHOUT_LENGTH, start_of
from workers.audio.frames import StreamDecoder
from workers.audio.timeline import MIN_GAP

_ROWS = ("wav", "w64", "aiff", "au", "caf", "mp3", "flac", "aac", "amr", "amrnb", "amrwb")  #: frame after frame
_TAGGED = re.compile(r"(\d{1,4}):(\d\d):(\d\d(?:\.\d{1,9})?)$", re.ASCII)  # Matroska's tag of a track's end
_WORTH_SAYING = 1.0  #: seconds of silence in pauses
_MOST_PLACES = 10


def declared_seconds(decoder: StreamDecoder, seconds: float, file: BufferedReader) -> float | None:
    """The duration that the header declares; None if it declares none and FFmpeg only estimates it.

    FFmpeg estimates the duration of every raw AAC, AC-3 and AMR file from its size, and that of an MP3 without a Xing
    or Info header. For a WAV it corrects the declared duration by the size of the file, so that one is read here.
    """
    stream, name = decoder.stream, decoder.container.format.name
    start = start_of(file)
    if name in WITHOUT_LENGTH or (name == "mp3" and not _has_mp3_length(file, start)):
        return None
    if name == "wav":
        file.seek(start + 4)
        declared = int.from_bytes(file.read(4), "little") + 8
        # A writer that could not seek back leaves a huge number or zero.
        there = os.fstat(file.fileno()).st_size - start
        return seconds * max(1.0, declared / there) if declared < 0x7FFF_0000 else None
    if stream.duration is not None and stream.time_base is not None:
        end = float(((stream.start_time or 0) + stream.duration) * stream.time_base)
        return end - (decoder.origin or 0.0)
    if (tagged := _TAGGED.match(stream.metadata.get("DURATION", ""))) is not None:
        hours, minutes, rest = tagged.groups()
        return 3600 * int(hours) + 60 * int(minutes) + float(rest) - (decoder.origin or 0.0)
    # A container's duration is that of its longest stream, perhaps a picture.
    duration = decoder.container.duration if len(decoder.container.streams) == 1 else None
    return duration / 1e6 if duration is not None else None


def _has_mp3_length(file: BufferedReader, start: int) -> bool:
    """Whether an MP3's first frame, after its ID3 tag at `start`, declares the number of frames."""
    file.seek(start)
    head = file.read(10)
    tag = 0
    if head[:3] == b"ID3":  # its size is four bytes of seven bits each
        tag = 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    file.seek(start + tag)
    first_frame = file.read(200)
    return any(mark in first_frame for mark in (b"Xing", b"Info", b"VBRI"))


def cautions(
    decoder: StreamDecoder, seconds: float, declared: float | None, unread_seconds: float
) -> Iterator[Caution]:
    """Say what is missing of the sound, in seconds if that is known, and what the decoder did about it."""
    timeline, name = decoder.timeline, decoder.container.format.name
    filled, jumped = timeline.filled_inside, sum(gap for _, gap in timeline.jumps)
    silence = sum(gap for _, gap in filled)
    # A pause is in the packet times of a format that has these. A format that is a row of frames has no pauses.
    lost = silence if name in _ROWS or decoder.holes.found or decoder.interrupted else 0.0
    if declared is not None:
        declared -= jumped
    damage = _damage(decoder, seconds, declared, unread_seconds, lost)
    if damage:
        yield Caution(code="damaged_audio", message=damage)
    if silence - lost >= _WORTH_SAYING:
        message = (
            f"the file has no sound at {_places(filled)}: {silence:.1f} seconds of silence were put there, so that"
            " times are those of a player"
        )
        yield Caution(code="silence_filled", message=message)
    if timeline.jumps:
        message = (
            f"the times in the file jump by {jumped:.0f} seconds at {_places(timeline.jumps)}: that was left out, so"
            " later times are earlier than in a player"
        )
        yield Caution(code="time_jump", message=message)
    if decoder.mixer.taken:
        share = decoder.mixer.taken / decoder.mixer.seen * seconds
        message = (
            f"the channels are out of phase: mixed, they cancel each other out for {share:.1f} of {seconds:.1f}"
            " seconds, so the louder one was taken there"
        )
        yield Caution(code="out_of_phase", message=message)


def _damage(
    decoder: StreamDecoder, seconds: float, declared: float | None, unread_seconds: float, lost: float
) -> str | None:
    # Many good MP3s have one undecodable packet at the very end: a tag or padding.
    junk_at_end = (
        decoder.stream.codec_context.name.startswith("mp3") and decoder.invalid == 1 and not decoder.interrupted
    )
    # FLAC and PCM declare exact samples. Other formats round to frames and skip the encoder's lead-in.
    exact = decoder.container.format.name in ("flac", "wav", "aiff")
    missing = declared is not None and seconds < (declared - 0.05 if exact else 0.98 * declared - 0.5)
    if unread_seconds or missing:
        total = seconds + unread_seconds if declared is None or not missing else declared + unread_seconds
        read = seconds - lost
        return f"parts of the file are missing or damaged: {read:.1f} of {total:.1f} seconds could be read"
    if lost >= MIN_GAP:
        where = _places(decoder.timeline.filled_inside)
        return f"parts of the file are damaged: silence takes the place of {lost:.1f} seconds, at {where}"
    if decoder.invalid and not junk_at_end:
        return "parts of the file could not be decoded and were left out"
    return None


def _places(gaps: list[tuple[float, float]]) -> str:
    named = ", ".join(f"{int(at) // 60}:{int(at) % 60:02}" for at, _ in gaps[:_MOST_PLACES])
    return named + (f" and {len(gaps) - _MOST_PLACES} more" if len(gaps) > _MOST_PLACES else "")
