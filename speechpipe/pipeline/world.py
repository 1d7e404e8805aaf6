"""What a verb gets besides its argument: one frozen value that a backend and its settings give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from speechpipe.backends.ports import Analyse, Backend, Clock
from speechpipe.settings import Limits


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class World(Backend):
    """The ports, the clock, and the limits that this deployment sets."""

    limits: Limits
    clock: Clock = utc_now

    @classmethod
    def over(cls, backend: Backend, limits: Limits, clock: Clock = utc_now) -> Self:
        """The world of a backend and its settings."""
        return cls(**vars(backend), limits=limits, clock=clock)

    def attempt(
        self,
        analyse: Analyse,
        *,
        holder: str,
        lease_seconds: float,
        longest_seconds: float | None = None,
        scratch: Path | None = None,
        length: Callable[[Path], float | None] | None = None,
    ) -> WorkerWorld:
        """The same world, for one delivery of a task to a worker."""
        return WorkerWorld(
            **vars(self),
            analyse=analyse,
            holder=holder,
            lease_seconds=lease_seconds,
            longest_seconds=longest_seconds,
            scratch=scratch,
            length=length,
        )


@dataclass(frozen=True, kw_only=True)
class WorkerWorld(World):
    """What `perform` gets: the engine too, and the terms of one attempt."""

    analyse: Analyse
    holder: str  #: who holds the lease: another one for each delivery
    lease_seconds: float  #: length of the lease, which is extended while the attempt runs
    longest_seconds: float | None = None  #: from the start; the lease is not extended past it
    length: Callable[[Path], float | None] | None = None  #: seconds of a file; None: recordings are not cut here
    scratch: Path | None = None  #: where uploads are downloaded to; None: the machine's folder for temporary files
