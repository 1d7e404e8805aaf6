"""The pipeline, readable from top to bottom: five verbs over the ports.

    object finalized  -> ingest   create the recording, publish a task a stage
    task delivered    -> perform  run the engine, create the partial
    partial created   -> join     write artifacts and result, announce, mark
    attempts exhausted-> give_up  create the missing partial as a Failure; the join follows by itself
    every minute      -> sweep    publish again, give up past the deadline, announce what was not

Each verb may be run any number of times, by any number of processes at once, and stopped anywhere: what is durable
comes first, and everything durable is created once (`docs/architecture.md` walks through the crashes). What people
decide is in `operations`.
"""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from speechpipe.backends.ports import Analyse, Bus, Clock, Progress, Results, Store, Uploads
from speechpipe.contract import (
    PARTIAL_INLINE_BYTES,
    Analysis,
    Failure,
    Frozen,
    Half,
    HalfStatus,
    Lease,
    Options,
    Partial,
    Record,
    Recording,
    Source,
    Stage,
    Status,
    Task,
)
from speechpipe.contract.errors import ErrorCode, Rejected, Unreadable
from speechpipe.contract.options import parse_options
from speechpipe.contract.prices import PriceTable
from speechpipe.observe import log_fields
from speechpipe.pipeline import outcomes
from speechpipe.pipeline.admission import admitted, check_size
from speechpipe.pipeline.heartbeat import Heartbeat
from speechpipe.pipeline.progress import expected_at
from speechpipe.record.artifacts import render
from speechpipe.record.combine import combine, newest
from speechpipe.settings import Limits

log = logging.getLogger(__name__)

#: A task that nobody took for so long was lost, or its worker was; sweep publishes it again.
REPUBLISH_AFTER = timedelta(minutes=15)
#: How often a running attempt shows its progress.
PROGRESS_SECONDS = 1.0
_GZIP = b"\x1f\x8b"  #: what was stored with Content-Encoding: gzip begins so; unpacked it may be of any size
_PAGE = 500  #: unfinished recordings read at a time


class SweepReport(Frozen):
    """What one sweep did."""

    examined: int = 0
    republished: int = 0
    given_up: int = 0
    joined: int = 0
    failed: int = 0


# --------------------------------------------------------------------------------------------------- hop 1


def is_ours(source: Source, limits: Limits) -> bool:
    """Whether an object is a recording at all: no folder placeholder, and under the prefix."""
    return not source.name.endswith("/") and source.name.startswith(limits.prefix)


def ingest(
    source: Source, *, store: Store, bus: Bus, uploads: Uploads, results: Results, limits: Limits, clock: Clock
) -> Recording | None:
    """Turn an uploaded object into a recording and its tasks; None for an object that is none of ours.

    Rejects are recordings too: their partials are created as Failures and the join announces them. One over a cap is
    held: that is decided here, once, and stored with it.
    """
    if not is_ours(source, limits):
        log.info("not a recording", extra={"action": "ignored"})
        return None
    recording, rejection = _recording(source, store, results, limits, clock())
    if rejection is None:
        recording = admitted(recording, store=store, uploads=uploads, limits=limits)
    done: dict[Stage, Partial] = {}  # a new recording has none
    if not store.create_recording(recording):
        known = store.recording(recording.id)
        if known is None or known.status.is_final or known.status is Status.HELD:
            return known
        recording = known  # a repeated event: perhaps the first was cut off before it published
        done = newest(store.partials(recording.id), recording)
    if recording.status is Status.HELD and recording.hold:
        cap = recording.hold.code
        log.info("recording held: %s", cap, extra={"action": "held", "recording_id": recording.id, "cap": cap})
        return recording
    for stage in recording.options.stages:
        if stage in done:
            continue
        if rejection:
            revision, at = recording.revision, recording.queued_at
            _create_failure(store, recording.id, revision, stage, rejection, attempt=0, at=at)
        else:
            bus.publish_task(outcomes.task_of(recording, stage, recording.queued_at))
    action = "rejected" if rejection else "queued"
    log.info("recording %s", action, extra={"action": action, "recording_id": recording.id})
    return recording


def _recording(
    source: Source, store: Store, results: Results, limits: Limits, now: datetime
) -> tuple[Recording, Failure | None]:
    """The recording that an object is, and why it is none that can be analysed, if so."""
    options, rejection = Options(), None
    try:
        options = parse_options(source.metadata)
        check_size(source.size, limits.max_bytes)
    except Rejected as rejected:
        rejection = Failure(code=rejected.code, message=rejected.message)
    recording_id = source.recording_id
    recording = Recording(
        id=recording_id,
        source=source,
        options=options,
        supersedes=_superseded(source, store),
        results_uri=results.uri(f"{recording_id}/r1"),
        queued_at=now,
        deadline_at=now + timedelta(seconds=limits.deadline_seconds),
        expires_at=now + timedelta(days=limits.retention_days) if limits.retention_days else None,
        accepted_at=None if rejection else now,
        halves={
            stage: Half(status=HalfStatus.QUEUED, queued_at=now)
            if stage in options.stages
            else Half(status=HalfStatus.SKIPPED)
            for stage in Stage
        },
    )
    return recording, rejection


def _superseded(source: Source, store: Store) -> str | None:
    """The recording of the newest earlier generation under the same name."""
    earlier = [
        other for other in store.recordings(uri=source.uri) if int(other.source.generation) < int(source.generation)
    ]
    return max(earlier, key=lambda other: int(other.source.generation)).id if earlier else None


# --------------------------------------------------------------------------------------------------- hop 2


def perform(
    task: Task,
    *,
    store: Store,
    uploads: Uploads,
    results: Results,
    analyse: Analyse,
    clock: Clock,
    holder: str,
    lease_seconds: float,
    longest_seconds: float | None = None,
    max_bytes: int,
    prices: PriceTable | None = None,
    scratch: Path | None = None,
) -> bool:
    """Run one stage and create its partial; False if it was there already.

    The lease is `lease_seconds` long and extended while the attempt runs, up to `longest_seconds` in all. The file is
    downloaded into the folder `scratch`, or the machine's own for such.

    Raises Busy while another attempt holds the lease, Unreadable for a task without a recording. A Rejected from the
    engine becomes a Failure partial; anything else goes up as it is, with the lease free for the next delivery.
    """
    recording = store.recording(task.recording_id)
    if recording is None:
        raise Unreadable(f"there is no recording {task.recording_id}")
    if recording.status is Status.ERASED or _partial(store, task):
        return False
    now = clock()
    until = now + timedelta(seconds=lease_seconds)
    lease = store.claim(task.recording_id, task.stage, task.revision, holder=holder, now=now, until=until)
    last = now + timedelta(seconds=longest_seconds) if longest_seconds else None
    heartbeat = Heartbeat(store, lease, clock, seconds=lease_seconds, until=last)
    outcome, error, wrote = "failed", None, None
    try:
        if len(lease.attempts) > 1 and _partial(store, task):  # finished between the look and the claim
            outcome = "superseded"
            return False
        attempt = lease.attempts[-1].number
        store.begin(task.recording_id, task.stage, attempt=attempt, at=now)
        with heartbeat:
            progress = _shown(store, lease, clock, heartbeat)
            partial, analysis = _attempt(
                task, attempt, now, uploads, results, analyse, clock, progress, max_bytes, prices, scratch
            )
        wrote = partial.analysis_uri
        created = _create(store, partial)
        outcome = "done" if created else "superseded"
        log.info("%s done", task.stage.value, extra=log_fields.performed(task, partial, analysis))
        return created
    except BaseException as problem:
        error = type(problem).__name__  # the class alone: messages of libraries quote paths and content
        raise
    finally:
        store.release(heartbeat.lease, now=clock(), outcome=outcome, error=error)
        if outcome != "done":
            _leave_nothing(task, wrote, store, results)


def _leave_nothing(task: Task, wrote: str | None, store: Store, results: Results) -> None:
    """Of a recording that was erased meanwhile: this attempt's lease goes, and what it wrote to the bucket."""
    known = store.recording(task.recording_id)
    if known is None or known.status is not Status.ERASED:
        return
    store.erase(known)
    if wrote:
        results.delete(task.recording_id)


def _shown(store: Store, lease: Lease, clock: Clock, heartbeat: Heartbeat) -> Progress:
    """Shows progress at most once a second, and ends an attempt that has lost its lease."""
    began = last = clock()

    def progress(share: float) -> None:
        nonlocal last
        heartbeat.check()
        now = clock()
        if share < 1 and 0 <= (now - last).total_seconds() < PROGRESS_SECONDS:
            return
        last = now
        share = min(max(share, 0.0), 1.0)
        store.progress(lease.recording_id, lease.stage, share, expected_at(share, began, now))

    return progress


def _create(store: Store, partial: Partial) -> bool:
    """Create a partial. A value that comes after its stage was given up is kept, as the next revision's."""
    while not store.create_partial(partial):
        there = _partial(store, partial)
        if partial.failure or there is None or there.failure is None or not there.failure.retryable:
            return False
        partial = partial.model_copy(update={"revision": partial.revision + 1})  # the join begins that revision
        extra = {"action": "late", "recording_id": partial.recording_id, "stage": partial.stage.value}
        log.warning("a stage ended after it had been given up", extra=extra)
    return True


def _attempt(
    task: Task,
    attempt: int,
    started_at: datetime,
    uploads: Uploads,
    results: Results,
    analyse: Analyse,
    clock: Clock,
    progress: Progress,
    max_bytes: int,
    prices: PriceTable | None,
    scratch: Path | None,
) -> tuple[Partial, Analysis | None]:
    """Download, analyse, and put a large analysis where the partial can point to it."""
    analysis, failure = None, None
    try:
        parse_options(task.source.metadata)  # one that was rejected for them may be run again, and is again
        check_size(task.source.size, max_bytes)
        with tempfile.TemporaryDirectory(prefix="speechpipe-", dir=scratch) as folder:
            path = Path(folder) / "input"  # never the uploader's name: it is not ours to trust
            uploads.download(task.source, path)
            analysis = analyse(path, task.options, progress)
        if prices:
            analysis = analysis.model_copy(update={"cost": prices.cost(task.stage, analysis.compute_seconds)})
    except Rejected as rejected:
        failure = Failure(code=rejected.code, message=rejected.message)
    partial = Partial(
        recording_id=task.recording_id,
        revision=task.revision,
        stage=task.stage,
        attempt=attempt,
        started_at=started_at,
        finished_at=clock(),
        analysis=analysis,
        failure=failure,
    )
    if analysis is None or len(partial.model_dump_json()) <= PARTIAL_INLINE_BYTES:
        return partial, analysis
    # The attempt's number is in the name: an attempt that loses the race must not share an object with the winner.
    path_in_bucket = f"{task.recording_id}/r{task.revision}/partials/{task.stage.value}.{attempt}.json"
    uri = results.create(path_in_bucket, analysis.model_dump_json().encode(), "application/json")
    return partial.model_copy(update={"analysis": None, "analysis_uri": uri}), analysis


def _partial(store: Store, of: Task | Partial) -> Partial | None:
    """The partial of that stage and revision."""
    there = (p for p in store.partials(of.recording_id) if (p.stage, p.revision) == (of.stage, of.revision))
    return next(there, None)


def _create_failure(
    store: Store, recording_id: str, revision: int, stage: Stage, failure: Failure, *, attempt: int, at: datetime
) -> bool:
    return store.create_partial(
        Partial(
            recording_id=recording_id,
            revision=revision,
            stage=stage,
            attempt=attempt,
            started_at=at,
            finished_at=at,
            failure=failure,
        )
    )


# --------------------------------------------------------------------------------------------------- hop 3


def join(
    recording_id: str,
    revision: int,
    *,
    store: Store,
    bus: Bus,
    uploads: Uploads,
    results: Results,
    clock: Clock,
    embed_bytes: int,
) -> Recording | None:
    """Assemble the record once every half is there: record, then announce, then mark. None while one is missing.

    A crash in between repeats the announcement, with the same event id, and never loses it. A value that came after
    its stage was given up begins the next revision once this one is announced. A recording of at most `embed_bytes`
    is heard in its report.
    """
    while True:
        recording = store.recording(recording_id)
        if recording is None or recording.revision + 1 < revision:
            raise Unreadable(f"there is no recording {recording_id} of revision {revision}")
        if recording.status is Status.ERASED:
            clear(recording, store=store, results=results)  # of a partial that came in spite of it
            return recording
        partials = store.partials(recording_id)
        if not recording.announced_at:
            record = _record(recording, partials, results)
            if record is None:
                return None
            for artifact in render(record, _sound(record, uploads, embed_bytes)):
                path = f"{recording.id}/r{record.revision}/{artifact.name}"
                results.create(path, artifact.body, artifact.content_type)
            finished = _announce(recording, record, store, bus, results, clock)
            if finished is None:
                return None
            recording = finished
        late = [partial.stage for partial in partials if partial.revision > recording.revision]
        if not late:
            return recording
        store.revise(outcomes.revised(recording, late, clock(), results))


def _record(recording: Recording, partials: Iterable[Partial], results: Results) -> Record | None:
    """The record of this revision; None while a half is missing."""
    chosen = newest(partials, recording)
    return combine(recording, {stage: _with_analysis(partial, results) for stage, partial in chosen.items()})


def _sound(record: Record, uploads: Uploads, most: int) -> bytes | None:
    """A small recording, for its report; None for a larger one, or one that is not there now, or stored packed."""
    if not record.artifacts.report or record.audio is None or record.source.size > most:
        return None
    try:
        with uploads.open(record.source) as file:
            sound = file.read()
    except Rejected:
        return None
    return None if sound.startswith(_GZIP) else sound


def _announce(
    recording: Recording, record: Record, store: Store, bus: Bus, results: Results, clock: Clock
) -> Recording | None:
    """Store this revision's record, announce and mark it; None if it is not this join's any more."""
    finished = outcomes.finished(recording, record)
    if not store.finish(finished):  # erased meanwhile, or ended and revised by a join that was faster
        return _overtaken(recording, store, results)
    bus.publish_completion(outcomes.completion_event(record))
    now = clock()
    store.mark_announced(recording.id, record.revision, now)
    log.info("recording %s", record.status.value, extra=log_fields.announced(recording, record, now))
    return finished.model_copy(update={"announced_at": now})


def _overtaken(recording: Recording, store: Store, results: Results) -> Recording | None:
    """What is there instead; of an erased recording, what this join has just written goes too."""
    known = store.recording(recording.id)
    if known and known.status is Status.ERASED:
        clear(known, store=store, results=results)
    return None


def clear(tombstone: Recording, *, store: Store, results: Results) -> None:
    """Erase what is left of an erased recording, or came after. May be repeated."""
    store.erase(tombstone)
    results.delete(tombstone.id)


def _with_analysis(partial: Partial, results: Results) -> Partial:
    if partial.analysis_uri is None:
        return partial
    return partial.model_copy(update={"analysis": Analysis.model_validate_json(results.read(partial.analysis_uri))})


def announce_erased(tombstone: Recording, *, store: Store, bus: Bus, results: Results, clock: Clock) -> None:
    """Erase what is left and announce that it is. May be repeated, with the same event id."""
    clear(tombstone, store=store, results=results)
    bus.publish_completion(outcomes.erased_event(tombstone))
    store.mark_announced(tombstone.id, tombstone.revision, clock())


# ------------------------------------------------------------------------------------------------- failure


def give_up(task: Task, *, store: Store, clock: Clock, code: ErrorCode, reason: str) -> bool:
    """End a stage that will not be tried again; False if it has an outcome already. The join follows by itself."""
    if store.recording(task.recording_id) is None:
        raise Unreadable(f"there is no recording {task.recording_id}")
    lease = store.lease(task.recording_id, task.stage, task.revision)
    attempts = lease.attempts if lease else ()
    last_error = next((a.error for a in reversed(attempts) if a.error), None)
    if last_error and "memory" in last_error.lower():
        code = ErrorCode.OUT_OF_MEMORY
    message = f"{reason} after {len(attempts)} attempts" + (f"; the last error was {last_error}" if last_error else "")
    created = _create_failure(
        store,
        task.recording_id,
        task.revision,
        task.stage,
        Failure(code=code, message=message),
        attempt=len(attempts),
        at=clock(),
    )
    log.warning(
        "gave up %s",
        task.stage.value,
        extra={"action": "gave_up", "recording_id": task.recording_id, "stage": task.stage.value},
    )
    return created


def sweep(
    *,
    store: Store,
    bus: Bus,
    uploads: Uploads,
    results: Results,
    clock: Clock,
    embed_bytes: int,
    republish_after: timedelta = REPUBLISH_AFTER,
) -> SweepReport:
    """Bring every recording that is not finished and announced a step nearer to it. `embed_bytes`: see `join`.

    One that cannot be brought on (its record cannot be made, say) is counted, and keeps none behind it waiting.
    """
    counts = Counter[str]()
    for recording in _unfinished(store):
        counts["examined"] += 1
        try:
            if recording.status is Status.ERASED:
                announce_erased(recording, store=store, bus=bus, results=results, clock=clock)
                counts["joined"] += 1
                continue
            done = newest(store.partials(recording.id), recording)
            missing = [stage for stage in recording.options.stages if stage not in done]
            for stage in missing:
                counts.update(_chase(recording, stage, clock(), store, bus, republish_after))
            if not missing:  # its event was lost, or a join was cut off
                join(
                    recording.id,
                    recording.revision,
                    store=store,
                    bus=bus,
                    uploads=uploads,
                    results=results,
                    clock=clock,
                    embed_bytes=embed_bytes,
                )
                counts["joined"] += 1
        except Exception:
            log.exception("could not be brought on", extra={"action": "not_swept", "recording_id": recording.id})
            counts["failed"] += 1
    return SweepReport(**counts)


def _unfinished(store: Store) -> Iterator[Recording]:
    """All of them, a page at a time: thousands that wait must not hide the one behind them."""
    page = store.unfinished(limit=_PAGE)
    while page:
        yield from page
        page = store.unfinished(after=page[-1], limit=_PAGE) if len(page) == _PAGE else []


def _chase(
    recording: Recording, stage: Stage, now: datetime, store: Store, bus: Bus, republish_after: timedelta
) -> list[str]:
    """Give up or publish again one missing half; which count of the report that adds to, if any."""
    task = outcomes.task_of(recording, stage, now)
    if now >= recording.deadline_at:
        give_up(task, store=store, clock=lambda: now, code=ErrorCode.TIMEOUT, reason="the deadline passed")
        return ["given_up"]
    lease = store.lease(recording.id, stage, recording.revision)
    times = (recording.halves[stage].queued_at, lease and lease.until, recording.queued_at)
    # Also while an attempt holds its lease; but a time further ahead is a clock's that was wrong, and not waited for.
    if any(time and abs(now - time) < republish_after for time in times):
        return []
    bus.publish_task(task)
    store.requeued(recording.id, stage, at=now)
    return ["republished"]
