"""Where sound belongs in time: a file's packet times against the samples decoded so far. Pure.

A track may begin after the picture does, and a recorder that was muted or lost packets leaves holes. Players show
both: they count from the earliest track's start and play nothing in a hole. The decoder fills them with silence, so
that times in a record are a player's.
"""

from __future__ import annotations

import math

#: Packet times are rounded (Matroska: to 1 ms) and jitter. Below this, in seconds, samples are taken to be contiguous.
MIN_GAP = 0.04
#: A longer gap, in seconds, is a clock that jumped rather than a pause.
MAX_GAP = 3600.0
#: Times that go back by more, in seconds, have begun anew, as those of a second recording in the same file.
_MAX_BACK = 0.5


class Timeline:
    """Follows one track. All times are in seconds."""

    def __init__(self, origin: float | None, most: float) -> None:
        self._origin = origin  # the packet time at which the recording begins; None: that of the first frame
        self._most = most
        self.position = 0.0  #: length of all sound so far, silence included
        self.filled: list[tuple[float, float]] = []  #: where silence was put in, and how much
        self.jumps: list[tuple[float, float]] = []  #: where more than MAX_GAP, or than fits, was left out, and how much

    def silence_before(self, time: float | None) -> float:
        """How much silence to put before a frame with this packet time, which is added to the position."""
        if time is None or not math.isfinite(time):
            return 0.0
        if self._origin is None:
            self._origin = time
        gap = time - self._origin - self.position
        if gap < -_MAX_BACK:
            self._origin += gap
        if gap < MIN_GAP:
            return 0.0
        if gap > MAX_GAP or self.position + gap >= self._most:
            self._origin += gap
            self.jumps.append((self.position, gap))
            return 0.0
        self.filled.append((self.position, gap))
        self.position += gap
        return gap

    def lost(self, seconds: float) -> None:
        """Note that so much sound was lost without a trace in the packet times."""
        self._origin = (self._origin or 0.0) - seconds

    @property
    def filled_inside(self) -> list[tuple[float, float]]:
        """The silence put in after the first sound."""
        return [(at, gap) for at, gap in self.filled if at > 0]
