"""What people decide about recordings: five verbs over the ports.

    release  let one run that was held over a cap
    redrive  run stages again, as a new revision
    replay   announce an outcome again
    erase    leave nothing of it but a tombstone
    settle   answer its dead letters: what they tell of runs again, unless that is done

Each may be run any number of times, by any number of processes at once, and stopped anywhere.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import datetime
from enum import StrEnum

from speechpipe.backends.ports import Bus, Clock, DeadLetters, Results, Store, Uploads
from speechpipe.contract import HalfStatus, Letter, Record, Recording, Stage, Status
from speechpipe.contract.errors import NotFinal, NotFound
from speechpipe.pipeline import outcomes
from speechpipe.pipeline.outcomes import task_of
from speechpipe.pipeline.steps import announce_erased
from speechpipe.record.combine import newest

log = logging.getLogger(__name__)


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
            bus.publish_task(task_of(recording, stage, recording.accepted_at))
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


def redrive(
    recording_id: str, stages: Collection[Stage], *, store: Store, bus: Bus, results: Results, clock: Clock
) -> Recording:
    """Run stages of a finished recording again, as its next revision; the others keep their outcome.

    Of one that is run again already it publishes the tasks that have no outcome yet: perhaps the first call was cut off
    before it did, and the workers do nothing twice. Raises NotFound, also for an erased one, and NotFinal for one whose
    first run, or a run of other stages, is not at its end.
    """
    recording = _living(recording_id, store)
    asked = [stage for stage in recording.options.stages if stage in stages]
    if not asked:
        return recording
    if recording.may_be_revised and store.revise(outcomes.revised(recording, asked, clock(), results)):
        extra = {"action": "redriven", "recording_id": recording_id}
        log.info("%s runs again", " and ".join(asked), extra=extra)
    recording = _living(recording_id, store)
    if recording.status.is_final:  # another's redrive ended meanwhile
        return recording
    if not set(asked) <= set(recording.rerun):
        raise NotFinal(f"{recording_id} is {recording.status.value}: it can be run again once it is at its end")
    done = newest(store.partials(recording_id), recording)
    for stage in recording.rerun:
        if stage not in done:
            bus.publish_task(task_of(recording, stage, recording.revised_at or clock()))
    return recording


def to_run_again(recording: Recording) -> tuple[Stage, ...]:
    """What a redrive runs when nobody says: the stages that failed, or all. What runs again already, that."""
    asked = recording.options.stages
    if not recording.status.is_final:
        return recording.rerun or asked
    return tuple(stage for stage in asked if recording.halves[stage].status is HalfStatus.FAILED) or asked


def replay(recording_id: str, *, store: Store, bus: Bus, results: Results) -> Recording:
    """Announce an outcome again, with its event's one id. Raises NotFound, NotFinal."""
    recording = store.recording(recording_id)
    if recording is None:
        raise NotFound(f"there is no recording {recording_id}")
    if recording.status is Status.ERASED:
        bus.publish_completion(outcomes.erased_event(recording))
    elif recording.artifacts is None:
        raise NotFinal(f"{recording_id} is {recording.status.value}: there is nothing to announce yet")
    else:
        record = recording.result or Record.model_validate_json(results.read(recording.artifacts.record))
        bus.publish_completion(outcomes.completion_event(record))
    log.info("announced again", extra={"action": "replayed", "recording_id": recording_id})
    return recording


def erase(
    recording_id: str, *, upload: bool, store: Store, bus: Bus, uploads: Uploads, results: Results, clock: Clock
) -> Recording:
    """Erase a recording, its partials and artifacts, and with `upload` the uploaded object; announce that it is.

    A tombstone with its id stays, so that neither a repeated event nor a worker that is still at it brings it back.
    Again, it erases what came after. Raises NotFound.
    """
    recording = store.recording(recording_id)
    if recording is None:
        raise NotFound(f"there is no recording {recording_id}")
    if recording.status is not Status.ERASED:
        if upload:  # first: the tombstone no longer knows its name
            uploads.delete(recording.source)
        store.erase(outcomes.tombstone(recording, clock()))
        log.info("recording erased", extra={"action": "erased", "recording_id": recording_id})
        recording = store.recording(recording_id) or recording
    announce_erased(recording, store=store, bus=bus, results=results, clock=clock)
    return recording


class LetterState(StrEnum):
    """What has become of a dead letter's task."""

    OPEN = "open"  #: its stage has failed: it can be run again
    RUNNING = "running"  #: its recording is not at its end, or runs again
    RESOLVED = "resolved"  #: its stage has a value by now
    GONE = "gone"  #: its recording was erased, or is not there


def state_of(letter: Letter, store: Store) -> LetterState:
    """What has become of a dead letter's task."""
    recording = store.recording(letter.task.recording_id)
    if recording is None or recording.status is Status.ERASED:
        return LetterState.GONE
    if recording.halves[letter.task.stage].status is HalfStatus.COMPLETED:
        return LetterState.RESOLVED
    return LetterState.OPEN if recording.status.is_final else LetterState.RUNNING


def settle(
    letters: Collection[Letter], *, store: Store, bus: Bus, results: Results, dead_letters: DeadLetters, clock: Clock
) -> LetterState:
    """Run the stages of one recording's dead letters again, and take the letters away; in which state they were.

    Those whose task is done, or whose recording is gone, are only taken away. Raises NotFinal while the recording is
    not at its end: `give_up` has not come to it yet, or other stages run again.
    """
    states = {letter.id: state_of(letter, store) for letter in letters}
    again = [letter.task for letter in letters if states[letter.id] in (LetterState.OPEN, LetterState.RUNNING)]
    if again:
        stages = {task.stage for task in again}
        redrive(again[0].recording_id, stages, store=store, bus=bus, results=results, clock=clock)
    dead_letters.acknowledge(states)
    order = list(LetterState)
    return min(states.values(), key=order.index)


def _living(recording_id: str, store: Store) -> Recording:
    recording = store.recording(recording_id)
    if recording is None or recording.status is Status.ERASED:
        gone = "was erased" if recording else "is not there"
        raise NotFound(f"the recording {recording_id} {gone}")
    return recording
