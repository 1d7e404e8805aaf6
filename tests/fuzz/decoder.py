"""The decoder under fuzz: `workers.audio.decoder.decode_stream` in limited children, which take a batch of inputs each.

A worker forks a child for each recording; here a child takes a batch, which is ten times faster. The child has the
worker's memory limits, and it writes each outcome to a pipe before it starts the next input: if it dies, the input it
was reading is the finding. Besides a crash, findings are: more than MOST_SECONDS of processor time, an exception other
than Rejected, a message that contains a path or FFmpeg's words, more audio than the cap, blocks of the wrong shape, and
facts that do not match the blocks.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from speechpipe.contract.errors import Rejected
from tests.fuzz.mutation import mutated_bytes
from tests.fuzz.seeds import media
from workers.audio.decoder import SAMPLE_RATE, Facts, Head, decode_stream
from workers.audio.decoder_process import MEMORY_BYTES

MAX_SECONDS = 30.0  #: the cap that the decoder is given
MOST_SECONDS = 10.0  #: of processor time for one input; the slowest good seed takes 0.02
_FFMPEGS_WORDS = ("Errno", "returned", "av.error", "[Err", "AVERROR", "input")
#: In memory if possible, for thousands of small files.
_FOLDER = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@dataclass(frozen=True)
class Outcome:
    """The outcome of one input."""

    index: int
    how: str  #: `read`, an error code, or `finding`
    detail: str = ""
    seconds: float = 0.0  #: of processor time
    peak_mb: float = 0.0  #: the child's peak memory so far


def make(rng: random.Random) -> bytes:
    """Make an input."""
    return mutated_bytes(rng, media())


def run_batch(inputs: Sequence[tuple[int, bytes]]) -> Iterator[Outcome]:
    """The outcome of each numbered input. If the child dies, a new one continues with the rest of the batch."""
    left = list(inputs)
    while left:
        done = 0
        for outcome in _child(left):
            done += 1
            yield outcome
        left = left[done:]


def _child(inputs: Sequence[tuple[int, bytes]]) -> Iterator[Outcome]:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reader)
            with os.fdopen(writer, "w") as out:
                _work(inputs, out)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writer)
    finished = 0
    with os.fdopen(reader) as lines:
        for line in lines:
            finished += 1
            yield Outcome(**json.loads(line))
    status = os.waitpid(child, 0)[1]
    if finished < len(inputs):
        how = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"status {status}"
        yield Outcome(inputs[finished][0], "finding", f"the process was killed by {how}")


def _work(inputs: Sequence[tuple[int, bytes]], out: Any) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory(dir=_FOLDER) as name:
        path = Path(name) / "input"
        for index, content in inputs:
            path.write_bytes(content)
            # Nobody handles this signal, so it kills the child. Twice the limit, because the timer counts all threads.
            signal.setitimer(signal.ITIMER_PROF, 2 * MOST_SECONDS)
            began = time.process_time()
            how, detail = decode(path)
            seconds = time.process_time() - began
            if seconds > MOST_SECONDS:
                how, detail = "finding", f"{seconds:.1f} s of processor time; {how} {detail}"
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
            out.write(json.dumps({"index": index, "how": how, "detail": detail, "seconds": seconds, "peak_mb": peak}))
            out.write("\n")
            out.flush()


def decode(path: Path) -> tuple[str, str]:
    """Decode a file mixed, split, and a part of it. Returns `read`, an error code, or `finding`, and what is wrong."""
    tries = (partial(_whole, path, split=False), partial(_whole, path, split=True), partial(_part, path))
    ways = [_decode(one, path) for one in tries]
    return next((way for way in ways if way[0] == "finding"), ways[0])


def _decode(work: Callable[[], tuple[str, str]], path: Path) -> tuple[str, str]:
    try:
        return work()
    except Rejected as rejected:
        message = rejected.message
        if str(path) in message or any(word in message for word in _FFMPEGS_WORDS) or not message.isprintable():
            return "finding", f"the message exposes internals: {message!r}"
        return rejected.code.value, message
    except MemoryError:
        return "memory", ""  # a worker reports decode_failed
    except Exception as error:
        return "finding", "".join(traceback.format_exception(error))


def _whole(path: Path, *, split: bool) -> tuple[str, str]:
    samples, channels, facts, heads = 0, 0, None, 0
    for part in decode_stream(path, split=split, max_seconds=MAX_SECONDS):
        if isinstance(part, Head):
            heads += 1
            assert samples == 0
        elif isinstance(part, Facts):
            facts = part
        else:
            assert part.dtype == np.int16
            channels = channels or len(part)
            assert len(part) == channels, f"blocks of {channels} and of {len(part)} channels"
            samples += part.shape[1]
    assert heads == 1, f"{heads} heads"
    assert facts is not None
    assert abs(facts.audio.duration - samples / SAMPLE_RATE) < 0.001
    assert facts.audio.duration <= MAX_SECONDS
    assert channels == (facts.audio.channels if split else 1)
    assert all(caution.message.isprintable() for caution in facts.cautions)
    return "read", ""


#: Samples: a stretch that begins after the run-up of `workers.audio.seeking`, so that the file is really sought.
_START, _STOP = int(2.5 * SAMPLE_RATE), int(4.5 * SAMPLE_RATE)


def _part(path: Path) -> tuple[str, str]:
    """Decode a stretch from the middle: never more than was asked for, however the file lies about its places."""
    samples = 0
    for part in decode_stream(path, max_seconds=MAX_SECONDS, start=_START, stop=_STOP):
        if isinstance(part, Facts):
            assert part.audio.duration <= MAX_SECONDS
        elif not isinstance(part, Head):
            samples += part.shape[1]
    assert samples <= _STOP - _START
    return "read", ""
