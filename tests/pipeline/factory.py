"""Pub/Sub's push queue, workers and Scheduler on a clock that jumps from minute to minute: hours pass in seconds.

The verbs and the store are the real ones. Only the time that an engine takes is played: an attempt claims the lease,
extends it every minute, and creates its partial when its time is over.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from speechpipe.backends.local.bus import task_topic
from speechpipe.contract import Lease, Options, Partial, Stage, Task
from speechpipe.contract.errors import Busy
from speechpipe.contract.resources import MAX_DELIVERY_ATTEMPTS, TASK_BACKOFF_SECONDS
from speechpipe.pipeline.give_up import give_up
from tests.doubles import FixedEngine, source
from tests.simulation import Simulation

MINUTE = timedelta(minutes=1)
LEASE = timedelta(minutes=2)
#: The pause after a failed delivery never grows past this, in the simulation's minutes.
BACKOFF_MINUTES = TASK_BACKOFF_SECONDS // 60


@dataclass
class Delivery:
    """A message in the queue."""

    id: int
    task: Task
    failures: int = 0
    wait: int = 0  #: minutes until it may be delivered again


@dataclass
class Running:
    """An attempt at work, and the minutes that are left of it."""

    delivery: Delivery
    lease: Lease
    minutes: int


@dataclass
class Factory:
    """One worker with some slots, the queue before it, and what was observed."""

    minutes: int  #: that an attempt takes
    slots: int = 2
    fails: set[str] = field(default_factory=set)  #: recordings at which every attempt fails
    sim: Simulation = field(default_factory=Simulation)
    queue: dict[int, Delivery] = field(default_factory=dict)
    running: list[Running] = field(default_factory=list)
    most_copies: int = 0
    dead_letters: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(0))

    def upload(self, count: int) -> None:
        """Upload recordings without emotions, all at once."""
        for number in range(count):
            self.sim.arrive(source(f"{number}.wav", metadata={"emotion": "off"}))
        for message in self.sim.pending():
            self.sim.deliver(message)

    def pass_minutes(self, count: int, *, working: bool = True) -> None:
        """Let minutes pass; without `working`, the worker answers every delivery with 429."""
        for _ in range(count):
            self._fetch()
            self._work(self.slots if working else 0)
            self.sim.clock.pass_time(minutes=1)
            self.sim.sweep()
            self._join()

    def kill(self) -> None:
        """Kill the worker: nobody releases its leases, and Pub/Sub sees its requests fail."""
        for each in self.running:
            self._refused(each.delivery)
        self.running.clear()

    def _fetch(self) -> None:
        known = set(self.queue)
        for number, topic, body in self.sim.pending():
            if topic == task_topic(Stage.STT) and number not in known:
                self.queue[number] = Delivery(number, Task.model_validate_json(body))
        copies = Counter(each.task.recording_id for each in self.queue.values())
        self.most_copies = max(self.most_copies, *copies.values(), 0)

    def _work(self, slots: int) -> None:
        for each in list(self.running):
            self._advance(each)
        busy = {each.delivery.id for each in self.running}
        waiting = [each for each in self.queue.values() if each.id not in busy]
        for delivery in self.chance.sample(waiting, len(waiting)):
            delivery.wait -= 1
            if delivery.wait < 0:
                self._deliver(delivery, free=len(self.running) < slots)

    def _deliver(self, delivery: Delivery, *, free: bool) -> None:
        sim, task = self.sim, delivery.task
        if any(partial.stage is task.stage for partial in sim.store.partials(task.recording_id)):
            self._acknowledge(delivery)
            return
        if not free:
            self._refused(delivery)
            return
        now = sim.clock()
        try:
            lease = sim.store.claim(
                task.recording_id, task.stage, task.revision, holder=f"{delivery.id}", now=now, until=now + LEASE
            )
        except Busy:
            self._refused(delivery)
            return
        sim.store.begin(task.recording_id, task.stage, attempt=len(lease.attempts), at=now)
        self.running.append(Running(delivery, lease, self.minutes))

    def _advance(self, one: Running) -> None:
        sim, now = self.sim, self.sim.clock()
        one.minutes -= 1
        if one.minutes:
            one.lease = sim.store.extend(one.lease, now + LEASE)
            return
        self.running.remove(one)
        if one.delivery.task.recording_id in self.fails:
            sim.store.release(one.lease, now=now, outcome="failed", error="RuntimeError")
            self._refused(one.delivery)
            return
        analysis = FixedEngine(Stage.STT)(Path(__file__), Options(), lambda share: None)
        task, attempt = one.delivery.task, one.lease.attempts[-1]
        sim.store.create_partial(
            Partial(
                recording_id=task.recording_id,
                revision=task.revision,
                stage=task.stage,
                attempt=attempt.number,
                started_at=attempt.started_at,
                finished_at=now,
                analysis=analysis,
            )
        )
        sim.store.release(one.lease, now=now, outcome="done")
        self._acknowledge(one.delivery)

    def _refused(self, delivery: Delivery) -> None:
        delivery.failures += 1
        delivery.wait = BACKOFF_MINUTES
        if delivery.failures == MAX_DELIVERY_ATTEMPTS:
            self.dead_letters += 1
            self._acknowledge(delivery)
            for _ in range(2):  # a dead letter is delivered at least once, too
                give_up(delivery.task, self.sim.world)

    def _acknowledge(self, delivery: Delivery) -> None:
        self.queue.pop(delivery.id, None)
        with self.sim.database.write() as connection:
            connection.execute("DELETE FROM messages WHERE id = ?", (delivery.id,))

    def _join(self) -> None:
        for message in self.sim.pending():
            if message[1] != task_topic(Stage.STT):
                self.sim.deliver(message)
