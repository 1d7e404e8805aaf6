"""What people ask for while a run goes on: redrives and erasures, asked again until they are done."""

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

Request = Callable[[], bool]  #: asks once; whether it is done


def requests(
    plan: Plan, backend: Backend, id_of: Callable[[int], str | None], errors: tuple[type[Exception], ...]
) -> list[Request]:
    """All of a plan. `id_of` knows the recording of a file's number once it is uploaded; `errors` pass."""

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
    plan.chance("people").shuffle(asked)
    return asked
