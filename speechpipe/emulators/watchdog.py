"""Ends process groups when whoever started it is gone: after Ctrl-C, a crash, even `kill -9`.

It reads its standard input, a pipe whose other end only the parent has: `+123` is a group to watch, `-123` one that
ended. The end of the pipe is the end of the parent. Works on Linux and macOS; Linux's PR_SET_PDEATHSIG would fire when
the *thread* that started a child ends. Run as a file, so that it imports nothing and starts in milliseconds.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable

GRACE_SECONDS = 3.0


def alive(group: int) -> bool:
    """Whether any process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def nothing() -> None:
    """Reap nobody: the children of a parent that died are not ours."""


def end(groups: Iterable[int], reap: Callable[[], object] = nothing, grace: float = GRACE_SECONDS) -> None:
    """Ask every group to end, and after a while make it; `reap` collects children, which else stay as zombies."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for group in groups:
            try:
                os.killpg(group, number)
            except (ProcessLookupError, PermissionError):
                continue
        patience = time.monotonic() + grace
        while time.monotonic() < patience:
            reap()
            if not any(alive(group) for group in groups):
                return
            time.sleep(0.05)


def main() -> None:
    """Watch until the pipe ends."""
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    end(groups)


if __name__ == "__main__":
    main()
