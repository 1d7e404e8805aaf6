"""What people request during a run: redrives and erasures, retried until they succeed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from speechpipe.backends.ports import Backend
from speechpipe.contract import Stage
from speechpipe.contract.errors import NotFinal
from speechpipe.pipeline import operations
from speechpipe.pipeline.world import World
from speechpipe.settings import Limits
from tests.chaos.plan import Plan

Request = Callable[[], bool]  #: tries once; returns whether it succeeded


def requests(
    plan: Plan, backend: Backend, id_of: Callable[[int], str | None], errors: tuple[type[Exception], ...]
) -> list[Request]:
    """All requests of a plan. `id_of` returns a file's recording once it is uploaded; `errors` are retried."""

    expected: tuple[type[Exception], ...] = (NotFinal, *errors)
    world = World.over(backend, Limits())

    def ask(verb: Callable[[str], bool], number: int) -> bool:
        recording_id = id_of(number)
        try:
            return recording_id is not None and verb(recording_id)
        except expected:
            return False

    def redrive(recording_id: str, stages: Sequence[Stage]) -> bool:
        found = backend.store.recording(recording_id)
        if found is None or not found.may_be_revised:
            return False
        operations.redrive(recording_id, stages, world)
        return True

    def erase(recording_id: str, upload: bool) -> bool:
        if backend.store.recording(recording_id) is None:
            return False
        operations.erase(recording_id, world, upload=upload)
        return True

    asked: list[Request] = []
    for number, stages in plan.redriven.items():
        asked.append(partial(ask, partial(redrive, stages=stages), number))
    for number, upload in plan.erased.items():
        asked.append(partial(ask, partial(erase, upload=upload), number))
    plan.rng("people").shuffle(asked)
    return asked
