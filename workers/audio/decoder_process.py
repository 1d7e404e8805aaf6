"""The decoder process: forks a child for each recording, under limits, and never touches a model or a network.

A decoder is a hundred thousand lines of C that read bytes from strangers, so it runs where it can do no harm. This
process is started afresh, with no memory, socket or credential of the service, and forks a child for each recording. A
fork takes milliseconds; an interpreter with its imports takes 0.2 s. A child has limited memory and processor time, can
open few files and write none, and is killed by an alarm if it neither delivers nor waits for its reader.

    service  -- one line of JSON and a socket -->  this process  -- fork -->  child  -- blocks, then facts -->  service

`reader` is the service's end of it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import signal
import socket
import struct
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import av.subtitles.stream  # noqa: F401 - PyAV would import it with the first file, when a child can open no module any more
import numpy as np

from speechpipe.contract.errors import ErrorCode, Rejected
from workers.audio.decoder import Facts, Head, decode_stream

#: Precedes every message: its kind (H, B, F or R), the channels (of a block) and the size in bytes.
HEADER = struct.Struct("<cBI")
#: Address space of a child, of which its libraries take 0.22 GB.
MEMORY_BYTES = 1 << 30
_REPLY_BYTES = 1 << 16
_ARGUMENTS = (
    "start",
    "stop",
    "split",
    "max_seconds",
    "track",
    "language",
)  #: of `decode_stream`, as a request names them
#: Seconds of processor time: a base, and a share of the longest audio allowed. Most files need a thousandth of theirs.
_CPU_SECONDS, _CPU_SHARE = 60.0, 0.05
_OUT = 3  #: file descriptor of a child's only socket
#: Size of the socket's buffer: how much a child may decode ahead of its reader.
SOCKET_BYTES = 1 << 20


def serve(control: socket.socket) -> None:
    """Fork a child for each request until the service goes away."""
    os.chdir(folder := tempfile.mkdtemp())
    os.rmdir(folder)  # leaves a working directory in which there are no files and none can be created
    gc.freeze()
    children: set[int] = set()
    try:
        while True:
            line, passed, _, _ = socket.recv_fds(control, _REPLY_BYTES, 1)
            if not line:
                return
            request = json.loads(line)
            if "end" in request:
                reply = _end_child(request["end"])
                children.discard(request["end"])
            else:
                reply = _start_child(request, socket.socket(fileno=passed[0]), control)
                children.add(reply)
            control.sendall(json.dumps(reply).encode())
    finally:
        for child in children:
            _end_child(child)


def _start_child(request: dict[str, Any], out: socket.socket, control: socket.socket) -> int:
    with out:
        child = os.fork()
        if child:
            return child
        status = 1
        try:
            control.close()
            with _close_all_but(out) as only:
                _set_limits(request["max_seconds"])
                _send_audio(request, only)
            status = 0
        except BrokenPipeError:  # the reader has closed its end
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)


def _end_child(child: int) -> int:
    """Return a child's wait status, after killing it if it is still running after 20 ms.

    Its process id cannot be reused before it has been waited for.
    """
    for _ in range(20):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def _close_all_but(out: socket.socket) -> socket.socket:
    """Move the socket to the lowest descriptor after the standard streams, and close everything else."""
    number = out.detach()
    if number != _OUT:
        os.dup2(number, _OUT)
    os.closerange(_OUT + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    return socket.socket(fileno=_OUT)


def _set_limits(max_seconds: float) -> None:
    seconds = int(_CPU_SECONDS + _CPU_SHARE * max_seconds)
    # The input is opened twice, by us and by FFmpeg. No other file or socket can be opened.
    limits = {"CPU": seconds, "FSIZE": 0, "CORE": 0, "NOFILE": _OUT + 3, "NPROC": 0, "AS": MEMORY_BYTES}
    for name, value in limits.items():
        with contextlib.suppress(ValueError) if sys.platform == "darwin" else contextlib.nullcontext():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


def _send_audio(request: dict[str, Any], out: socket.socket) -> None:
    """Send a recording's head, blocks and facts, or the reason why there are none."""
    stall = request["stall_seconds"]

    def send(kind: bytes, content: bytes | memoryview, channels: int = 0) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)  # waiting for a busy reader is not a stall
        out.sendall(HEADER.pack(kind, channels, len(content)))
        out.sendall(content)
        signal.setitimer(signal.ITIMER_REAL, stall)

    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the default kills; something else may have been inherited
    signal.setitimer(signal.ITIMER_REAL, stall)
    try:
        path, wanted = Path(request["path"]), {name: request[name] for name in _ARGUMENTS}
        for part in decode_stream(path, **wanted):
            match part:
                case Head():
                    send(b"H", json.dumps(part.expected_seconds).encode())
                case Facts():
                    cautions = [caution.model_dump(mode="json") for caution in part.cautions]
                    send(b"F", json.dumps({"audio": part.audio.model_dump(mode="json"), "cautions": cautions}).encode())
                case _:
                    send(b"B", np.ascontiguousarray(part).data.cast("B"), len(part))
    except Rejected as error:
        send(b"R", json.dumps({"code": error.code, "message": error.message}).encode())
    except MemoryError:
        message = "the file is damaged: decoding it would take too much memory"
        send(b"R", json.dumps({"code": ErrorCode.DECODE_FAILED, "message": message}).encode())


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as own:
        serve(own)
