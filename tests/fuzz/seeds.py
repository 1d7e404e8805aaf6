"""Valid media to break: a moment of sound in every supported container and codec, and the start of each bundled sample.

The files are small, because a fuzzer decodes them thousands of times, and are created once per process.
"""

from __future__ import annotations

import tempfile
import wave
from functools import cache
from pathlib import Path

import numpy as np

from tests.media import SAMPLES
from tests.workers.audio.media import tone, write_audio, write_video
from tests.workers.audio.odd import CENTER, LEFT, RIGHT, UNUSED, write_caf, write_tracks

_SECONDS = 0.25
_SAMPLE_BYTES = 12_000  #: from the start of a bundled sample
#: Extension, codec, channels, sample rate.
_FORMATS = (
    ("wav", "pcm_s16le", 1, 16000), ("wav", "pcm_s16le", 2, 8000), ("wav", "pcm_f32le", 1, 16000),
    ("wav", "pcm_s24le", 6, 16000), ("wav", "pcm_u8", 1, 8000), ("wav", "adpcm_ms", 1, 16000),
    ("wav", "adpcm_ima_wav", 2, 16000), ("wav", "pcm_mulaw", 1, 8000), ("aiff", "pcm_s16be", 1, 16000),
    ("w64", "pcm_s16le", 1, 16000), ("caf", "pcm_s16be", 1, 16000), ("caf", "alac", 2, 16000),
    ("mp3", "libmp3lame", 1, 16000), ("mp3", "libmp3lame", 2, 44100), ("flac", "flac", 1, 16000),
    ("flac", "flac", 2, 48000), ("opus", "libopus", 1, 16000), ("opus", "libopus", 2, 48000),
    ("m4a", "aac", 1, 16000), ("m4a", "aac", 2, 44100), ("m4a", "alac", 2, 44100), ("aac", "aac", 1, 16000),
    ("webm", "libopus", 1, 16000), ("mka", "libopus", 1, 48000), ("mka", "ac3", 2, 48000),
    ("mkv", "pcm_s16le", 2, 16000), ("mov", "aac", 1, 16000), ("mov", "pcm_s16be", 2, 16000), ("mp4", "aac", 2, 44100),
    ("amr", "libopencore_amrnb", 1, 8000), ("3gp", "libopencore_amrnb", 1, 8000), ("mka", "eac3", 6, 48000),
    ("mka", "mp2", 2, 44100), ("wma", "wmav2", 1, 16000), ("au", "pcm_s16be", 1, 16000),
    ("avi", "libmp3lame", 1, 16000), ("flv", "aac", 1, 44100), ("ts", "aac", 2, 44100),
    ("wv", "wavpack", 2, 44100), ("tta", "tta", 1, 16000), ("ac3", "ac3", 2, 48000), ("eac3", "eac3", 6, 48000),
    ("mpg", "mp2", 1, 44100), ("vob", "ac3", 2, 48000), ("voc", "pcm_u8", 1, 8000),
)  # fmt: skip


@cache
def media() -> tuple[bytes, ...]:
    """The content of each file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = []
        for number, (extension, codec, channels, rate) in enumerate(_FORMATS):
            sound = [tone(_SECONDS, 200 * (channel + 2), rate) for channel in range(channels)]
            path = folder / f"{number}.{extension}"
            options = {"b": "32000"} if codec == "wmav2" else {}
            made.append(write_audio(path, sound, codec=codec, rate=rate, options=options))
        vorbis = [tone(_SECONDS)] * 2
        made.append(write_audio(folder / "v.ogg", vorbis, codec="vorbis", options={"strict": "experimental"}))
        made += [write_video(folder / f"v.{extension}", tone(0.4), seconds=0.4) for extension in ("mp4", "mkv")]
        made.append(folder / "8bit.wav")
        with wave.open(str(made[-1]), "wb") as file:
            file.setparams((1, 1, 8000, 0, "NONE", ""))
            file.writeframes((np.arange(2000) % 255).astype(np.uint8).tobytes())
        made += _odd(folder)
        files = [path.read_bytes() for path in made]
    samples = sorted(path for path in SAMPLES.iterdir() if path.suffix != ".json")
    return (*files, *(path.read_bytes()[:_SAMPLE_BYTES] for path in samples))


def _odd(folder: Path) -> list[Path]:
    """Channel orders of their own, late starts, holes, tracks, channels out of phase and joined WAVs."""
    sound = tone(_SECONDS)
    orders = {"swapped": (RIGHT, LEFT), "unused": (CENTER, UNUSED, LEFT, UNUSED), "nine": range(1 << 16, (1 << 16) + 9)}
    made = [write_caf(folder / f"{name}.caf", [sound] * len(order), list(order)) for name, order in orders.items()]
    for extension, codec in (
        ("mkv", "pcm_s16le"),
        ("webm", "libopus"),
        ("mp4", "aac"),
        ("mov", "pcm_s16le"),
        ("ts", "aac"),
    ):
        late, hole, two = (folder / f"{name}.{extension}" for name in ("late", "hole", "two"))
        picture = 0.0 if extension == "webm" else 0.4
        made.append(write_tracks(late, [sound], codec=codec, picture=picture, moved=lambda time: time + 1.5))
        made.append(write_tracks(hole, [sound], codec=codec, moved=lambda time: time + (time > 0.1)))
        made.append(write_tracks(two, [0 * sound, sound], codec=codec, defaults=(True, False)))
    made.append(write_audio(folder / "phase.wav", [sound, -sound], codec="pcm_s16le"))
    joined = folder / "joined.wav"
    joined.write_bytes(made[-1].read_bytes() * 2)
    crashed = folder / "crashed.wav"
    crashed.write_bytes(made[-1].read_bytes() + bytes(range(256)) * 40)
    return [*made, joined, crashed]
