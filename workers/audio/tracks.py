"""Choose which of a file's sound tracks to read: that with speech.

A screen recorder writes what the computer plays and what the microphone hears as two tracks, a film one for each
language. The tracks are listened to in a few places: a silent one is passed over, and a steady noise for one that comes
and goes, as speech does. Then the file's own mark of a default track decides, then the language, then which is louder.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import InputContainer
from av.stream import Disposition

from speechpipe.contract import Caution
from speechpipe.contract.errors import ErrorCode, Rejected
from workers.audio.layouts import plain
from workers.audio.opening import MAX_CHANNELS, check
from workers.audio.planes import energy, normal, planes

_PLACES = 40  #: in which tracks are listened to
_SECONDS = 3.0  #: in each place
_PACKETS = 3000  #: read at most in each place, of all tracks
_MOST = 16  #: tracks that are listened to, in the file's order
_SILENT = 1e-6  #: mean square (-60 dB) of the loud moments of a track in which there is nothing
_LIVELY = 10.0  #: loud moments of speech have this many times the energy of its pauses (10 dB)
_ASIDE = Disposition.comment | Disposition.hearing_impaired | Disposition.visual_impaired | Disposition.karaoke
_NAMED = 8  #: tracks in a caution


@dataclass(frozen=True)
class Choice:
    """The track to read."""

    index: int  #: of the stream in the file
    caution: Caution | None = None  #: names the other tracks
    disturbed: bool = False  #: the container has been read from, and has to be opened again


def choose(container: InputContainer, *, wanted: int | None, language: str | None) -> Choice:
    """Choose a sound track; `wanted` counts them from 1. Raises Rejected if there is none, or not that one."""
    tracks = [stream for stream in container.streams if isinstance(stream, av.AudioStream)]
    if not tracks:
        raise Rejected(ErrorCode.NO_AUDIO_STREAM, "the file has no audio track")
    if wanted is not None and not 1 <= wanted <= len(tracks):
        has = f"{len(tracks)} sound tracks" if len(tracks) > 1 else "one sound track"
        raise Rejected(ErrorCode.INVALID_OPTION, f"option 'track': given {wanted}, but the file has {has}")
    if wanted is not None or len(tracks) == 1:
        track = tracks[(wanted or 1) - 1]
        check(track)
        return Choice(track.index)
    usable = [track for track in tracks[:_MOST] if _usable(track)]
    if not usable:
        check(tracks[0])
    heard = _listen(container, usable) if len(usable) > 1 else {}
    best = max(usable, key=lambda track: _rank(track, heard.get(track.index, (0.0, 0.0)), language))
    return Choice(best.index, _caution(tracks, best, heard), disturbed=bool(heard))


def _usable(track: av.AudioStream) -> bool:
    try:
        check(track)
    except Rejected:
        return False
    return True


def _rank(track: av.AudioStream, levels: tuple[float, float], language: str | None) -> tuple[float, ...]:
    loud, quiet = levels
    sounds = loud > _SILENT
    return (
        sounds,
        sounds and loud > _LIVELY * quiet,
        not track.disposition & _ASIDE,
        bool(track.disposition & Disposition.default),
        language is not None and _language(track)[:2] == language[:2],
        round(10 * math.log10(loud + 1e-12)),
        -track.index,
    )


def _listen(container: InputContainer, tracks: Sequence[av.AudioStream]) -> dict[int, tuple[float, float]]:
    """The energy of each track's loud moments and of its pauses, by stream index."""
    energies: dict[int, list[float]] = {track.index: [] for track in tracks}
    seconds = container.duration / 1e6 if container.duration else 0.0
    places = [seconds * number / _PLACES for number in range(_PLACES)] if seconds > _PLACES * _SECONDS else [0.0]
    for place in places:
        try:
            if place:
                container.seek(round(place * 1e6))
            _read(container, tracks, _SECONDS if len(places) > 1 else _PLACES * _SECONDS, energies)
        except (av.error.FFmpegError, IndexError, UnicodeError):  # damaged there, or the format cannot seek
            continue
    levels = {}
    for index, found in energies.items():
        found.sort()  # np.percentile imports a module when it is called, which a limited process cannot
        levels[index] = (found[int(0.995 * len(found))], found[int(0.1 * len(found))]) if found else (0.0, 0.0)
    return levels


def _read(
    container: InputContainer, tracks: Sequence[av.AudioStream], seconds: float, energies: dict[int, list[float]]
) -> None:
    read = {track.index: 0.0 for track in tracks}
    for packet in itertools.islice(container.demux(*tracks), _PACKETS):
        try:
            frames = packet.decode()
        except (av.error.FFmpegError, UnicodeError):
            continue
        for frame in frames:
            if isinstance(frame, AudioFrame) and frame.sample_rate:
                energies[packet.stream.index].append(_energy(frame))
                read[packet.stream.index] += frame.samples / frame.sample_rate
        if min(read.values()) >= seconds or max(read.values()) >= 3 * seconds:
            return


def _energy(frame: AudioFrame) -> float:
    """That of the loudest channel."""
    channels, frame.pts = frame.layout.nb_channels, None
    if channels > 2 and frame.format.is_planar and channels <= MAX_CHANNELS:
        try:
            packed = AudioResampler("s16", plain(channels), frame.sample_rate).resample(frame)
        except (av.error.FFmpegError, ValueError):  # damaged
            return 0.0
        frame = next(iter(packed), frame)
    return max((energy(normal(one)) for one in planes(frame)), default=0.0)


def _caution(
    tracks: Sequence[av.AudioStream], chosen: av.AudioStream, heard: dict[int, tuple[float, float]]
) -> Caution:
    numbered = {track.index: number for number, track in enumerate(tracks, 1)}
    others = [track for track in tracks if track is not chosen]
    named = ", ".join(f"{numbered[track.index]} ({_described(track, heard)})" for track in others[:_NAMED])
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    message = (
        f"the file has {len(tracks)} sound tracks: number {numbered[chosen.index]} ({_described(chosen, heard)}) was"
        f" read; left out: {named}{more}. The option track=NUMBER chooses one"
    )
    return Caution(code="other_tracks", message=message)


def _described(track: av.AudioStream, heard: dict[int, tuple[float, float]]) -> str:
    words = [_language(track)] if _language(track) else []
    if track.disposition & Disposition.default:
        words.append("default")
    if track.index not in heard:
        words.append("not listened to")
    elif heard[track.index][0] <= _SILENT:
        words.append("silent")
    return " ".join(words) or "with sound"


def _language(track: av.AudioStream) -> str:
    """The track's language tag, if it has a sensible one."""
    tag = str(track.language or "").lower()
    return tag if tag.isascii() and tag.isalpha() and 2 <= len(tag) <= 3 and tag != "und" else ""
