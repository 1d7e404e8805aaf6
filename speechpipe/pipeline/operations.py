"""What people decide about recordings: five verbs.

    release  let a recording run that was held over a cap
    redrive  run stages again, as a new revision
    replay   announce an outcome again
    erase    delete everything but a tombstone
    settle   clear away a recording's dead letters, and run their stages again unless that is done

Each may run any number of times, in any number of processes at the same time, and may be killed anywhere.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import datetime
from enum import StrEnum

from speechpipe.backends.ports import Store
from speechpipe.contract import Half, HalfStatus, Letter, Record, Recording, Stage, Status
from speechpipe.contract.errors import NotFinal, NotFound
from speechpipe.pipeline import outcomes, parts
from speechpipe.pipeline.corrections import rerun
from speechpipe.pipeline.erasure import announce_erased
from speechpipe.pipeline.ingest import ingest
from speechpipe.pipeline.world import World
from speechpipe.record.combine import newest

log = logging.getLogger(__name__)


def release(recording_id: str, world: World) -> Recording:
    """Let a held recording run: queue it, with as much time as it had when it arrived, and publish its tasks.

    Repeating it publishes the tasks of a released recording that is still queued, since the first call may have been
    cut off before it did; workers do nothing twice. Any other recording is left as it is. Raises NotFound.
    """
    recording = world.store.recording(recording_id)
    if recording and recording.status is Status.HELD:
        if world.store.accept(_released(recording, world.clock())):
            log.info("recording released", extra={"action": "released", "recording_id": recording_id})
        recording = world.store.recording(recording_id)
    if recording is None:
        raise NotFound(f"there is no recording {recording_id}")
    if recording.status is Status.QUEUED and recording.hold and recording.accepted_at:
        for stage in recording.options.stages:
            parts.begin(recording, stage, recording.accepted_at, world)
    return recording


def _released(held: Recording, now: datetime) -> Recording:
    """The recording once it may run. Its hold stays in it, for people to read."""
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


def redrive(recording_id: str, stages: Collection[Stage], world: World) -> Recording:
    """Run stages of a finished recording again, as its next revision; the other stages keep their outcome.

    The options are those that the object's metadata has now; a stage whose options have changed runs again too.
    Repeating it while that revision runs publishes the tasks that have no outcome yet, since the first call may have
    been cut off before it did; workers do nothing twice. Raises NotFound, also for an erased recording, NotFinal if the
    first run, or a run of other stages, has not finished, and Rejected for changed metadata that cannot be read.
    """
    recording = _living(recording_id, world.store)
    if recording.may_be_revised:
        again = rerun(recording, stages, world.uploads)
        if not again.stages:
            return recording
        revised = again.revised(world.clock(), world.results)
        if world.store.revise(revised, after=recording.revision):
            what = " and ".join(again.stages) + (" with other options" if again.corrected else "")
            log.info("%s runs again", what, extra={"action": "redriven", "recording_id": recording_id})
        recording = _living(recording_id, world.store)
    if recording.status.is_final:  # another redrive has finished in the meantime, or it is not announced yet
        return recording
    asked = {stage for stage in recording.options.stages if stage in stages}
    if not asked <= set(recording.rerun):
        raise NotFinal(f"{recording_id} is {recording.status.value}: it can be run again once it has finished")
    done = newest(world.store.partials(recording_id), recording)
    for stage in recording.rerun:
        if stage not in done:
            if stage in recording.completes:
                parts.keep(recording, stage, world)
            parts.begin(recording, stage, recording.revised_at or world.clock(), world)
    return recording


def to_run_again(recording: Recording) -> tuple[Stage, ...]:
    """What a redrive runs by default: the stages that failed, or all; while a revision runs, the stages of that one."""
    asked = recording.options.stages
    if not recording.status.is_final:
        return recording.rerun or asked
    return tuple(stage for stage in asked if _failed(recording.halves[stage])) or asked


def _failed(half: Half) -> bool:
    """Whether a half has no value, or none for some of its parts."""
    return half.status is HalfStatus.FAILED or half.error is not None


def replay(recording_id: str, world: World) -> Recording:
    """Announce an outcome again, with the same event id. Raises NotFound, NotFinal."""
    recording = world.store.recording(recording_id)
    if recording is None:
        raise NotFound(f"there is no recording {recording_id}")
    if recording.status is Status.ERASED:
        world.bus.publish_completion(outcomes.erased_event(recording))
    elif recording.artifacts is None:
        raise NotFinal(f"{recording_id} is {recording.status.value}: there is nothing to announce yet")
    else:
        record = recording.result or Record.model_validate_json(world.results.read(recording.artifacts.record))
        world.bus.publish_completion(outcomes.completion_event(record))
    log.info("announced again", extra={"action": "replayed", "recording_id": recording_id})
    return recording


def erase(recording_id: str, world: World, *, upload: bool) -> Recording:
    """Erase a recording, its partials and artifacts, and with `upload` the uploaded object; announce the erasure.

    A tombstone with the id stays, so that neither a repeated event nor a worker that is still running brings it back.
    Repeating it deletes what arrived in between. An object under retention or a hold stays, and the tombstone says
    until when (`retained`); everything else is erased. Raises NotFound.
    """
    recording = world.store.recording(recording_id)
    if recording is None:
        raise NotFound(f"there is no recording {recording_id}")
    if recording.status is not Status.ERASED:
        # The object first: the tombstone no longer knows its name.
        retained = world.uploads.delete(recording.source) if upload else None
        world.store.erase(outcomes.tombstone(recording, retained, world.clock()))
        log.info("recording erased", extra={"action": "erased", "recording_id": recording_id})
        recording = world.store.recording(recording_id) or recording
    announce_erased(recording, world)
    return recording


class LetterState(StrEnum):
    """What has become of a dead letter's task, or of the upload whose event it was."""

    OPEN = "open"  #: its stage has failed and can be run again; its upload is no recording yet
    RUNNING = "running"  #: its recording has not finished, or runs again
    RESOLVED = "resolved"  #: its stage has a value by now; its upload is a recording
    GONE = "gone"  #: its recording was erased, or does not exist


def state_of(letter: Letter, store: Store) -> LetterState:
    """What has become of a dead letter."""
    recording = store.recording(letter.recording_id)
    if letter.task is None:  # the event of an upload, which becomes a recording only now, unless reconcile found it
        return LetterState.RESOLVED if recording else LetterState.OPEN
    if recording is None or recording.status is Status.ERASED:
        return LetterState.GONE
    half = recording.halves[letter.task.stage]
    if half.status is HalfStatus.COMPLETED and not _failed(half):
        return LetterState.RESOLVED
    return LetterState.OPEN if recording.status.is_final else LetterState.RUNNING


def settle(letters: Collection[Letter], world: World) -> LetterState:
    """Do what one recording's dead letters are about, then acknowledge the letters; the state they were in.

    A task's stage is run again, and an upload is ingested. Letters whose task is done, or whose recording is gone, are
    only acknowledged. Raises NotFinal while the recording has not finished: `give_up` has not reached it yet, or other
    stages run again.
    """
    states = {letter.id: state_of(letter, world.store) for letter in letters}
    again = [letter for letter in letters if states[letter.id] in (LetterState.OPEN, LetterState.RUNNING)]
    for letter in again:
        if letter.upload:
            ingest(letter.upload, world)
    if tasks := [letter.task for letter in again if letter.task]:
        redrive(tasks[0].recording_id, {task.stage for task in tasks}, world)
    world.dead_letters.acknowledge(states)
    order = list(LetterState)
    return min(states.values(), key=order.index)


def _living(recording_id: str, store: Store) -> Recording:
    recording = store.recording(recording_id)
    if recording is None or recording.status is Status.ERASED:
        gone = "was erased" if recording else "does not exist"
        raise NotFound(f"the recording {recording_id} {gone}")
    return recording
