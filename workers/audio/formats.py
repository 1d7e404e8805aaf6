"""Which files are opened, and how; and what is said of those that are not.

The lists are explicit. A demuxer that is not on them is never run on an upload: some open other files (playlists),
others are devices, and each is code that strangers' bytes reach. The decoders are all those for sound.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import av

from speechpipe.contract.errors import ErrorCode, Rejected
from speechpipe.contract.headerless import READABLE, UNREADABLE
from workers.audio.protection import protection

#: Demuxers that may open an upload by its first bytes.
FORMATS = (
    "wav,w64,mp3,flac,ogg,matroska,webm,mov,mp4,m4a,3gp,aac,amr,amrnb,amrwb,aiff,caf,asf,au,avi,flv,mpegts"
    ",mpeg,wv,tta,ac3,eac3,voc,nistsphere,dss"
)
FORMAT_NAMES = (
    "WAV, MP3, FLAC, Ogg (Vorbis, Opus), M4A/AAC, MP4, MOV, WebM, Matroska, AMR, 3GP, AIFF, CAF, W64, WMA, AU, AVI,"
    " FLV, MPEG, MPEG-TS, WavPack, TTA, AC-3, VOC, SPHERE, DSS, or, by its name's ending, G.711 (.ulaw, .alaw), G.722,"
    " GSM or SLN"
)
#: Demuxers of formats without any length, whose files FFmpeg takes to be as long as their first frames suggest.
WITHOUT_LENGTH = ("aac", "amr", "amrnb", "amrwb", "ac3", "eac3", "gsm")


def _decodes_audio(name: str) -> bool:
    try:
        return av.Codec(name, "r").type == "audio"
    except ValueError:  # an encoder without a decoder
        return False


#: Audio decoders only. To describe a video FFmpeg would run its picture decoders too: hundreds of thousands of lines of
#: code that we do not need.
DECODERS = ",".join(sorted(filter(_decodes_audio, av.codecs_available)))

#: More zeros than these at the start are not part of any format, but of a broken download or a lost block.
_ZEROS = 64
_BLOCK = 1 << 20
_HEAD = 64  #: bytes by which a format is recognised

_PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM")
#: Offset and first bytes of supported containers: a file that has them and cannot be opened is damaged.
_SIGNATURES = (
    (0, b"ID3"), (0, b"fLaC"), (0, b"OggS"), (0, b"\x1aE\xdf\xa3"), (0, b"#!AMR"), (0, b".snd"), (0, b"FLV"),
    (0, b"0&\xb2u\x8ef\xcf\x11"), (4, b"ftyp"), (8, b"WAVE"), (8, b"AVI "), (0, b"wvpk"), (0, b"TTA1"),
    (0, b"\0\0\x01\xba"), (0, b"Creative Voice"), (0, b"NIST_1A"), (0, b"caff"), (8, b"AIFF"), (8, b"AIFC"),
)  # fmt: skip

_FFMPEG = "`ffmpeg -i FILE FILE.flac`"
#: Offset and first bytes of formats that are known but not read, their name, and what converts them.
_FOREIGN = (
    (0, b".RMF", "RealMedia", _FFMPEG),
    (0, b".ra\xfd", "RealAudio", _FFMPEG),
    (0, b"MAC ", "Monkey's Audio", _FFMPEG),
    (0, b"MPCK", "Musepack", _FFMPEG),
    (0, b"MP+", "Musepack", _FFMPEG),
    (0, b"tBaK", "TAK", _FFMPEG),
    (0, b"ajkg", "Shorten", _FFMPEG),
    (0, b"DSD ", "DSD (DSF)", _FFMPEG),
    (0, b"FRM8", "DSD (DSDIFF)", _FFMPEG),
    (0, b"\x7f\xfe\x80\x01", "DTS", _FFMPEG),
    (0, b"#!iLBC", "iLBC", _FFMPEG),
    (8, b"QLCM", "QCP (Qualcomm PureVoice)", _FFMPEG),
    (0, b"\x03ds2", "DS2 dictation", "the recorder's own software"),
    (0, b"#!SILK", "SILK", "`silk-v3-decoder`"),
    (1, b"#!SILK", "SILK (WeChat, QQ)", "`silk-v3-decoder`"),
)  # fmt: skip
_ARCHIVES = (
    b"PK\x03\x04",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a\x07",
    b"BZh",
    b"\xfd7zXZ\0",
    b"\x28\xb5\x2f\xfd",
    b"\x1f\x8b",
)


@dataclass(frozen=True)
class Opening:
    """The arguments for `av.open`."""

    url: str
    format: str | None  #: None: by its first bytes
    options: dict[str, str]


def opening(path: Path, file: BufferedReader) -> Opening:
    """How to open a file. Raises Rejected if its sound is protected, or if there is nothing in it but zeros."""
    start = start_of(file)
    if start == _size(file):
        raise Rejected(ErrorCode.DECODE_FAILED, "the file holds nothing but zeros: no recording was written to it")
    head = _head(file, start)
    # With `file:` a name like `concat:a|b` stays a file name.
    url, protocols = f"file:{path.resolve()}", "file"
    raw = READABLE.get(path.suffix)
    if raw and not _begins_like(head, _SIGNATURES) and not head.startswith(_PICTURES):
        rate = {"sample_rate": str(raw.rate)} if raw.demuxer != "g722" else {}
        return Opening(url, raw.demuxer, _limits(raw.demuxer, protocols) | rate)
    if message := protection(file, start):
        raise Rejected(ErrorCode.UNSUPPORTED_FORMAT, message)
    if start:
        url, protocols = f"subfile,,start,{start},end,0,,:{url}", "file,subfile"
    return Opening(url, None, _limits(FORMATS, protocols))


def _limits(formats: str, protocols: str) -> dict[str, str]:
    return {"format_whitelist": formats, "protocol_whitelist": protocols, "codec_whitelist": DECODERS}


def start_of(file: BufferedReader) -> int:
    """Where a file's content begins: after leading zeros, if there are more than any format begins with."""
    file.seek(0)
    zeros = 0
    while block := file.read(_BLOCK):
        rest = block.lstrip(b"\0")
        zeros += len(block) - len(rest)
        if rest:
            break
    if zeros < _ZEROS:
        return 0
    head = _head(file, zeros)
    # Two formats begin with zeros of their own: the size of MP4's first box, and an MPEG start code.
    return zeros - (3 if head[1:5] == b"ftyp" else 2 if head[:2] == b"\x01\xba" else 0)


def refusal(path: Path, file: BufferedReader) -> Rejected:
    """Say why a file could not be opened."""
    head = _head(file, start_of(file))
    if head.startswith(_PICTURES) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP"):
        return Rejected(ErrorCode.NO_AUDIO_STREAM, "the file is a picture: there is no sound in it")
    if head.startswith(b"MThd"):
        return Rejected(ErrorCode.UNSUPPORTED_FORMAT, "the file is MIDI: it holds notes, not sound")
    if head.startswith(_ARCHIVES):
        message = "the file is an archive or packed: unpack it, and upload what is in it"
        return Rejected(ErrorCode.UNSUPPORTED_FORMAT, message)
    for at, mark, name, converter in _FOREIGN:
        if head[at:].startswith(mark):
            message = f"the file is {name}, which cannot be read here: convert it, for example with {converter}"
            return Rejected(ErrorCode.UNSUPPORTED_FORMAT, message)
    if _begins_like(head, _SIGNATURES):
        return Rejected(ErrorCode.DECODE_FAILED, "the file is damaged or incomplete: nothing in it could be decoded")
    if path.suffix in UNREADABLE:
        return Rejected(ErrorCode.UNSUPPORTED_FORMAT, UNREADABLE[path.suffix])
    message = f"the file is not a recording that can be read: it must be {FORMAT_NAMES}"
    return Rejected(ErrorCode.UNSUPPORTED_FORMAT, message)


def _begins_like(head: bytes, signatures: tuple[tuple[int, bytes], ...]) -> bool:
    return any(head[at:].startswith(mark) for at, mark in signatures)


def _head(file: BufferedReader, start: int) -> bytes:
    file.seek(start)
    return file.read(_HEAD)


def _size(file: BufferedReader) -> int:
    return file.seek(0, 2)
