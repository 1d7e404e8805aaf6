"""Sound without a header, as telephone systems write it: only the name's ending says what it is.

Of a name nothing but such an ending is passed on (`extension`), so that no name can mean anything else to a decoder.
The endings are those of Asterisk (`core show file formats`), SoX and FFmpeg.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True)
class Headerless:
    """How to read a file without a header: one channel, at a constant rate."""

    demuxer: str  #: FFmpeg's name
    rate: int  #: Hz
    bytes_per_second: int


_MU_LAW, _A_LAW = Headerless("mulaw", 8_000, 8_000), Headerless("alaw", 8_000, 8_000)
#: G.711 in both laws, G.722, GSM 06.10, and Asterisk's signed linear at several rates.
READABLE: dict[str, Headerless] = {
    **dict.fromkeys((".ulaw", ".ul", ".ulw", ".mulaw", ".mu", ".pcmu"), _MU_LAW),
    **dict.fromkeys((".alaw", ".al", ".alw", ".pcma"), _A_LAW),
    ".g722": Headerless("g722", 16_000, 8_000),
    ".gsm": Headerless("gsm", 8_000, 1_650),  # 33 bytes every 20 ms
    ".sln": Headerless("s16le", 8_000, 16_000),
    **{f".sln{rate // 1000}": Headerless("s16le", rate, 2 * rate) for rate in (12_000, 16_000, 24_000, 32_000, 48_000)},
}

_SAYS_TOO_LITTLE = "has no header, and its name's ending does not say how it was encoded"
#: What is said of endings that are known but not read.
UNREADABLE: dict[str, str] = {
    ".vox": "the file is Dialogic ADPCM (.vox), which cannot be read here: convert it, for example with"
    " `sox -t vox -r 8000 FILE.vox FILE.wav`",
    ".g729": "the file is G.729, which cannot be read here: convert it, for example with"
    " `ffmpeg -f g729 -i FILE.g729 FILE.wav`",
    ".g723": "the file is G.723.1, which cannot be read here: convert it, for example with"
    " `ffmpeg -f g723_1 -i FILE.g723 FILE.wav`",
    ".g711": f"a .g711 file {_SAYS_TOO_LITTLE}: name it .ulaw or .alaw",
    ".g726": f"a .g726 file {_SAYS_TOO_LITTLE}: convert it, for example with"
    " `ffmpeg -f g726 -code_size 4 -i FILE.g726 FILE.wav`",
    **{
        ending: f"a {ending} file {_SAYS_TOO_LITTLE}: convert it, for example with"
        f" `ffmpeg -f s16le -ar 8000 -i FILE{ending} FILE.wav` for 16 bits at 8 kHz"
        for ending in (".raw", ".pcm")
    },
}


def extension(name: str) -> str:
    """The ending of a name if it means a format without a header, in lower case, such as `.ulaw`; else empty."""
    ending = PurePosixPath(name.lower().removesuffix(".gz")).suffix
    return ending if ending in READABLE or ending in UNREADABLE else ""
