"""The process that decodes: what it is given, what it may do, and what its end means."""

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
    """Five minutes: more than is decoded ahead."""
    return write_audio(tmp_path / "a.flac", [tone(300)], codec="flac")


@pytest.fixture
def recording(file: Path) -> Iterator[AudioStream]:
    with open_audio(file, max_seconds=600) as opened:
        yield opened


def child_of(recording: AudioStream) -> Path:
    return Path(f"/proc/{recording._child}")


def test_blocks_come_while_the_rest_is_not_decoded_yet(recording: AudioStream) -> None:
    blocks = iter(recording)
    block = next(blocks)
    assert block.dtype == np.int16
    assert block.shape[0] == recording.channels == 1
    assert recording.expected_seconds == pytest.approx(300)
    with pytest.raises(RuntimeError, match="not all blocks"):
        _ = recording.audio
    assert block.shape[1] + sum(block.shape[1] for block in blocks) == 300 * 16_000
    assert recording.audio.duration == 300


def test_many_recordings_at_once(file: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: decode(file, max_seconds=600).audio.duration, range(24)))
    assert found == [300] * 24


def test_a_file_that_is_not_there_is_no_fault_of_the_recording(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_audio(tmp_path / "gone.wav", max_seconds=600)


def test_a_little_too_long_shows_while_it_is_read(file: Path) -> None:
    with open_audio(file, max_seconds=299) as recording, pytest.raises(Rejected, match="at most 299 seconds"):
        for _ in recording:
            pass


@pytest.mark.parametrize("known", [True, False])
def test_too_long_shows_at_once_where_it_can_be_sought(file: Path, known: bool) -> None:
    if not known:
        content = bytearray(file.read_bytes())
        content[22:26] = bytes(4)  # samples in all
        file.write_bytes(content)
    with pytest.raises(Rejected, match="at most 200 seconds"):
        open_audio(file, max_seconds=200)


def test_closing_ends_the_child(recording: AudioStream) -> None:
    child = child_of(recording)
    assert child.exists()
    recording.close()
    assert not child.exists()


# ------------------------------------------------------------------------------------------------ what it may do


def test_it_holds_no_socket_file_or_secret_of_the_service(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader.stop()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/secret")
    with socket.create_server(("127.0.0.1", 0)) as server, open_audio(file, max_seconds=600) as recording:
        child = child_of(recording)
        held = {os.readlink(fd) for fd in (child / "fd").iterdir() if fd.name != "2"}  # errors are printed
        assert os.readlink(f"/proc/self/fd/{server.fileno()}") not in held
        assert len([name for name in held if name.startswith("socket:")]) == 1
        assert {name for name in held if name.startswith("/") and not name.startswith("/dev/")} <= {str(file)}
        assert b"GOOGLE" not in (child / "environ").read_bytes()


def test_it_runs_where_nothing_is_and_under_limits(recording: AudioStream) -> None:
    child = child_of(recording)
    assert os.readlink(child / "cwd").endswith("(deleted)")
    limits = {line[:25].strip(): line[25:].split()[0] for line in (child / "limits").read_text().splitlines()[1:]}
    assert limits["Max address space"] == str(MEMORY_BYTES)
    assert limits["Max cpu time"] == "90"
    assert limits["Max open files"] == "6" == str(1 + max(int(fd.name) for fd in (child / "fd").iterdir()))
    assert limits["Max file size"] == limits["Max processes"] == limits["Max core file size"] == "0"


def test_while_it_decodes_no_second_file_or_socket_can_be_opened(file: Path) -> None:
    """By the kernel, whatever a demuxer or an exploit asks for: a child in which FFmpeg opens another file instead."""

    def child() -> Iterator[str]:
        parts = decode_stream(file, max_seconds=600)
        next(parts)
        yield from (_refusal(lambda: av.open(str(file))), _refusal(socket.socket), _refusal(file.open))

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


def _refusal(opening: Callable[[], object]) -> str:
    try:
        opening()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "opened"


def test_addresses_in_a_file_are_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every kind of playlist and reference: nobody connects, and a pipe that would block whoever opens it does not.

    Were it opened, the outcome would be another: its child would hang and be killed.
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


def test_the_movie_does_refer_to_another_file(tmp_path: Path) -> None:
    """Else the test above would show nothing: FFmpeg, told to, finds the sound."""
    sound = write_audio(tmp_path / "sound.wav", [tone(1)], codec="pcm_s16le")
    (tmp_path / "a.mov").write_bytes(movie_referring(str(sound), kind=b"alis"))
    follow = {"enable_drefs": "1", "use_absolute_path": "1"}
    with av.open(str(tmp_path / "a.mov"), options=follow) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) == 16_000


# -------------------------------------------------------------------------------------------------- how it ends


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGXCPU, signal.SIGALRM, signal.SIGABRT])
def test_a_file_that_brings_decoding_down_is_rejected(recording: AudioStream, how: signal.Signals) -> None:
    os.kill(int(child_of(recording).name), how)
    with pytest.raises(Rejected, match="damaged") as caught:
        list(recording)
    assert caught.value.code is ErrorCode.DECODE_FAILED


def test_one_that_hangs_is_rejected(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "STALL_SECONDS", 0.1)
    with open_audio(file, max_seconds=600) as recording:
        child = child_of(recording)
        os.kill(int(child.name), signal.SIGSTOP)
        with pytest.raises(Rejected, match="too much time"):
            list(recording)
    assert not child.exists()


def test_a_reader_that_takes_its_time_is_no_hang(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "STALL_SECONDS", 1.0)
    with open_audio(file, max_seconds=600) as slow:
        began = time.monotonic()
        while time.monotonic() < began + 1.2:  # meanwhile
            assert decode(file, max_seconds=600).audio.duration == 300
        assert sum(block.shape[1] for block in slow) == 300 * 16_000


def ends(monkeypatch: pytest.MonkeyPatch, path: Path, work: Callable[[], object], **limits: float) -> tuple[int, bytes]:
    """Wait status and messages of a real child that does this in place of decoding."""

    def decode_stream(path: Path, **_: object) -> Iterator[None]:
        work()
        yield

    monkeypatch.setattr(decoder_process, "decode_stream", decode_stream)
    request = {"path": str(path), "split": False, "max_seconds": 20, "stall_seconds": 30.0, **limits}
    (ours, theirs), (control, other) = socket.socketpair(), socket.socketpair()
    with ours, control, other:
        status = os.waitpid(decoder_process._start_child(request, theirs, control), 0)[1]
        return status, ours.recv(1000)


def forever() -> None:
    while True:
        pass


def test_one_that_takes_too_much_processor_time_is_killed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_process, "_CPU_SECONDS", 0.0)
    status, said = ends(monkeypatch, file, forever)
    assert os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)
    assert said == b""


def test_one_that_gives_nothing_in_time_is_killed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, said = ends(monkeypatch, file, forever, stall_seconds=0.1)
    assert os.WTERMSIG(status) == signal.SIGALRM
    assert said == b""


def test_one_that_takes_too_much_memory_is_told_so(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, said = ends(monkeypatch, file, lambda: bytearray(MEMORY_BYTES))
    assert status == 0
    assert b"decode_failed" in said
    assert b"too much memory" in said


def test_one_that_writes_a_file_cannot(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, _ = ends(monkeypatch, file, lambda: (tmp_path / "a").write_bytes(b"a"))
    assert os.waitstatus_to_exitcode(status) == 1  # EFBIG: Python ignores the signal
    assert (tmp_path / "a").stat().st_size == 0


def test_an_end_from_outside_is_no_fault_of_the_recording(recording: AudioStream) -> None:
    os.kill(int(child_of(recording).name), signal.SIGKILL)
    with pytest.raises(DecoderLost):
        list(recording)


def test_the_process_is_replaced_when_it_is_gone(file: Path) -> None:
    with open_audio(file, max_seconds=600) as recording:
        assert reader._process._running is not None
        reader._process._running[0].kill()
        assert sum(block.shape[1] for block in recording) == 300 * 16_000  # its child goes on
    assert decode(file, max_seconds=600).audio.duration == 300


@pytest.mark.parametrize(
    "messages",
    [
        [(b"H", b"null"), *[(b"B", bytes(2 * 16_000))] * 100],  # on and on
        [(b"H", b"null"), (b"B", bytes(3))],
        [(b"H", b'"long"')],
        [(b"R", b"not JSON")],
        [(b"R", b'{"code": "no_such_code", "message": ""}')],
        [(b"H", b"1"), (b"B", bytes(32_000)), (b"F", b'{"audio": {"duration": -1}, "cautions": []}')],
    ],
)
def test_a_child_that_was_taken_over_cannot_say_what_it_likes(
    file: Path, messages: list[tuple[bytes, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    monkeypatch.setattr(reader._process, "start_child", lambda _: (0, ours))
    monkeypatch.setattr(reader._process, "end_child", lambda _: 0)
    with theirs, ThreadPoolExecutor(1) as thread:
        said = b"".join(HEADER.pack(kind, 1, len(content)) + content for kind, content in messages)
        speaking = thread.submit(theirs.sendall, said)
        with pytest.raises(Rejected) as caught:
            list(open_audio(file, max_seconds=10))
        ours.close()
        speaking.exception()
    assert caught.value.code is ErrorCode.DECODE_FAILED


def test_a_length_that_cannot_be_is_not_expected(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.flac", [tone(1)], codec="flac")
    content = bytearray(path.read_bytes())
    content[22:26] = b"\xff" * 4  # samples in all
    path.write_bytes(content)
    with open_audio(path, max_seconds=600) as recording:
        assert recording.expected_seconds is None
        assert sum(block.shape[1] for block in recording) == 16_000
