"""Stops process groups when its parent is gone: after Ctrl-C, a crash, even `kill -9`.

It reads its standard input, a pipe whose other end only the parent holds: `+123` is a group to watch, `-123` one that
has ended. When the pipe closes, the parent is gone. This works on Linux and macOS; Linux's PR_SET_PDEATHSIG would fire
when the *thread* that started a child ends. It runs as a plain file: it imports nothing and starts in milliseconds.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable

GRACE_SECONDS = 3.0


def alive(group: int) -> bool:
    """Whether any process of the group is still running."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def reap_nothing() -> None:
    """Reap nothing: a dead parent's children are not ours."""


def end(groups: Iterable[int], reap: Callable[[], object] = reap_nothing, grace: float = GRACE_SECONDS) -> None:
    """Stop every group with SIGTERM, then, after `grace` seconds, SIGKILL. `reap` collects zombie children."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for group in groups:
            try:
                os.killpg(group, number)
            except (ProcessLookupError, PermissionError):
                continue
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline:
            reap()
            if not any(alive(group) for group in groups):
                return
            time.sleep(0.05)


def main() -> None:
    """Watch until the pipe closes, then stop every group."""
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    end(groups)


if __name__ == "__main__":
    main()
