"""Files that refer to another file for their audio: playlists, session descriptions, QuickTime references."""

from __future__ import annotations

import struct


def referring(target: str) -> dict[str, bytes]:
    """Files that refer to `target` for their audio, by file extension."""
    port = target.rpartition(":")[2].partition("/")[0]
    playlists = {
        ".m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n",
        ".hls-key.m3u8": f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n',
        ".ffconcat": f"ffconcat version 1.0\nfile '{target}'\n",
        ".sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n",
        ".mpd": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet '
        f'mimeType="audio/mp4"><Representation id="1"><BaseURL>{target}</BaseURL></Representation></AdaptationSet>'
        "</Period></MPD>",
        ".ram": target,
        ".asx": f'<asx version="3.0"><entry><ref href="{target}"/></entry></asx>',
        ".pls": f"[playlist]\nFile1={target}\nNumberOfEntries=1\n",
    }
    return (
        {name: text.encode() for name, text in playlists.items()}
        | {f"{name}.wav": text.encode() for name, text in playlists.items()}
        | {".mov": movie_referring(target), ".aa.mov": movie_referring(target, kind=b"alis")}
    )


def movie_referring(target: str, kind: bytes = b"url ") -> bytes:
    """A QuickTime movie whose samples are in another file: an external data reference ('dref')."""

    def atom(name: bytes, *parts: bytes) -> bytes:
        body = b"".join(parts)
        return struct.pack(">I4s", 8 + len(body), name) + body

    full = bytes(4)
    place = target.encode() + b"\0"
    if kind == b"alis":  # a Macintosh alias: 150 bytes, then the path (type 2) and an absolute one (type 18)
        fixed = bytearray(150)
        tail = b"".join(struct.pack(">HH", tag, len(place)) + place + bytes(len(place) % 2) for tag in (2, 18))
        place = bytes(fixed) + tail + struct.pack(">HH", 0xFFFF, 0)
    matrix = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    entry = atom(b"sowt", bytes(6), struct.pack(">HHHIHHHHI", 1, 0, 0, 0, 1, 16, 0, 0, 16000 << 16))
    table = atom(
        b"stbl",
        atom(b"stsd", full, struct.pack(">I", 1), entry),
        atom(b"stts", full, struct.pack(">III", 1, 16000, 1)),
        atom(b"stsc", full, struct.pack(">IIII", 1, 1, 16000, 1)),
        atom(b"stsz", full, struct.pack(">II", 2, 16000)),
        atom(b"stco", full, struct.pack(">II", 1, 44)),
    )
    reference = atom(b"dinf", atom(b"dref", full, struct.pack(">I", 1), atom(kind, full, place)))
    media = atom(
        b"mdia",
        atom(b"mdhd", full, struct.pack(">IIIIHH", 0, 0, 16000, 16000, 0, 0)),
        atom(b"hdlr", full, b"mhlrsoun", bytes(13)),
        atom(b"minf", atom(b"smhd", full, bytes(4)), reference, table),
    )
    header = struct.pack(">IIIIIHH", 0, 0, 16000, 16000, 0x10000, 0x100, 0) + bytes(8) + matrix + bytes(28)
    track = atom(b"tkhd", bytes(3) + b"\x0f", struct.pack(">IIIII", 0, 0, 1, 0, 16000), bytes(16), matrix, bytes(8))
    return atom(b"ftyp", b"qt  ", full, b"qt  ") + atom(
        b"moov", atom(b"mvhd", full, header), atom(b"trak", track, media)
    )
