"""Run by `test_disk.py` on a disk of its own: works on a folder whose disk fills up, and is emptied later."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

from speechpipe.backends.ports import Progress
from speechpipe.contract import Analysis, Options, Part, Stage
from speechpipe.embedded import consumer, runner
from speechpipe.embedded.consumer import MAX_ATTEMPTS
from speechpipe.embedded.runner import Runner
from speechpipe.settings import Limits
from tests.doubles import FixedEngine, ready


def fill(path: Path) -> None:
    """Write until there is no room."""
    with path.open("ab", buffering=0) as file:
        for size in (1 << 16, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue


class Filling(FixedEngine):
    """Fills the disk the first time that it runs."""

    def __call__(self, path: Path, options: Options, progress: Progress, part: Part | None = None) -> Analysis:
        if not self.runs:
            fill(FILLER)
        return super().__call__(path, options, progress, part)


class Emptying(logging.Handler):
    """Makes room once more has failed than a task has attempts."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.errors += 1
        if self.errors > 3 * MAX_ATTEMPTS:
            FILLER.unlink(missing_ok=True)


FOLDER = Path(sys.argv[1])
FILLER = FOLDER / ".filler"


def main() -> None:
    """Print the outcome, and how many attempts it took."""
    runner.SCAN_SECONDS = runner.SETTLE_SECONDS = 0.05
    consumer.UNUSABLE_SECONDS = consumer.MAX_BACKOFF_SECONDS = 0.05
    handler = Emptying()
    logging.basicConfig(handlers=[handler])
    engines = {Stage.STT: Filling(Stage.STT), Stage.SER: FixedEngine(Stage.SER)}
    (FOLDER / "a.wav").write_bytes(b"audio")
    with Runner(FOLDER, ready(engines), Limits(), traces="off") as work:
        while not work.idle():
            time.sleep(0.05)
    [recording] = work.store.recordings()
    work.store._database.close()
    print(recording.status.value, handler.errors > 3 * MAX_ATTEMPTS)


if __name__ == "__main__":
    main()
