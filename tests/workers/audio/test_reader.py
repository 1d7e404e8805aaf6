"""The decoder process: what it gets, what it may do, and what it means if it ends."""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest

from speechpipe.contract.errors import ErrorCode, Rejected
from tests.workers.audio.media import decode, tone, write_audio
from tests.workers.references import movie_referring, referring
from workers.audio import decoder_process, reader
from workers.audio.decoder import decode_stream
from workers.audio.decoder_process import HEADER, MEMORY_BYTES
from workers.audio.reader import AudioStream, DecoderLost, open_audio


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Five minutes, which is more than a child decodes ahead."""
    return write_audio(tmp_path / "a.flac", [tone(300)], codec="flac")


@pytest.fixture
def stream(file: Path) -> Iterator[AudioStream]:
    with open_audio(file, max_seconds=600) as opened:
        yield opened


def child_of(stream: AudioStream) -> Path:
    return Path(f"/proc/{stream._child}")


def test_blocks_arrive_while_the_rest_is_not_decoded_yet(stream: AudioStream) -> None:
    blocks = iter(stream)
    block = next(blocks)
    assert block.dtype == np.int16
    assert block.shape[0] == stream.channels == 1
    assert stream.expected_seconds == pytest.approx(300)
    with pytest.raises(RuntimeError, match="not all blocks"):
        _ = stream.audio
    assert block.shape[1] + sum(block.shape[1] for block in blocks) == 300 * 16_000
    assert stream.audio.duration == 300


def test_many_recordings_are_decoded_in_parallel(file: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: decode(file, max_seconds=600).audio.duration, range(24)))
    assert found == [300] * 24


def test_a_missing_file_is_not_a_rejection(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_audio(tmp_path / "gone.wav", max_seconds=600)


def test_a_recording_slightly_too_long_is_rejected_while_it_is_read(file: Path) -> None:
    with open_audio(file, max_seconds=299) as stream, pytest.raises(Rejected, match="at most 299 seconds"):
        for _ in stream:
            pass


@pytest.mark.parametrize("known", [True, False])
def test_too_long_is_raised_immediately_if_the_file_is_seekable(file: Path, known: bool) -> None:
    if not known:
        content = bytearray(file.read_bytes())
        content[22:26] = bytes(4)  # samples in all
        file.write_bytes(content)
    with pytest.raises(Rejected, match="at most 200 seconds"):
        open_audio(file, max_seconds=200)


def test_closing_ends_the_child(stream: AudioStream) -> None:
    child = child_of(stream)
    assert child.exists()
    stream.close()
    assert not child.exists()


# ------------------------------------------------------------------------------------------------ what a child may do


def test_a_child_has_no_socket_file_or_secret_of_the_service(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader.stop()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/secret")
    with socket.create_server(("127.0.0.1", 0)) as server, open_audio(file, max_seconds=600) as stream:
        child = child_of(stream)
        opened = {os.readlink(fd) for fd in (child / "fd").iterdir() if fd.name != "2"}  # errors are printed
        assert os.readlink(f"/proc/self/fd/{server.fileno()}") not in opened
        assert len([name for name in opened if name.startswith("socket:")]) == 1
        assert {name for name in opened if name.startswith("/") and not name.startswith("/dev/")} <= {str(file)}
        assert b"GOOGLE" not in (child / "environ").read_bytes()


def test_a_child_runs_in_a_deleted_directory_and_under_limits(stream: AudioStream) -> None:
    child = child_of(stream)
    assert os.readlink(child / "cwd").endswith("(deleted)")
    limits = {line[:25].strip(): line[25:].split()[0] for line in (child / "limits").read_text().splitlines()[1:]}
    assert limits["Max address space"] == str(MEMORY_BYTES)
    assert limits["Max cpu time"] == "90"
    assert limits["Max open files"] == "6" == str(1 + max(int(fd.name) for fd in (child / "fd").iterdir()))
    assert limits["Max file size"] == limits["Max processes"] == limits["Max core file size"] == "0"


def test_while_a_child_decodes_it_can_open_no_second_file_or_socket(file: Path) -> None:
    """The kernel refuses, whatever a demuxer or an exploit tries: here FFmpeg opens another file in a child."""

    def child() -> Iterator[str]:
        parts = decode_stream(file, max_seconds=600)
        next(parts)
        yield from (_error_of(lambda: av.open(str(file))), _error_of(socket.socket), _error_of(file.open))

    ours, theirs = socket.socketpair()
    if not os.fork():
        try:
            only = decoder_process._close_all_but(theirs)
            decoder_process._set_limits(600)
            only.sendall(" ".join(child()).encode())
        finally:
            os._exit(0)
    theirs.close()
    with ours:
        assert ours.recv(1000) == b"EMFILE EMFILE EMFILE"
    os.wait()


def _error_of(opening: Callable[[], object]) -> str:
    try:
        opening()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "opened"


def test_addresses_in_a_file_are_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For every kind of playlist and reference: nobody connects to the server, and nobody opens the pipe.

    Opening the pipe would block, so the child would hang and be killed, with another error message.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reader, "STALL_SECONDS", 5.0)
    os.mkfifo(tmp_path / "pipe.wav")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.wav"
        for target in ("pipe.wav", str(tmp_path / "pipe.wav"), f"file:{tmp_path}/pipe.wav", address):
            for name, content in referring(target).items():
                path = tmp_path / f"list{name}"
                path.write_bytes(content)
                with pytest.raises(Rejected) as caught:
                    decode(path, max_seconds=60)
                assert "too much time" not in caught.value.message, (name, target)
                assert target not in caught.value.message
        with pytest.raises(BlockingIOError):
            server.accept()


def test_the_movie_really_refers_to_another_file(tmp_path: Path) -> None:
    """Otherwise the test above would prove nothing: if allowed, FFmpeg finds the audio."""
    sound = write_audio(tmp_path / "sound.wav", [tone(1)], codec="pcm_s16le")
    (tmp_path / "a.mov").write_bytes(movie_referring(str(sound), kind=b"alis"))
    follow = {"enable_drefs": "1", "use_absolute_path": "1"}
    with av.open(str(tmp_path / "a.mov"), options=follow) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) == 16_000


# -------------------------------------------------------------------------------------------------- how a child ends


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGXCPU, signal.SIGALRM, signal.SIGABRT])
def test_a_file_that_crashes_its_child_is_rejected(stream: AudioStream, how: signal.Signals) -> None:
    os.kill(int(child_of(stream).name), how)
    with pytest.raises(Rejected, match="damaged") as caught:
        list(stream)
    assert caught.value.code is ErrorCode.DECODE_FAILED


def test_a_file_that_hangs_its_child_is_rejected(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "STALL_SECONDS", 0.1)
    with open_audio(file, max_seconds=600) as stream:
        child = child_of(stream)
        os.kill(int(child.name), signal.SIGSTOP)
        with pytest.raises(Rejected, match="too much time"):
            list(stream)
    assert not child.exists()


def test_a_slow_reader_is_not_a_stall(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "STALL_SECONDS", 1.0)
    with open_audio(file, max_seconds=600) as slow:
        began = time.monotonic()
        while time.monotonic() < began + 1.2:  # meanwhile
            assert decode(file, max_seconds=600).audio.duration == 300
        assert sum(block.shape[1] for block in slow) == 300 * 16_000


def run_child(
    monkeypatch: pytest.MonkeyPatch, path: Path, work: Callable[[], object], **limits: float
) -> tuple[int, bytes]:
    """The wait status and the messages of a real child that calls `work` instead of decoding."""

    def decode_stream(path: Path, **_: object) -> Iterator[None]:
        work()
        yield

    monkeypatch.setattr(decoder_process, "decode_stream", decode_stream)
    asked = {
        "path": str(path),
        "split": False,
        "max_seconds": 20,
        "track": None,
        "language": None,
        "start": 0,
        "stop": None,
    }
    request = {**asked, "stall_seconds": 30.0, **limits}
    (ours, theirs), (control, other) = socket.socketpair(), socket.socketpair()
    with ours, control, other:
        status = os.waitpid(decoder_process._start_child(request, theirs, control), 0)[1]
        return status, ours.recv(1000)


def forever() -> None:
    while True:
        pass


def test_a_child_that_takes_too_much_processor_time_is_killed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_process, "_CPU_SECONDS", 0.0)
    status, sent = run_child(monkeypatch, file, forever)
    assert os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)
    assert sent == b""


def test_a_child_that_delivers_nothing_in_time_is_killed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, sent = run_child(monkeypatch, file, forever, stall_seconds=0.1)
    assert os.WTERMSIG(status) == signal.SIGALRM
    assert sent == b""


def test_too_much_memory_is_reported_as_such(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, sent = run_child(monkeypatch, file, lambda: bytearray(MEMORY_BYTES))
    assert status == 0
    assert b"decode_failed" in sent
    assert b"too much memory" in sent


def test_a_child_cannot_write_a_file(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, _ = run_child(monkeypatch, file, lambda: (tmp_path / "a").write_bytes(b"a"))
    assert os.waitstatus_to_exitcode(status) == 1  # EFBIG: Python ignores the signal
    assert (tmp_path / "a").stat().st_size == 0


def test_a_child_killed_from_outside_does_not_reject_the_recording(stream: AudioStream) -> None:
    os.kill(int(child_of(stream).name), signal.SIGKILL)
    with pytest.raises(DecoderLost):
        list(stream)


def test_a_dead_decoder_process_is_replaced(file: Path) -> None:
    with open_audio(file, max_seconds=600) as stream:
        assert reader._process._running is not None
        reader._process._running[0].kill()
        assert sum(block.shape[1] for block in stream) == 300 * 16_000  # its child continues
    assert decode(file, max_seconds=600).audio.duration == 300


@pytest.mark.parametrize(
    "messages",
    [
        [(b"H", b"null"), *[(b"B", bytes(2 * 16_000))] * 100],  # endlessly
        [(b"H", b"null"), (b"B", bytes(3))],
        [(b"H", b'"long"')],
        [(b"R", b"not JSON")],
        [(b"R", b'{"code": "no_such_code", "message": ""}')],
        [(b"H", b"1"), (b"B", bytes(32_000)), (b"F", b'{"audio": {"duration": -1}, "cautions": []}')],
    ],
)
def test_a_compromised_child_cannot_send_anything_it_likes(
    file: Path, messages: list[tuple[bytes, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    monkeypatch.setattr(reader._process, "start_child", lambda _: (0, ours))
    monkeypatch.setattr(reader._process, "end_child", lambda _: 0)
    with theirs, ThreadPoolExecutor(1) as thread:
        messages_sent = b"".join(HEADER.pack(kind, 1, len(content)) + content for kind, content in messages)
        sending = thread.submit(theirs.sendall, messages_sent)
        with pytest.raises(Rejected) as caught:
            list(open_audio(file, max_seconds=10))
        ours.close()
        sending.exception()
    assert caught.value.code is ErrorCode.DECODE_FAILED


def test_an_impossible_length_is_not_expected(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.flac", [tone(1)], codec="flac")
    content = bytearray(path.read_bytes())
    content[22:26] = b"\xff" * 4  # samples in all
    path.write_bytes(content)
    with open_audio(path, max_seconds=600) as stream:
        assert stream.expected_seconds is None
        assert sum(block.shape[1] for block in stream) == 16_000
