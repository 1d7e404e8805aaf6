"""Which files in a folder are whole: nobody has changed them for a while.

Recorders flush now and then, phones sync over slow lines, editors fix the header at the end. No sign tells that a
writer has finished, and `cp -p`, `rsync -t` and `unzip` give a file an old time from its first byte on. So a file is
looked at until it stays as it is. One that changes after it was taken is watched for longer, so that a slow writer
makes one more recording of it, and not one for each of its pauses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from speechpipe.backends.local.folder import FolderUploads, Stamp
from speechpipe.contract import Source

#: A file is whole once it has not changed for so many times its longest pause so far.
_TIMES_ITS_PAUSE = 2.0
#: Seconds that a file is waited for because of its pauses: after the first change since it was taken, and later ones.
_LONGEST_WAITS = (60.0, 600.0)
#: Seconds. A change after a longer pause is another edit, not the same writer.
_ANOTHER_EDIT = 3600.0


@dataclass(frozen=True)
class _Look:
    """A file as it was seen."""

    stamp: Stamp
    since: float  #: when it was first seen so, in seconds of a monotonic clock
    patience: float  #: seconds that it has to stay so
    taken: bool = False
    changes: int = 0  #: since it was first taken


class Arrivals:
    """Looks at the folder again and again. What is older than `seconds` at the first look is whole."""

    def __init__(self, uploads: FolderUploads, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._uploads, self._seconds, self._clock = uploads, seconds, clock
        self._looks: dict[str, _Look] = {}
        self._first = True

    def look(self, known: Collection[tuple[str, str]]) -> tuple[list[Source], int]:
        """Return the files that are whole, and how many others are not yet. `known`: names and generations taken."""
        now, before, self._looks, growing = self._clock(), self._looks, {}, 0
        whole = []
        for source in self._uploads.objects():
            look = before.get(source.name)
            if (source.name, source.generation) in known:
                if look:
                    self._looks[source.name] = look
                continue
            stamp = self._uploads.stamp(source)
            if stamp is None:  # deleted since the listing
                continue
            if look is None or look.stamp != stamp:
                look = self._changed(look, stamp, now)
            settled = now - look.since >= look.patience or (self._first and self._is_old(stamp))
            self._looks[source.name] = _Look(look.stamp, look.since, look.patience, settled or look.taken, look.changes)
            if settled:
                whole.append(source)
            else:
                growing += 1
        self._first = False
        return whole, growing

    def _changed(self, look: _Look | None, stamp: Stamp, now: float) -> _Look:
        if look is None or now - look.since > _ANOTHER_EDIT:
            return _Look(stamp, now, self._seconds)
        wait = min(_TIMES_ITS_PAUSE * (now - look.since), _LONGEST_WAITS[min(look.changes, 1)])
        return _Look(stamp, now, max(look.patience, wait), look.taken, look.changes + look.taken)

    def _is_old(self, stamp: Stamp) -> bool:
        """Whether the last change was long ago; `ctime` cannot be set, so no tool makes a new file look old."""
        return time.time() - max(stamp.modified_ns, stamp.changed_ns) / 1e9 >= self._seconds
