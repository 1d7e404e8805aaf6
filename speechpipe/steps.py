"""The pipeline, readable from top to bottom: six verbs over the ports.

    object finalized  -> ingest   create the recording, publish a task a stage
    task delivered    -> perform  run the engine, create the partial
    partial created   -> join     write artifacts and result, announce, mark
    attempts exhausted-> give_up  create the missing partial as a Failure; the join follows by itself
    every minute      -> sweep    publish again, give up past the deadline, announce what was not
    somebody decides  -> release  publish the tasks of a recording that was held over a cap

Each verb may be run any number of times, by any number of processes at once, and stopped anywhere: what is durable
comes first, and everything durable is created once (`docs/architecture.md` walks through the crashes).
"""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

from speechpipe import figures
from speechpipe.admission import admitted, check_size
from speechpipe.artifacts import render
from speechpipe.combine import combine, newest
from speechpipe.contract import (
    PARTIAL_INLINE_BYTES,
    RESULT_INLINE_BYTES,
    Analysis,
    Completion,
    CompletionData,
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
from speechpipe.errors import ErrorCode, NotFound, Rejected, Unreadable
from speechpipe.options import parse_options
from speechpipe.ports import Analyse, Bus, Clock, Progress, Results, Store, Uploads
from speechpipe.prices import PriceTable
from speechpipe.settings import Limits

log = logging.getLogger(__name__)

#: A task that nobody took for so long was lost, or its worker was; sweep publishes it again.
REPUBLISH_AFTER = timedelta(minutes=15)
#: How often a running attempt shows its progress.
PROGRESS_SECONDS = 1.0
PREVIEW_CHARACTERS = 200


class SweepReport(Frozen):
    """What one sweep did."""

    examined: int = 0
    republished: int = 0
    given_up: int = 0
    joined: int = 0


# --------------------------------------------------------------------------------------------------- hop 1


def ingest(
    source: Source, *, store: Store, bus: Bus, uploads: Uploads, results: Results, limits: Limits, clock: Clock
) -> Recording | None:
    """Turn an uploaded object into a recording and its tasks; None for an object that is none of ours.

    Rejects are recordings too: their partials are created as Failures and the join announces them. One over a cap is
    held: that is decided here, once, and stored with it.
    """
    if source.name.endswith("/") or not source.name.startswith(limits.prefix):
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
        done = newest(store.partials(recording.id), recording.revision)
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
            bus.publish_task(_task(recording, stage, recording.queued_at))
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


def _task(recording: Recording, stage: Stage, at: datetime) -> Task:
    return Task(
        recording_id=recording.id,
        revision=recording.revision,
        stage=stage,
        source=recording.source,
        options=recording.options,
        queued_at=at,
    )


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
    max_bytes: int,
    prices: PriceTable | None = None,
) -> bool:
    """Run one stage and create its partial; False if it was there already.

    Raises Busy while another attempt holds the lease, Unreadable for a task without a recording. A Rejected from the
    engine becomes a Failure partial; anything else goes up as it is, with the lease free for the next delivery.
    """
    if store.recording(task.recording_id) is None:
        raise Unreadable(f"there is no recording {task.recording_id}")
    if _has_partial(store, task):
        return False
    now = clock()
    until = now + timedelta(seconds=lease_seconds)
    lease = store.claim(task.recording_id, task.stage, task.revision, holder=holder, now=now, until=until)
    heartbeat = _Heartbeat(store, lease, clock, lease_seconds)
    outcome, error = "failed", None
    try:
        if len(lease.attempts) > 1 and _has_partial(store, task):  # finished between the look and the claim
            outcome = "superseded"
            return False
        attempt = lease.attempts[-1].number
        store.begin(task.recording_id, task.stage, attempt=attempt, at=now)
        partial, analysis = _attempt(task, attempt, now, uploads, results, analyse, clock, heartbeat, max_bytes, prices)
        created = store.create_partial(partial)
        outcome = "done"
        log.info("%s done", task.stage.value, extra=figures.performed(task, partial, analysis))
        return created
    except BaseException as problem:
        error = type(problem).__name__  # the class alone: messages of libraries quote paths and content
        raise
    finally:
        store.release(heartbeat.lease, now=clock(), outcome=outcome, error=error)


class _Heartbeat:
    """Shows progress at most once a second, and holds the lease while the engine works."""

    def __init__(self, store: Store, lease: Lease, clock: Clock, seconds: float) -> None:
        self.lease = lease
        self._store, self._clock, self._seconds = store, clock, seconds
        self._shown = clock()

    def __call__(self, share: float) -> None:
        now = self._clock()
        if share < 1 and (now - self._shown).total_seconds() < PROGRESS_SECONDS:
            return
        self._shown = now
        self._store.progress(self.lease.recording_id, self.lease.stage, min(max(share, 0.0), 1.0))
        if self.lease.until and (self.lease.until - now).total_seconds() < self._seconds / 2:
            self.lease = self._store.extend(self.lease, now + timedelta(seconds=self._seconds))


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
) -> tuple[Partial, Analysis | None]:
    """Download, analyse, and put a large analysis where the partial can point to it."""
    analysis, failure = None, None
    try:
        check_size(task.source.size, max_bytes)
        with tempfile.TemporaryDirectory(prefix="speechpipe-") as folder:
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


def _has_partial(store: Store, task: Task) -> bool:
    return any(p.stage == task.stage and p.revision == task.revision for p in store.partials(task.recording_id))


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
    recording_id: str, revision: int, *, store: Store, bus: Bus, results: Results, clock: Clock
) -> Recording | None:
    """Assemble the record once every half is there: record, then announce, then mark. None while one is missing.

    A crash in between repeats the announcement, with the same event id, and never loses it.
    """
    recording = store.recording(recording_id)
    if recording is None or recording.revision < revision:
        raise Unreadable(f"there is no recording {recording_id} of revision {revision}")
    if recording.announced_at:
        return recording
    partials = newest(store.partials(recording_id), recording.revision)
    record = combine(recording, {stage: _with_analysis(partial, results) for stage, partial in partials.items()})
    if record is None:
        return None
    for artifact in render(record):
        results.create(f"{recording_id}/r{record.revision}/{artifact.name}", artifact.body, artifact.content_type)
    finished = _finished(recording, record)
    store.finish(finished)
    bus.publish_completion(completion_event(record))
    now = clock()
    store.mark_announced(recording_id, record.revision, now)
    log.info("recording %s", record.status.value, extra=figures.announced(recording, record, now))
    return finished


def _with_analysis(partial: Partial, results: Results) -> Partial:
    if partial.analysis_uri is None:
        return partial
    return partial.model_copy(update={"analysis": Analysis.model_validate_json(results.read(partial.analysis_uri))})


def _finished(recording: Recording, record: Record) -> Recording:
    """The recording's document with everything that follows from the record."""
    inline = len(record.model_dump_json().encode()) <= RESULT_INLINE_BYTES
    return recording.model_copy(
        update={
            "status": record.status,
            "halves": record.halves,
            "finished_at": record.timing.completed_at,
            "result": record if inline else None,
            "preview": record.text[:PREVIEW_CHARACTERS],
            "summary": record.summary,
            "artifacts": record.artifacts,
            "warnings": record.warnings,
            "error": record.error,
        }
    )


def completion_event(record: Record) -> Completion:
    """The CloudEvent of an outcome. Everything in it follows from the record, so that repeats are equal."""
    return Completion(
        id=f"{record.recording_id}.r{record.revision}.{record.status.value}",
        type=f"dev.speechpipe.recording.v1.{record.status.value}",
        source=f"//storage.googleapis.com/projects/_/buckets/{record.source.bucket}",
        subject=f"recordings/{record.recording_id}",
        time=record.timing.completed_at or record.timing.queued_at,
        data=CompletionData(
            recording_id=record.recording_id,
            revision=record.revision,
            status=record.status,
            uri=record.source.uri,
            generation=record.source.generation,
            ref=record.options.ref,
            # Turning points grow with the recording; an event stays under 20 kB.
            summary=record.summary.model_copy(update={"turning_points": record.summary.turning_points[:50]}),
            artifacts=record.artifacts,
            cost=record.cost,
            error=record.error,
        ),
    )


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


def sweep(*, store: Store, bus: Bus, results: Results, clock: Clock) -> SweepReport:
    """Bring every recording that is not finished and announced a step nearer to it."""
    counts = Counter[str]()
    for recording in store.unfinished():
        counts["examined"] += 1
        done = newest(store.partials(recording.id), recording.revision)
        missing = [stage for stage in recording.options.stages if stage not in done]
        for stage in missing:
            counts.update(_chase(recording, stage, clock(), store, bus))
        if not missing:  # its event was lost, or a join was cut off
            join(recording.id, recording.revision, store=store, bus=bus, results=results, clock=clock)
            counts["joined"] += 1
    return SweepReport(**counts)


def _chase(recording: Recording, stage: Stage, now: datetime, store: Store, bus: Bus) -> list[str]:
    """Give up or publish again one missing half; which count of the report that adds to, if any."""
    task = _task(recording, stage, now)
    if now >= recording.deadline_at:
        give_up(task, store=store, clock=lambda: now, code=ErrorCode.TIMEOUT, reason="the deadline passed")
        return ["given_up"]
    lease = store.lease(recording.id, stage, recording.revision)
    last = max(t for t in (recording.halves[stage].queued_at, lease and lease.until, recording.queued_at) if t)
    if now - last < REPUBLISH_AFTER:  # also while an attempt holds its lease
        return []
    bus.publish_task(task)
    store.requeued(recording.id, stage, at=now)
    return ["republished"]


# --------------------------------------------------------------------------------------------------- holds


def release(recording_id: str, *, store: Store, bus: Bus, clock: Clock) -> Recording:
    """Let a held recording run: it is queued, with as much time as it had from its arrival, and its tasks published.

    Again, it publishes the tasks of one that is queued again: perhaps the first call was cut off before it did, and
    the workers do nothing twice. Any other is left as it is. Raises NotFound.
    """
    recording = store.recording(recording_id)
    if recording and recording.status is Status.HELD:
        if store.accept(_released(recording, clock())):
            log.info("recording released", extra={"action": "released", "recording_id": recording_id})
        recording = store.recording(recording_id)
    if recording is None:
        raise NotFound(f"there is no recording {recording_id}")
    if recording.status is Status.QUEUED and recording.hold and recording.accepted_at:
        for stage in recording.options.stages:
            bus.publish_task(_task(recording, stage, recording.accepted_at))
    return recording


def _released(held: Recording, now: datetime) -> Recording:
    """The recording as it is once it may run. Its hold stays, to be read."""
    waited = now - held.queued_at
    queued = {stage: held.halves[stage].model_copy(update={"queued_at": now}) for stage in held.options.stages}
    return held.model_copy(
        update={
            "status": Status.QUEUED,
            "accepted_at": now,
            "deadline_at": held.deadline_at + waited,
            "expires_at": held.expires_at + waited if held.expires_at else None,
            "halves": held.halves | queued,
        }
    )
