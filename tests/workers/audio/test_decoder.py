from __future__ import annotations

import hashlib
import resource
import struct
import subprocess
import sys
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext

from speechpipe.contract.errors import ErrorCode, Rejected
from tests.workers.audio.media import decode, tone, write_audio, write_video
from workers.audio.decoder import Facts, decode_stream

CODECS = {
    "wav": "pcm_s16le",
    "aiff": "pcm_s16be",
    "w64": "pcm_s16le",
    "caf": "pcm_s16be",
    "mp3": "libmp3lame",
    "flac": "flac",
    "opus": "libopus",
    "m4a": "aac",
    "aac": "aac",
    "webm": "libopus",
    "mka": "libopus",
    "mov": "aac",
    "mp4": "aac",
    "wma": "wmav2",
    "au": "pcm_s16be",
    "avi": "libmp3lame",
    "flv": "aac",
    "ts": "aac",
}


def rejection(path: Path, **options: float) -> Rejected:
    with pytest.raises(Rejected) as caught:
        decode(path, max_seconds=options.get("max_seconds", 600))
    message = caught.value.message
    assert path.name not in message
    assert str(path.parent) not in message
    assert "Errno" not in message
    return caught.value


def loudest_hertz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples[4000:12000]))
    return float(np.argmax(spectrum) * 2)


@pytest.mark.parametrize("extension", CODECS)
def test_a_tone_is_decoded_from_every_format(tmp_path: Path, extension: str) -> None:
    options = {"b": "32000"} if extension == "wma" else {}
    path = write_audio(tmp_path / f"a.{extension}", [tone(1.5)], codec=CODECS[extension], options=options)
    decoded = decode(path, max_seconds=10)
    assert decoded.samples.dtype == np.float32
    assert decoded.samples.shape[0] == 1
    assert decoded.audio.duration == pytest.approx(1.5, abs=0.15)
    assert loudest_hertz(decoded.samples[0]) == pytest.approx(440, abs=4)
    assert np.abs(decoded.samples).max() == pytest.approx(0.5, abs=0.1)
    assert decoded.cautions == ()


def test_vorbis_in_ogg_is_decoded(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.ogg", [tone(1.5)] * 2, codec="vorbis", options={"strict": "experimental"})
    decoded = decode(path, max_seconds=10)
    assert decoded.audio.format == "ogg/vorbis"
    assert loudest_hertz(decoded.samples[0]) == pytest.approx(440, abs=4)


@pytest.mark.parametrize("extension", ["amr", "3gp"])
def test_amr_as_phones_record_it_is_decoded(tmp_path: Path, extension: str) -> None:
    path = write_audio(tmp_path / f"a.{extension}", [tone(1.5, rate=8000)], codec="libopencore_amrnb", rate=8000)
    decoded = decode(path, max_seconds=10)
    assert decoded.audio.sample_rate == 8000
    assert decoded.audio.duration == pytest.approx(1.5, abs=0.15)
    assert decoded.cautions == ()


def test_amr_continues_after_comfort_noise(tmp_path: Path) -> None:
    voice = write_audio(tmp_path / "voice.amr", [tone(1.0, rate=8000)], codec="libopencore_amrnb", rate=8000)
    frames = voice.read_bytes().removeprefix(b"#!AMR\n")
    comfort_noise = bytes([8 << 3 | 4]) + bytes(5)  # frame type 8: five bytes
    path = tmp_path / "calls.amr"
    path.write_bytes(b"#!AMR\n" + frames + comfort_noise * 10 + frames)
    assert decode(path, max_seconds=10).audio.duration > 2.0


@pytest.mark.parametrize("extension", ["mp4", "mov", "mkv"])
def test_the_audio_of_a_video_is_decoded(tmp_path: Path, extension: str) -> None:
    decoded = decode(write_video(tmp_path / f"a.{extension}", tone(1.5)), max_seconds=10)
    assert decoded.audio.duration == pytest.approx(1.5, abs=0.15)
    assert loudest_hertz(decoded.samples[0]) == pytest.approx(440, abs=4)


def test_no_picture_decoder_is_opened(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", tone(1.5))
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as logged:
            assert any(isinstance(part, Facts) for part in decode_stream(path, max_seconds=10))
    finally:
        av.logging.set_level(None)
    assert any("(mpeg4) not on whitelist" in message for _, _, message in logged)


def test_a_stream_that_starts_after_the_header_is_skipped(tmp_path: Path) -> None:
    """PyAV raises IndexError for its packets. Found by fuzzing: a broken programme table in which a number changed."""
    path = write_audio(tmp_path / "a.ts", [tone(0.25, rate=44100)] * 2, codec="aac", rate=44100)
    content = bytearray(path.read_bytes())
    content[188:190] = b"\x7f\xff"
    starts = [at for at in range(0, len(content), 188) if content[at + 1 : at + 3] == b"\x41\x00"]
    content[starts[-2] + 2] = 0x10
    path.write_bytes(content)
    with av.open(str(path)) as container, pytest.raises(IndexError):
        list(container.demux(container.streams.best("audio")))
    assert decode(path, max_seconds=10).audio.duration == pytest.approx(0.25, abs=0.1)


def test_facts_describe_the_source(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.flac", [tone(1, rate=44100)] * 2, codec="flac", rate=44100)
    audio = decode(path, max_seconds=10).audio
    assert (audio.channels, audio.sample_rate, audio.format) == (2, 44100, "flac/flac")
    assert audio.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_channels_are_mixed_or_split(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.wav", [tone(1, 300), tone(1, 1000)], codec="pcm_s16le")
    split = decode(path, split=True, max_seconds=10).samples
    assert [loudest_hertz(channel) for channel in split] == [300, 1000]
    mixed = decode(path, max_seconds=10).samples
    assert mixed.shape == (1, 16000)
    np.testing.assert_allclose(mixed[0], split.mean(axis=0), atol=1e-3)


def test_six_channels_can_be_split_and_mixed(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.flac", [tone(1, 200 * (number + 1)) for number in range(6)], codec="flac")
    assert [round(loudest_hertz(c)) for c in decode(path, split=True, max_seconds=10).samples] == [
        200, 400, 600, 800, 1000, 1200,
    ]  # fmt: skip
    assert decode(path, max_seconds=10).samples.shape == (1, 16000)


# ------------------------------------------------------------------------------------------ not a recording


def test_an_empty_file_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.touch()
    assert rejection(path).code is ErrorCode.EMPTY_OBJECT


@pytest.mark.parametrize("text", [b"Dear customer,\n" * 50, b"{}", bytes(range(256)) * 8])
def test_a_file_without_audio_data_is_rejected(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(text)
    rejected = rejection(path)
    assert rejected.code is ErrorCode.UNSUPPORTED_FORMAT
    assert "WAV, MP3, FLAC" in rejected.message


@pytest.mark.parametrize("name", ["list.wav", "list.txt", "list.mp3"])
def test_a_playlist_named_as_audio_opens_no_other_file(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    secret = write_audio(tmp_path / "secret.wav", [tone(1)], codec="pcm_s16le")
    for entry in ("secret.wav", str(secret), secret.as_uri()):
        (tmp_path / name).write_text(f"ffconcat version 1.0\nfile '{entry}'\n")
        assert rejection(tmp_path / name).code is ErrorCode.UNSUPPORTED_FORMAT


def test_an_hls_playlist_opens_no_other_file(tmp_path: Path) -> None:
    write_audio(tmp_path / "secret.wav", [tone(1)], codec="pcm_s16le")
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:1,", "secret.wav", "#EXT-X-ENDLIST", ""]
    for name in ("a.m3u8", "a.wav"):
        (tmp_path / name).write_text("\n".join(lines))
        assert rejection(tmp_path / name).code is ErrorCode.UNSUPPORTED_FORMAT


def test_a_file_name_is_never_interpreted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_audio(tmp_path / "a.wav", [tone(1)], codec="pcm_s16le").rename(tmp_path / "concat:b|%03d.wav")
    assert decode(Path("concat:b|%03d.wav"), max_seconds=10).audio.duration == pytest.approx(1)


@pytest.mark.parametrize("codec", ["mjpeg", "png"])
def test_a_picture_named_as_audio_is_rejected(tmp_path: Path, codec: str) -> None:
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height = 16, 16
    encoder.pix_fmt = "yuvj420p" if codec == "mjpeg" else "rgb24"
    encoder.time_base = Fraction(1, 10)
    frame = av.VideoFrame(16, 16, encoder.pix_fmt)
    frame.pts = 0
    (tmp_path / "a.wav").write_bytes(b"".join(bytes(packet) for packet in encoder.encode(frame) + encoder.encode(None)))
    rejected = rejection(tmp_path / "a.wav")
    assert rejected.code is ErrorCode.NO_AUDIO_STREAM
    assert "picture" in rejected.message


@pytest.mark.parametrize("extension", ["mp4", "mkv"])
def test_a_video_without_audio_is_rejected(tmp_path: Path, extension: str) -> None:
    assert rejection(write_video(tmp_path / f"a.{extension}", None)).code is ErrorCode.NO_AUDIO_STREAM


# --------------------------------------------------------------------------------------------------------- damage


def wav_header(*, rate: int = 16000, channels: int = 1, data: int = 0) -> bytes:
    block = 2 * channels
    return (
        b"RIFF" + struct.pack("<I", (36 + data) & 0xFFFFFFFF) + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * block & 0xFFFFFFFF, block, 16)
        + b"data" + struct.pack("<I", data)
    )  # fmt: skip


@pytest.mark.parametrize("declared", [0, 320_000])
def test_a_header_without_samples_is_rejected(tmp_path: Path, declared: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_header(data=declared))
    assert rejection(path).code is ErrorCode.DECODE_FAILED


@pytest.mark.parametrize("extension", ["wav", "mp3", "flac", "ogg", "webm"])
def test_a_truncated_recording_is_decoded_with_a_caution(tmp_path: Path, extension: str) -> None:
    codec = {"ogg": "libopus", **CODECS}[extension]
    sound = tone(8) + np.random.default_rng(0).normal(0, 0.1, 8 * 16000).astype(np.float32)
    path = write_audio(tmp_path / f"a.{extension}", [sound], codec=codec)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    decoded = decode(path, max_seconds=60)
    assert 2 < decoded.audio.duration < 6
    if extension in ("wav", "mp3", "flac"):  # a truncated webm or ogg declares no length to compare with
        assert [caution.code for caution in decoded.cautions] == ["damaged_audio"]


@pytest.mark.parametrize("extension", ["mp3", "flac", "m4a", "ogg", "webm"])
def test_only_the_first_bytes_of_a_file_are_rejected(tmp_path: Path, extension: str) -> None:
    codec = {"ogg": "libopus", **CODECS}[extension]
    path = write_audio(tmp_path / f"a.{extension}", [tone(3)], codec=codec)
    path.write_bytes(path.read_bytes()[:60])
    assert rejection(path).code in (ErrorCode.DECODE_FAILED, ErrorCode.UNSUPPORTED_FORMAT)


def test_an_interrupted_phone_upload_is_rejected(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.m4a", [tone(5)], codec="aac")  # its index is at the end
    path.write_bytes(path.read_bytes()[:-2000])
    rejected = rejection(path)
    assert rejected.code is ErrorCode.DECODE_FAILED
    assert "incomplete" in rejected.message


def test_audio_after_garbage_is_found(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.mp3", [tone(3)], codec="libmp3lame")
    garbage = np.random.default_rng(1).integers(0, 255, 100_000, np.uint8).tobytes()
    path.write_bytes(garbage + path.read_bytes())
    decoded = decode(path, max_seconds=60)
    assert decoded.audio.duration == pytest.approx(3, abs=0.2)


def test_audio_after_a_damaged_part_is_kept(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.2, 8 * 16000).astype(np.float32)
    path = write_audio(tmp_path / "a.flac", [noise], codec="flac")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 6000] = bytes(6000)
    path.write_bytes(content)
    decoded = decode(path, max_seconds=60)
    assert decoded.audio.duration > 6.5
    assert [caution.code for caution in decoded.cautions] == ["damaged_audio"]


# --------------------------------------------------------------------------------------------------------- limits


def test_a_recording_at_the_cap_passes_and_one_over_it_does_not(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.wav", [tone(3)], codec="pcm_s16le")
    assert decode(path, max_seconds=3).audio.duration == 3
    rejected = rejection(path, max_seconds=2.9)
    assert rejected.code is ErrorCode.TOO_LONG
    assert "at most 2.9 seconds" in rejected.message


@pytest.mark.parametrize("rate", [1, 100, 1_000_000, 0])
def test_a_forged_sample_rate_is_rejected(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_header(rate=rate, data=3_200_000) + bytes(3_200_000))
    assert rejection(path, max_seconds=60).code in (ErrorCode.DECODE_FAILED, ErrorCode.TOO_LONG)


def test_a_high_forged_rate_does_not_evade_the_cap(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_header(rate=768_000, data=8_000_000) + bytes(8_000_000))  # "5.2 s"
    assert decode(path, max_seconds=21).audio.duration == pytest.approx(5.208, abs=0.01)
    assert rejection(path, max_seconds=20).code is ErrorCode.TOO_LONG


@pytest.mark.parametrize("extension", ["wav", "flac", "opus", "m4a", "aac", "webm", "mka", "aiff", "wma", "au", "ts"])
def test_a_recording_that_is_far_too_long_is_rejected_before_decoding(tmp_path: Path, extension: str) -> None:
    options = {"b": "32000"} if extension == "wma" else {}
    path = write_audio(tmp_path / f"a.{extension}", [tone(30)], codec=CODECS[extension], options=options)
    with pytest.raises(Rejected) as caught:
        next(decode_stream(path, max_seconds=5))
    assert caught.value.code is ErrorCode.TOO_LONG
    assert decode(path, max_seconds=40).audio.duration == pytest.approx(30, abs=0.3)


def test_a_header_that_claims_hours_is_not_trusted(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.flac", [tone(2)], codec="flac")
    content = bytearray(path.read_bytes())
    content[22:26] = b"\xff" * 4  # samples in all
    path.write_bytes(content)
    assert decode(path, max_seconds=10).audio.duration == 2


def test_an_mp3_whose_length_is_overestimated_is_decoded(tmp_path: Path) -> None:
    """FFmpeg estimates from the first frame, here 8 kbit/s; the rest of the file has sixteen times that."""
    slow = write_audio(tmp_path / "slow.mp3", [tone(1)], codec="libmp3lame", options={"b": "8000", "write_xing": "0"})
    fast = write_audio(tmp_path / "fast.mp3", [tone(20)], codec="libmp3lame", options={"b": "128000"})
    path = tmp_path / "a.mp3"
    path.write_bytes(slow.read_bytes() + fast.read_bytes())
    assert decode(path, max_seconds=40).audio.duration == pytest.approx(21, abs=0.5)


def test_the_cap_is_on_all_channels_together_when_split(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.flac", [tone(2)] * 6, codec="flac")
    assert decode(path, max_seconds=2).audio.duration == 2
    with pytest.raises(Rejected, match="too long with 6 separate channels"):
        decode(path, split=True, max_seconds=2)
    assert decode(path, split=True, max_seconds=6).samples.shape == (6, 32000)


@pytest.mark.slow
def test_hours_of_silence_in_a_small_file_take_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.flac"
    write_audio(path, [np.zeros(7200 * 16000, np.float32)], codec="flac")
    assert path.stat().st_size < 3_000_000
    program = (
        "import sys; from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage; from pathlib import Path\n"
        "from speechpipe.contract.errors import Rejected; from workers.audio import reader\n"
        "outcome, before = 'decoded', getrusage(RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    with reader.open_audio(Path(sys.argv[1]), max_seconds=float(sys.argv[2])) as stream:\n"
        "        for _ in stream: pass\n"
        "except Rejected as error: outcome = error.code.value\n"
        "reader.stop()\n"
        "print(outcome, getrusage(RUSAGE_SELF).ru_maxrss - before, getrusage(RUSAGE_CHILDREN).ru_maxrss)\n"
    )

    for cap, expected in ((600, "too_long"), (7200, "decoded")):
        command = [sys.executable, "-c", program, str(path), str(cap)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        outcome, grown, of_child = done.stdout.split()
        assert outcome == expected
        assert int(grown) < 20_000  # kB
        assert int(of_child) < 120_000  # its libraries take 60 MB


def test_no_file_is_left_open(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.wav", [tone(1)], codec="pcm_s16le")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        decode(path, max_seconds=10)
        with pytest.raises(Rejected):
            decode(path, max_seconds=0.5)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4 * 1024 * 1024


def test_a_wav_by_another_writer_is_decoded(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(bytes([128, 200] * 8000))
    assert decode(tmp_path / "a.wav", max_seconds=10).audio.duration == pytest.approx(2.0)


@pytest.mark.parametrize("extension", ["wav", "mp3", "flac", "m4a", "webm", "opus"])
def test_any_damage_gives_audio_or_a_rejection(tmp_path: Path, extension: str) -> None:
    whole = write_audio(tmp_path / f"a.{extension}", [tone(2)] * 2, codec=CODECS[extension]).read_bytes()
    random = np.random.default_rng(len(whole))
    path = tmp_path / "damaged"
    outcomes = []
    for _ in range(60):
        content = bytearray(whole)
        kind = random.integers(3)
        if kind == 0:
            del content[random.integers(len(content)) :]
        elif kind == 1:
            for _ in range(20):
                content[random.integers(min(len(content), 400))] = random.integers(256)
        else:
            at = int(random.integers(len(content)))
            content[at : at + 200] = random.bytes(int(random.integers(400)))
        path.write_bytes(content)
        try:
            decode(path, split=bool(random.integers(2)), max_seconds=60)
            outcomes.append("audio")
        except Rejected:
            outcomes.append("rejected")
    assert set(outcomes) == {"audio", "rejected"}
