"""Hop 2: a worker runs one stage of a recording, or of a part of it, and creates its partial."""

from __future__ import annotations

import logging
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

from speechpipe.backends.ports import Progress
from speechpipe.contract import (
    Analysis,
    Failure,
    HalfStatus,
    Lease,
    Partial,
    Plan,
    Recording,
    Status,
    Task,
    plan_for,
)
from speechpipe.contract.errors import Busy, Rejected, Unreadable
from speechpipe.contract.headerless import extension
from speechpipe.contract.options import parse_options
from speechpipe.observe import log_fields
from speechpipe.pipeline import parts
from speechpipe.pipeline.admission import check_object
from speechpipe.pipeline.analyses import stored
from speechpipe.pipeline.gunzip import download
from speechpipe.pipeline.heartbeat import Heartbeat
from speechpipe.pipeline.interruptible import Interrupted
from speechpipe.pipeline.progress import expected_at
from speechpipe.pipeline.world import WorkerWorld

log = logging.getLogger(__name__)

#: How often a running attempt shows its progress.
PROGRESS_SECONDS = 1.0


def perform(task: Task, world: WorkerWorld) -> bool:
    """Run one stage, or a part of it, and create its partial; False if there was one already.

    Holds a lease, extended while the attempt runs. Raises Busy while another attempt holds it, and Unreadable for a
    task without a recording. A Rejected from the engine becomes a Failure partial; any other exception propagates, with
    the lease free for the next delivery. A recording that turns out to be longer than a part is cut into parts, whose
    tasks are published instead.
    """
    store, part = world.store, task.part
    recording = store.recording(task.recording_id)
    if recording is None:
        raise Unreadable(f"there is no recording {task.recording_id}")
    if _is_settled(task, recording, world):
        return False
    now = world.clock()
    until = now + timedelta(seconds=world.lease_seconds)
    number = part.number if part else None
    lease = store.claim(task.recording_id, task.stage, task.revision, number, holder=world.holder, now=now, until=until)
    last = now + timedelta(seconds=world.longest_seconds) if world.longest_seconds else None
    heartbeat = Heartbeat(store, lease, world.clock, seconds=world.lease_seconds, until=last)
    outcome, error, wrote = "failed", None, None
    try:
        if len(lease.attempts) > 1 and _has_outcome(task, world):  # finished between our look and our claim
            outcome = "superseded"
            return False
        attempt = lease.attempts[-1].number
        if part is None or recording.halves[task.stage].status is HalfStatus.QUEUED:
            store.begin(task.recording_id, task.stage, attempt=attempt, at=now)
        with heartbeat:
            progress = _progress(lease, world, heartbeat, _share(task, world), recording.halves[task.stage].started_at)
            partial, analysis = _attempt(task, attempt, now, world, progress)
        wrote = partial.analysis_uri
        created = _create(partial, world)
        outcome = "done" if created else "superseded"
        log.info("%s done", task.stage.value, extra=log_fields.performed(task, partial, analysis))
        if part:
            parts.ended(recording, task.stage, part, world)
        return created
    except _Longer as longer:
        store.plan(task.recording_id, longer.plan)
        parts.begin(_known(task, world), task.stage, now, world)
        outcome = "done"
        return False
    except BaseException as problem:
        error = type(problem).__name__  # the class alone: messages of libraries quote paths and content
        outcome = _cut_short(problem) or outcome
        raise
    finally:
        store.release(heartbeat.lease, now=world.clock(), outcome=outcome, error=error)
        if outcome != "done":
            _clean_up_if_erased(task, wrote, world)


def _cut_short(problem: BaseException) -> str | None:
    """How an attempt ended that says nothing about its task; None for one that failed."""
    if isinstance(problem, Interrupted) or not isinstance(problem, Exception):
        return "interrupted"
    return "busy" if isinstance(problem, Busy) else None


def _clean_up_if_erased(task: Task, wrote: str | None, world: WorkerWorld) -> None:
    """If the recording was erased in the meantime, delete this attempt's lease and what it wrote to the bucket."""
    known = world.store.recording(task.recording_id)
    if known is None or known.status is not Status.ERASED:
        return
    world.store.erase(known)
    if wrote:
        world.results.delete(task.recording_id)


def _is_settled(task: Task, recording: Recording, world: WorkerWorld) -> bool:
    """Whether the task needs no attempt: it has an outcome, or its parts are performed in its place.

    Whoever came before may have been cut off before the next tasks were published; that is made up for.
    """
    current = recording.revision == task.revision and not recording.status.is_final
    if recording.status is Status.ERASED or _has_outcome(task, world):
        if task.part and current:
            parts.ended(recording, task.stage, task.part, world, again=True)
        return True
    if recording.plan and task.part is None:  # planned for the other stage, or by an attempt that was cut off
        if current:
            parts.begin_again(recording, task.stage, world)
        return True
    return False


class _Longer(Exception):
    """The recording is longer than a part, which its header did not tell."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.plan = plan


def _known(task: Task, world: WorkerWorld) -> Recording:
    recording = world.store.recording(task.recording_id)
    if recording is None:
        raise Unreadable(f"there is no recording {task.recording_id}")
    return recording


def _share(task: Task, world: WorkerWorld) -> tuple[float, float]:
    """Of the whole stage: the share that is done before this task, and the share that it is."""
    if task.part is None:
        return 0.0, 1.0
    done = world.store.part_numbers(task.recording_id, task.stage, task.revision)
    return len(done) / task.part.count, 1 / task.part.count


def _progress(
    lease: Lease, world: WorkerWorld, heartbeat: Heartbeat, part: tuple[float, float], since: datetime | None
) -> Progress:
    """A callback that shows progress at most once a second, and ends an attempt that has lost its lease.

    `part`: the share of the stage before this task, and the task's own. `since`: when the stage began.
    """
    last = world.clock()
    began = since or last
    before, own = part

    def progress(share: float) -> None:
        nonlocal last
        heartbeat.check()
        now = world.clock()
        if share < 1 and 0 <= (now - last).total_seconds() < PROGRESS_SECONDS:
            return
        last = now
        share = before + own * min(max(share, 0.0), 1.0)
        world.store.progress(lease.recording_id, lease.stage, share, expected_at(share, began, now))

    return progress


def _create(partial: Partial, world: WorkerWorld) -> bool:
    """Create a partial. A value that arrives after its stage was given up is kept as the next revision's."""
    while not world.store.create_partial(partial):
        if partial.part:
            return False
        there = _partial(partial, world)
        if partial.failure or there is None or there.failure is None or not there.failure.retryable:
            return False
        partial = partial.model_copy(update={"revision": partial.revision + 1})  # the join begins that revision
        extra = {"action": "late", "recording_id": partial.recording_id, "stage": partial.stage.value}
        log.warning("a stage ended after it had been given up", extra=extra)
    return True


def _attempt(
    task: Task, attempt: int, started_at: datetime, world: WorkerWorld, progress: Progress
) -> tuple[Partial, Analysis | None]:
    """Download, analyse, and store a large analysis where the partial can point to it."""
    analysis, failure = None, None
    try:
        parse_options(task.source.metadata)  # a recording rejected for its options may be redriven: reject it again
        check_object(task.source, world.limits.max_bytes)
        with tempfile.TemporaryDirectory(prefix="speechpipe-", dir=world.scratch) as folder:
            # Never the uploader's name, which is not ours to trust, but for an ending that alone tells the format.
            path = Path(folder) / f"input{extension(task.source.name)}"
            download(task.source, path, world.uploads, max_bytes=world.limits.max_bytes)
            if task.part is None and (plan := _plan(path, world)):
                raise _Longer(plan)
            analysis = world.analyse(path, task.options, progress, task.part)
        if prices := world.limits.prices:
            analysis = analysis.model_copy(update={"cost": prices.cost(task.stage, analysis.compute_seconds)})
    except Rejected as rejected:
        failure = Failure(code=rejected.code, message=rejected.message)
    partial = Partial(
        recording_id=task.recording_id,
        revision=task.revision,
        stage=task.stage,
        part=task.part,
        attempt=attempt,
        started_at=started_at,
        finished_at=world.clock(),
        analysis=analysis,
        failure=failure,
    )
    return stored(partial, world), analysis


def _plan(path: Path, world: WorkerWorld) -> Plan | None:
    """How a file is to be cut into parts, by the length that the decoder finds; None if it is not."""
    if world.length is None or not parts.may_be_longer(path.stat().st_size, world.limits.part_seconds):
        return None
    seconds = world.length(path)
    return plan_for(seconds, world.limits.part_seconds, world.limits.parts_in_flight) if seconds else None


def _has_outcome(task: Task, world: WorkerWorld) -> bool:
    if task.part is None:
        return _partial(task, world) is not None
    return task.part.number in world.store.part_numbers(task.recording_id, task.stage, task.revision)


def _partial(of: Task | Partial, world: WorkerWorld) -> Partial | None:
    """The partial of the same stage and revision, if there is one."""
    there = (p for p in world.store.partials(of.recording_id) if (p.stage, p.revision) == (of.stage, of.revision))
    return next(there, None)
