"""The process that decodes: it forks a child for each recording, under limits, and never touches a model or a network.

A decoder is a hundred thousand lines of C that reads strangers' bytes. So it runs where it can do no harm: a process
started afresh (no memory, no socket, no credential of the service in it), which forks a child for each recording. A
fork takes milliseconds where an interpreter with its imports takes 0.2 s. The child may use so much memory and
processor time, open few files and write none; if it neither delivers nor waits for its reader, an alarm ends it.

    service  -- one line of JSON and a socket -->  this process  -- fork -->  child  -- blocks, then facts -->  service

`preparation` is the service's side of it.
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

import av.subtitles.stream  # noqa: F401 - PyAV imports it with the first file, when no module can be opened any more
import numpy as np

from speechpipe.contract.errors import ErrorCode, Rejected
from workers.audio.decoder import Facts, Head, stream

#: Before every message: its kind (H, B, F or R), channels (of a block) and bytes.
HEADER = struct.Struct("<cBI")
#: Address space of a child: 0.22 GB are its libraries.
MEMORY_BYTES = 1 << 30
_REPLY_BYTES = 1 << 16
#: Seconds of processor time: for a start, and as a share of the longest audio allowed; most files need a thousandth.
_CPU_SECONDS, _CPU_SHARE = 60.0, 0.05
_OUT = 3  #: file descriptor of a child's only socket
#: Decoded ahead of the reader.
SOCKET_BYTES = 1 << 20


def serve(control: socket.socket) -> None:
    """Fork a child for each request until the service goes away."""
    os.chdir(folder := tempfile.mkdtemp())
    os.rmdir(folder)  # a working directory where nothing is and nothing can be made
    gc.freeze()
    children: set[int] = set()
    try:
        while True:
            line, passed, _, _ = socket.recv_fds(control, _REPLY_BYTES, 1)
            if not line:
                return
            request = json.loads(line)
            if "end" in request:
                reply = _end(request["end"])
                children.discard(request["end"])
            else:
                reply = _begin(request, socket.socket(fileno=passed[0]), control)
                children.add(reply)
            control.sendall(json.dumps(reply).encode())
    finally:
        for child in children:
            _end(child)


def _begin(request: dict[str, Any], out: socket.socket, control: socket.socket) -> int:
    with out:
        child = os.fork()
        if child:
            return child
        status = 1
        try:
            control.close()
            with _alone(out) as only:
                _limit(request["max_seconds"])
                _deliver(request, only)
            status = 0
        except BrokenPipeError:  # the reader has enough
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)


def _end(child: int) -> int:
    """Its wait status. A child that is still there after a moment is killed; the number is its own until then."""
    for _ in range(20):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def _alone(out: socket.socket) -> socket.socket:
    """The socket under the lowest number that is no standard stream; everything else is closed."""
    number = out.detach()
    if number != _OUT:
        os.dup2(number, _OUT)
    os.closerange(_OUT + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    return socket.socket(fileno=_OUT)


def _limit(max_seconds: float) -> None:
    seconds = int(_CPU_SECONDS + _CPU_SHARE * max_seconds)
    # The input is opened twice, by us and by FFmpeg, and no other file or socket can be.
    limits = {"CPU": seconds, "FSIZE": 0, "CORE": 0, "NOFILE": _OUT + 3, "NPROC": 0, "AS": MEMORY_BYTES}
    for name, value in limits.items():
        with contextlib.suppress(ValueError) if sys.platform == "darwin" else contextlib.nullcontext():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


def _deliver(request: dict[str, Any], out: socket.socket) -> None:
    """Send a recording's head, its blocks and its facts, or the reason why there are none."""
    stall = request["stall_seconds"]

    def send(kind: bytes, content: bytes | memoryview, channels: int = 0) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)  # a reader that is busy elsewhere is no stall
        out.sendall(HEADER.pack(kind, channels, len(content)))
        out.sendall(content)
        signal.setitimer(signal.ITIMER_REAL, stall)

    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which kills, whatever was inherited
    signal.setitimer(signal.ITIMER_REAL, stall)
    try:
        for part in stream(Path(request["path"]), split=request["split"], max_seconds=request["max_seconds"]):
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
        message = "the file is damaged: to decode it would take too much memory"
        send(b"R", json.dumps({"code": ErrorCode.DECODE_FAILED, "message": message}).encode())


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as own:
        serve(own)
