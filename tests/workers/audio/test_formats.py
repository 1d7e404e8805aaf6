"""Formats beyond the usual: old and foreign ones are read, or named with a way out; of protected ones that is said."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from uuid import UUID

import av
import numpy as np
import pytest

from speechpipe.contract import headerless
from speechpipe.contract.errors import ErrorCode, Rejected
from tests.media import SAMPLES
from tests.workers.audio.media import Decoded, decode, encode, tone, write_audio
from workers.audio.decoder import SAMPLE_RATE

#: Ending, FFmpeg's muxer where the ending does not tell, codec, rate.
OLD = {
    "wv": (None, "wavpack", 44_100),
    "tta": (None, "tta", 16_000),
    "ac3": (None, "ac3", 48_000),
    "eac3": (None, "eac3", 48_000),
    "mpg": (None, "mp2", 44_100),
    "vob": (None, "ac3", 48_000),
    "voc": (None, "pcm_u8", 8_000),
    "ulaw": ("mulaw", "pcm_mulaw", 8_000),
    "al": ("alaw", "pcm_alaw", 8_000),
    "g722": (None, "g722", 16_000),
    "sln": ("s16le", "pcm_s16le", 8_000),
    "sln48": ("s16le", "pcm_s16le", 48_000),
}


def write(path: Path, muxer: str | None, codec: str, rate: int, options: dict[str, str] | None = None) -> Path:
    """Two seconds of a tone of 440 Hz."""
    with av.open(str(path), "w", format=muxer, options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        encode(container, stream, [tone(2, rate=rate)], "mono", rate)
    return path


def assert_is_the_tone(found: Decoded) -> None:
    assert found.audio.duration == pytest.approx(2, abs=0.15)
    spectrum = np.abs(np.fft.rfft(found.samples[0][8_000:24_000]))
    assert np.argmax(spectrum) == pytest.approx(440, abs=2)
    assert found.cautions == ()


def refusal(path: Path) -> Rejected:
    with pytest.raises(Rejected) as caught:
        decode(path, max_seconds=600)
    assert caught.value.code is ErrorCode.UNSUPPORTED_FORMAT
    return caught.value


# ------------------------------------------------------------------------------------------------- old formats


@pytest.mark.parametrize("ending", OLD)
def test_a_tone_is_decoded_from_every_old_format(tmp_path: Path, ending: str) -> None:
    assert_is_the_tone(decode(write(tmp_path / f"a.{ending}", *OLD[ending]), max_seconds=600))


def test_sphere_is_decoded(tmp_path: Path) -> None:
    head = (
        "NIST_1A\n   1024\nsample_count -i 32000\nsample_n_bytes -i 2\nchannel_count -i 1\n"
        "sample_byte_format -s2 01\nsample_rate -i 16000\nsample_coding -s3 pcm\nend_head\n"
    )
    (tmp_path / "a.sph").write_bytes(head.encode().ljust(1024) + (tone(2) * 32767).astype("<i2").tobytes())
    assert_is_the_tone(decode(tmp_path / "a.sph", max_seconds=600))


def test_gsm_without_a_header_has_twenty_milliseconds_in_33_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.gsm").write_bytes((b"\xd2" + bytes(32)) * 100)
    found = decode(tmp_path / "a.gsm", max_seconds=600)
    assert (found.audio.duration, found.audio.sample_rate) == (2, 8_000)


@pytest.mark.parametrize("ending", headerless.READABLE)
def test_a_file_with_a_header_is_read_by_it_whatever_its_name(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / "a.wav", None, "pcm_s16le", 16_000).rename(tmp_path / f"a{ending}")
    assert_is_the_tone(decode(path, max_seconds=600))


@pytest.mark.parametrize(
    ("name", "passed_on"),
    [
        ("call.ulaw", ".ulaw"),
        ("2026/Anna's call.PCMA", ".pcma"),
        ("call.vox", ".vox"),
        ("call.ulaw.gz", ".ulaw"),
        ("call.wav", ""),
        ("call.ulaw/..", ""),
        ("ulaw", ""),
        ("call.ffconcat", ""),
    ],
)
def test_of_a_name_only_an_ending_that_tells_a_format_is_passed_on(name: str, passed_on: str) -> None:
    assert headerless.extension(name) == passed_on


# --------------------------------------------------------------------------------------------- foreign formats


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b".RMF\0\0\0\x12", ["RealMedia", "ffmpeg -i FILE FILE.flac"]),
        (b"MAC \x96\x0f", ["Monkey's Audio", "ffmpeg"]),
        (b"RIFF\xd0\x01\0\0QLCMfmt ", ["QCP", "ffmpeg"]),
        (b"\x02#!SILK_V3\x0e\0", ["SILK", "silk-v3-decoder"]),
        (b"\x03ds2\1\0", ["DS2 dictation", "the recorder's own software"]),
        (b"MThd\0\0\0\6", ["MIDI", "notes, not sound"]),
        (b"PK\x03\x04\x14\0", ["archive", "unpack it"]),
        (gzip.compress(b"RIFF"), ["packed", "unpack it"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_foreign_format_is_named_with_a_way_to_convert_it(tmp_path: Path, content: bytes, words: list[str]) -> None:
    (tmp_path / "a.wav").write_bytes(content.ljust(4_000, b"\x55"))
    message = refusal(tmp_path / "a.wav").message
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize("ending", headerless.UNREADABLE)
def test_an_ending_that_says_too_little_is_refused_with_what_to_do(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"a{ending}").write_bytes(np.random.default_rng(1).bytes(16_000))
    message = refusal(tmp_path / f"a{ending}").message
    assert ending.removeprefix(".")[-3:] in message
    assert "convert it, for example with `" in message or "name it .ulaw or .alaw" in message


# ------------------------------------------------------------------------------------------- protected formats


def assert_is_protected(path: Path, scheme: str) -> None:
    message = refusal(path).message
    assert "protected against copying" in message
    assert scheme in message


@pytest.mark.parametrize("layout", [{}, {"movflags": "frag_keyframe+empty_moov"}], ids=["whole", "fragmented"])
def test_common_encryption_is_said_to_be_that(tmp_path: Path, layout: dict[str, str]) -> None:
    options = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "5a" * 16, "encryption_kid": "11" * 16}
    path = write(tmp_path / "a.mp4", None, "aac", 16_000, options | layout)
    assert_is_protected(path, "Common Encryption")


@pytest.mark.parametrize(("entry", "scheme"), [(b"drms", "FairPlay"), (b"aavd", "Audible")])
def test_what_a_store_protects_is_said_to_be_that(tmp_path: Path, entry: bytes, scheme: str) -> None:
    body = (SAMPLES / "changing_mood.m4a").read_bytes()
    (tmp_path / "a.m4p").write_bytes(body.replace(b"mp4a", entry, 1))
    assert_is_protected(tmp_path / "a.m4p", scheme)


def test_windows_media_rights_management_is_said_to_be_that(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wma", [tone(2)], codec="wmav2", options={"b": "32000"})
    body = bytearray((tmp_path / "a.wma").read_bytes())
    (size, count) = struct.unpack_from("<QI", body, 16)
    protection = UUID("2211B3FB-BD23-11D2-B4B7-00A0C955FC6E").bytes_le + struct.pack("<Q4I", 40, 0, 0, 0, 0)
    body[size:size] = protection
    struct.pack_into("<QI", body, 16, size + len(protection), count + 1)
    (tmp_path / "a.wma").write_bytes(body)
    assert_is_protected(tmp_path / "a.wma", "Windows Media DRM")


def element(identifier: str, content: bytes) -> bytes:
    """An EBML element with a size of eight bytes."""
    return bytes.fromhex(identifier) + struct.pack(">Q", len(content) | 1 << 56) + content


def test_an_encrypted_webm_is_said_to_be_that(tmp_path: Path) -> None:
    algorithm = element("47e1", b"\5") + element("47e2", b"0123456789abcdef")  # AES, and the key's id
    encoding = element("6240", element("5033", b"\1") + element("5035", algorithm))
    sound = element("b5", struct.pack(">d", 48_000)) + element("9f", b"\1")
    track = element("d7", b"\1") + element("73c5", b"\1") + element("83", b"\2") + element("86", b"A_OPUS")
    track += element("63a2", b"OpusHead\1\1" + struct.pack("<HIhB", 312, 48_000, 0, 0))
    tracks = element("1654ae6b", element("ae", track + element("e1", sound) + element("6d80", encoding)))
    cluster = element("1f43b675", element("e7", b"\0") + element("a3", b"\x81\0\0\x80" + bytes(range(200))))
    info = element("1549a966", element("2ad7b1", (1_000_000).to_bytes(3)))
    head = element("1a45dfa3", element("4282", b"webm"))
    (tmp_path / "a.webm").write_bytes(head + element("18538067", info + tracks + cluster))
    assert_is_protected(tmp_path / "a.webm", "WebM encryption")


def test_boxes_without_end_do_not_take_long(tmp_path: Path) -> None:
    """Half a million empty boxes: what is looked at is limited, and the file is refused as before."""
    (tmp_path / "a.mp4").write_bytes(struct.pack(">I4s8x", 16, b"ftyp") + struct.pack(">I4s", 8, b"free") * 500_000)
    with pytest.raises(Rejected):
        decode(tmp_path / "a.mp4", max_seconds=600)


# ------------------------------------------------------------------------------------------------ leading zeros


@pytest.mark.parametrize("zeros", [100, 100_000, 3_000_000])
@pytest.mark.parametrize("ending", ["wav", "mp3", "m4a", "flac", "opus", "mpg", "webm"])
def test_zeros_before_the_sound_are_skipped(tmp_path: Path, ending: str, zeros: int) -> None:
    codec = {"wav": "pcm_s16le", "mp3": "libmp3lame", "m4a": "aac", "mpg": "mp2"}
    codec |= {"flac": "flac", "opus": "libopus", "webm": "libopus"}
    rate = 48_000 if ending in ("opus", "webm", "mpg") else SAMPLE_RATE
    whole = write_audio(tmp_path / f"a.{ending}", [tone(2, rate=rate)], codec=codec[ending], rate=rate)
    (tmp_path / f"b.{ending}").write_bytes(bytes(zeros) + whole.read_bytes())
    plain, found = (decode(tmp_path / f"{name}.{ending}", max_seconds=600) for name in "ab")
    assert_is_the_tone(found)
    assert np.array_equal(found.samples, plain.samples)


def test_zeros_are_part_of_sound_without_a_header(tmp_path: Path) -> None:
    """In signed linear they are silence: left out, all later times would be early."""
    (tmp_path / "a.sln").write_bytes(bytes(16_000) + (tone(1, rate=8_000) * 32767).astype("<i2").tobytes())
    found = decode(tmp_path / "a.sln", max_seconds=600)
    assert found.audio.duration == 2
    assert np.abs(found.samples[0][:15_000]).max() == 0


def test_a_wav_behind_zeros_that_was_cut_off_is_said_to_be_damaged(tmp_path: Path) -> None:
    body = write_audio(tmp_path / "a.wav", [tone(2)], codec="pcm_s16le").read_bytes()
    (tmp_path / "a.wav").write_bytes(bytes(5_000_000) + body[: len(body) // 2])
    assert [caution.code for caution in decode(tmp_path / "a.wav", max_seconds=600).cautions] == ["damaged_audio"]


def test_a_file_of_nothing_but_zeros_is_said_to_be_that(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(bytes(3_000_000))
    with pytest.raises(Rejected, match="nothing but zeros") as rejected:
        decode(tmp_path / "a.wav", max_seconds=600)
    assert rejected.value.code is ErrorCode.DECODE_FAILED


# --------------------------------------------------------------------------------------------- lengths in headers


def test_the_record_says_whether_the_file_states_its_length(tmp_path: Path) -> None:
    """Without its table, how long an MP3 is is known only once it has been decoded: anything else is an estimate."""
    stated = write_audio(tmp_path / "a.mp3", [tone(2)], codec="libmp3lame")
    body = stated.read_bytes()
    assert body.count(b"Info") == 1
    (tmp_path / "b.mp3").write_bytes(body.replace(b"Info", bytes(4)))
    found = {path.name: decode(path, max_seconds=600).audio for path in (stated, tmp_path / "b.mp3")}
    assert {name: audio.length_in_header for name, audio in found.items()} == {"a.mp3": True, "b.mp3": False}
    aac = write_audio(tmp_path / "a.aac", [tone(2)], codec="aac")
    assert not decode(aac, max_seconds=600).audio.length_in_header
