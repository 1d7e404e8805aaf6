"""Which files of a watched folder are taken, and when."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from speechpipe.backends.local import connect
from speechpipe.backends.local.folder import FolderUploads
from speechpipe.contract import Source
from speechpipe.embedded.arrivals import Arrivals

LOOK = 0.5  #: seconds between looks


class Watch:
    """A runner's looks at a folder, on a clock of their own."""

    def __init__(self, folder: Path, seconds: float = 5.0) -> None:
        uploads = connect(folder).uploads
        assert isinstance(uploads, FolderUploads)
        self.now = 0.0
        self.known: set[tuple[str, str]] = set()
        self.taken: list[Source] = []
        self._arrivals = Arrivals(uploads, seconds, clock=lambda: self.now)

    def look(self, seconds: float = 0.0) -> list[tuple[str, int]]:
        """Let so many seconds pass, with all their looks; names and sizes of what was taken meanwhile."""
        before, until = len(self.taken), self.now + seconds
        while True:
            whole, _ = self._arrivals.look(self.known)
            self.taken += whole
            self.known |= {(source.name, source.generation) for source in whole}
            if self.now >= until:
                return [(source.name, source.size) for source in self.taken[before:]]
            self.now += LOOK


def write(path: Path, body: bytes, *, at: int | None = None) -> None:
    """Write a file; `at`: its time, in nanoseconds, as tools that keep times set it."""
    path.write_bytes(body)
    stamp = at if at is not None else path.stat().st_mtime_ns + len(body)  # another one, however coarse the clock
    os.utime(path, ns=(stamp, stamp))


def test_a_file_is_taken_once_it_has_not_changed_for_five_seconds(folder: Path) -> None:
    watch = Watch(folder)
    watch.look()
    write(folder / "a.wav", b"audio")
    assert watch.look(4.5) == []
    assert watch.look(1) == [("a.wav", 5)]
    assert watch.look(600) == []


def test_a_file_that_keeps_an_old_time_is_no_older_for_that(folder: Path) -> None:
    """As with `cp -p`, `rsync -t` and `unzip`, also for the first look of a run."""
    write(folder / "old.wav", b"aud", at=10**18)
    watch = Watch(folder)
    assert watch.look(4.5) == []
    write(folder / "old.wav", b"audio", at=10**18)
    assert watch.look(4.5) == []
    assert watch.look(5.5) == [("old.wav", 5)]


def test_what_was_there_before_the_start_is_taken_at_once(folder: Path) -> None:
    write(folder / "a.wav", b"audio", at=10**18)
    seconds = time.time() - (folder / "a.wav").stat().st_ctime  # so long it has lain there
    assert Watch(folder, seconds=seconds).look() == [("a.wav", 5)]


def test_a_slow_writer_that_pauses_for_less_than_that_makes_one_recording(folder: Path) -> None:
    watch = Watch(folder)
    for part in range(1, 11):
        write(folder / "growing.wav", b"x" * part)
        assert watch.look(3) == []
    assert watch.look(20) == [("growing.wav", 10)]


@pytest.mark.parametrize("pause", [6, 8, 25])
def test_a_slower_writer_makes_one_recording_more_and_not_ten(folder: Path, pause: float) -> None:
    watch = Watch(folder)
    for part in range(1, 11):
        write(folder / "growing.wav", b"x" * part)
        watch.look(pause)
    watch.look(120)
    assert [source.size for source in watch.taken] == [1, 10]


def test_a_recording_that_is_replaced_hours_later_is_taken_as_soon_as_a_new_one(folder: Path) -> None:
    watch = Watch(folder)
    write(folder / "a.wav", b"audio")
    watch.look(7200)
    write(folder / "a.wav", b"other audio")
    assert watch.look(5.5) == [("a.wav", 11)]


@pytest.mark.parametrize(
    "name",
    [
        "call.wav.part",
        "call.wav.PART",
        "Unconfirmed 1234.crdownload",
        "call.tmp",
        "~$call.wav",
        "call.wav.filepart",
        "call.wav.download/call.wav",
        ".call.wav.x7Yz",
    ],
)
def test_a_file_under_a_temporary_name_is_taken_once_it_has_its_own(folder: Path, name: str) -> None:
    watch = Watch(folder)
    watch.look()
    (folder / name).parent.mkdir(exist_ok=True)
    write(folder / name, b"audio")
    assert watch.look(3600) == []
    (folder / name).rename(folder / "call.wav")
    assert watch.look(5.5) == [("call.wav", 5)]
