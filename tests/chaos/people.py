"""What people ask for while a run goes on: redrives and erasures, asked again until they are done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

from speechpipe.backends.ports import Backend
from speechpipe.contract import Stage
from speechpipe.contract.errors import NotFinal
from speechpipe.pipeline import operations
from tests.chaos.plan import Plan

Request = Callable[[], bool]  #: asks once; whether it is done


def requests(
    plan: Plan, backend: Backend, id_of: Callable[[int], str | None], errors: tuple[type[Exception], ...]
) -> list[Request]:
    """All of a plan. `id_of` knows the recording of a file's number once it is uploaded; `errors` pass."""

    expected: tuple[type[Exception], ...] = (NotFinal, *errors)

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
        store, bus, results = backend.store, backend.bus, backend.results
        operations.redrive(recording_id, stages, store=store, bus=bus, results=results, clock=_now)
        return True

    def erase(recording_id: str, upload: bool) -> bool:
        if backend.store.recording(recording_id) is None:
            return False
        operations.erase(
            recording_id,
            upload=upload,
            store=backend.store,
            bus=backend.bus,
            uploads=backend.uploads,
            results=backend.results,
            clock=_now,
        )
        return True

    asked: list[Request] = []
    for number, stages in plan.redriven.items():
        asked.append(partial(ask, partial(redrive, stages=stages), number))
    for number, upload in plan.erased.items():
        asked.append(partial(ask, partial(erase, upload=upload), number))
    plan.chance("people").shuffle(asked)
    return asked


def _now() -> datetime:
    return datetime.now(UTC)
