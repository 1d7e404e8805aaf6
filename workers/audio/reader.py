"""Read a recording's audio in blocks while it is decoded: the service's end of the decoder process.

    with open_audio(path, split=False, max_seconds=7200) as stream:
        for block in stream:             # int16, shape (stream.channels, n), 16 kHz
            ...
        stream.audio, stream.cautions    # known after the last block

The decoder runs about 30 s of audio ahead of the reader and then waits, so memory does not grow with the length of a
recording. `chunks` turns blocks into chunks of speech.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from speechpipe.contract import Audio, Caution
from speechpipe.contract.errors import ErrorCode, Rejected
from workers.audio.decoder import MAX_CHANNELS, SAMPLE_RATE, Block
from workers.audio.decoder_process import HEADER, SOCKET_BYTES

#: A child that dies by one of these signals hit a limit or crashed. The file is to blame, so a retry would not help.
_FILE_TO_BLAME = {
    signal.SIGXCPU, signal.SIGALRM, signal.SIGXFSZ,
    signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL,
}  # fmt: skip
#: Time limit for a child's next block, in seconds, not counting the time in which it waits for its reader. Large files
#: get longer, because the child reads them to their end to compute a checksum.
STALL_SECONDS = 20.0
_READ_BYTES_PER_SECOND = 200e6
_LONGEST_SECONDS = 100 * 3600.0
_MAX_BYTES = 1 << 26  #: of one message
_MAX_MESSAGE = 500  #: characters of an error message shown to the user
#: The environment variables passed to the decoder process: no credentials, no addresses.
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR")

#: For glibc's malloc, in bytes. Frames of half a megabyte come and go, and fetching their memory from the kernel each
#: time would be a fifth of the cost of decoding an MP3.
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}


class DecoderLost(RuntimeError):
    """The decoder process was killed from outside, perhaps for lack of memory. The recording can be retried."""


class AudioStream:
    """The audio of a recording that is being decoded; iterate over it once. Made by `open_audio`."""

    def __init__(
        self,
        path: Path,
        *,
        split: bool,
        max_seconds: float,
        track: int | None,
        language: str | None,
        start: int,
        stop: int | None,
    ) -> None:
        request = {
            "path": str(path.resolve(strict=True)),
            "split": split,
            "max_seconds": max_seconds,
            "start": start,
            "stop": stop,
            "track": track,
            "language": language,
            "stall_seconds": STALL_SECONDS + path.stat().st_size / _READ_BYTES_PER_SECOND,
        }
        self._child: int | None
        self._child, self._source = _process.start_child(request)
        self._left = 2 * max_seconds * SAMPLE_RATE + MAX_CHANNELS  # samples that even a compromised child may send
        self._audio: Audio | None = None
        self.cautions: tuple[Caution, ...] = ()  #: complete after the last block
        try:
            _, content, _ = self._message()
            with _malformed_is_damage():
                claimed = float(json.loads(content) or 0)
            #: The length that its header claims, if it is possible. Good enough to show progress.
            self.expected_seconds = claimed if 0 < claimed <= max_seconds else None
            self._first = self._block()
        except BaseException:
            self.close()
            raise
        self.start = start / SAMPLE_RATE  #: where the first sample is, in seconds of the recording
        #: Channels of every block: 1, or all those of the source with `split`.
        self.channels = 1 if self._first is None else len(self._first)

    @property
    def audio(self) -> Audio:
        """Facts about the source, known after the last block."""
        if self._audio is None:
            raise RuntimeError("not all blocks have been read")
        return self._audio

    def __iter__(self) -> Iterator[Block]:
        """Yield int16 blocks of shape (channels, n). Raises Rejected: too_long may come after hours of audio."""
        block, self._first = self._first, None
        while block is not None:
            yield block
            block = self._block()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End decoding, whether finished or not."""
        self._source.close()
        child, self._child = self._child, None
        if child is not None:
            _process.end_child(child)

    def _block(self) -> Block | None:
        kind, content, channels = self._message()
        if kind == b"B" and channels:
            with _malformed_is_damage():
                samples = np.frombuffer(content, np.int16).reshape(channels, -1)
            self._left -= samples.size if channels > 1 else 2 * samples.size
            if self._left >= 0:
                return samples
            raise _damaged()
        with _malformed_is_damage():
            facts = json.loads(content)
            self._audio = Audio.model_validate(facts["audio"])
            self.cautions = tuple(Caution.model_validate(caution) for caution in facts["cautions"])
        return None

    def _message(self) -> tuple[bytes, bytearray, int]:
        kind, channels, size = HEADER.unpack(self._receive(HEADER.size))
        if size > _MAX_BYTES:
            raise _damaged()
        content = self._receive(size)
        if kind == b"R":
            with _malformed_is_damage():
                reason = json.loads(content)
                rejected = Rejected(ErrorCode(reason["code"]), reason["message"][:_MAX_MESSAGE])
            raise rejected
        return kind, content, channels

    def _receive(self, size: int) -> bytearray:
        content = bytearray(size)
        view = memoryview(content)
        while view:
            try:
                count = self._source.recv_into(view)
            except TimeoutError:  # its own alarm should have killed it
                raise _damaged() from None
            if not count:
                raise self._ended()
            view = view[count:]
        return content

    def _ended(self) -> Exception:
        """Return the error for a child that ended before it was done."""
        child, self._child = self._child, None
        status = _process.end_child(child) if child is not None else 0
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) in _FILE_TO_BLAME:
            return _damaged()
        return DecoderLost(f"the decoder process was lost (wait status {status})")


def open_audio(
    path: Path,
    *,
    split: bool = False,
    max_seconds: float,
    track: int | None = None,
    language: str | None = None,
    start: int = 0,
    stop: int | None = None,
) -> AudioStream:
    """Start to decode a file in a separate process. Arguments and errors are those of `decoder.decode_stream`.

    Raises Rejected here if nothing can be decoded, else during iteration if an error shows later; DecoderLost in both.
    """
    return AudioStream(
        path, split=split, max_seconds=max_seconds, track=track, language=language, start=start, stop=stop
    )


def length_of(path: Path) -> float | None:
    """How long a file's sound is, in seconds: from its header or, without one, by decoding all of it.

    None if it cannot be decoded; `open_audio` tells why. Raises DecoderLost.
    """
    try:
        with open_audio(path, max_seconds=_LONGEST_SECONDS) as stream:
            if stream.expected_seconds:
                return stream.expected_seconds
            for _ in stream:
                pass
            return stream.audio.duration
    except Rejected:
        return None


def _damaged() -> Rejected:
    return Rejected(ErrorCode.DECODE_FAILED, "the file is damaged: decoding it failed or took too much time or memory")


@contextlib.contextmanager
def _malformed_is_damage() -> Iterator[None]:
    """Report a malformed message as a damaged file: only a child that its file has compromised sends one."""
    try:
        yield
    except (ValueError, TypeError, KeyError):
        raise _damaged() from None


class _Process:
    """The decoder process. It is started for the first recording at the latest, and again if it has died."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: tuple[subprocess.Popen[bytes], socket.socket] | None = None

    def start(self) -> None:
        """Start the process unless it has been."""
        with self._lock:
            self._running = self._running or self._start()

    def start_child(self, request: dict[str, Any]) -> tuple[int, socket.socket]:
        """Have a file decoded. Return the child's process id and the socket that receives its messages."""
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
            ours.settimeout(1.25 * request["stall_seconds"])
            try:
                return self._ask(request, [theirs.fileno()]), ours
            except BaseException:
                ours.close()
                raise

    def end_child(self, child: int) -> int:
        """Return a child's wait status, after killing it if need be. 0 if the whole process has died."""
        try:
            return self._ask({"end": child}, [])
        except (DecoderLost, KeyError):
            return 0

    def stop(self) -> None:
        """Stop the process and its children."""
        with self._lock:
            self._drop()

    def _ask(self, request: dict[str, Any], passed: list[int]) -> int:
        with self._lock:
            if self._running is not None and self._running[0].poll() is not None:
                self._drop()
            if self._running is None and "end" in request:
                return 0
            self._running = self._running or self._start()
            try:
                socket.send_fds(self._running[1], [json.dumps(request).encode()], passed)
                reply = self._running[1].recv(64)
            except OSError:
                reply = b""
            if not reply:
                self._drop()
                raise DecoderLost("the decoder process was lost")
            return int(reply)

    def _drop(self) -> None:
        """Close the connection, on which the process exits. The next recording starts another."""
        if self._running is not None:
            (process, control), self._running = self._running, None
            control.close()
            process.wait()

    @staticmethod
    def _start() -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, theirs = socket.socketpair()
        with theirs:
            environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
            environment["PYTHONPATH"] = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
            environment["OPENBLAS_NUM_THREADS"] = "1"  # a process that forks must have one thread
            environment |= _KEEP_MEMORY
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "workers.audio.decoder_process", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the service, which stops this process
            )
        return process, ours


_process = _Process()


def start() -> None:
    """Start the decoder process now, so that its imports run while a model is loaded."""
    _process.start()


@atexit.register
def stop() -> None:
    """Stop the decoder process. The next recording starts another."""
    _process.stop()
