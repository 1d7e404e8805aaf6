"""Topics in a table: at least once, with a visibility timeout, backoff and a count of attempts, as Pub/Sub has them."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass

from speechpipe import wire
from speechpipe.contract import Completion, Stage, Task
from speechpipe.local.database import Database

FINALIZED = "finalized"  #: an object arrived
PARTIAL_CREATED = "partial-created"  #: what Eventarc's Firestore trigger is in the cloud
COMPLETIONS = "completions"

#: A message that was taken and neither acknowledged nor refused comes back after this time.
VISIBILITY_SECONDS = 600.0
POLL_SECONDS = 0.1


def task_topic(stage: Stage) -> str:
    """The topic of a stage."""
    return f"{stage.value}-tasks"


@dataclass(frozen=True)
class Message:
    """One delivery of a message."""

    id: int
    topic: str
    body: str
    attempts: int  #: deliveries, this one included, that did not end with the process
    crashes: int  #: deliveries during which the process ended


class LocalBus:
    """The Bus port, and the subscriber's side of it."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def publish_task(self, task: Task) -> None:
        """See ports.Bus."""
        self._publish(task_topic(task.stage), task.model_dump_json())

    def publish_completion(self, completion: Completion) -> None:
        """See ports.Bus."""
        data, attributes = wire.completion_to_message(completion)
        self._publish(COMPLETIONS, json.dumps({"data": data.decode(), "attributes": attributes}))

    def _publish(self, topic: str, body: str) -> None:
        with self.database.write() as connection:
            enqueue(connection, topic, body)

    def take(self, topic: str) -> Message | None:
        """The oldest visible message, now hidden from others; None if there is none."""
        if not self._visible(topic):  # a cheap look first: idle pollers take no write lock
            return None
        with self.database.write() as connection:
            row = connection.execute(
                "UPDATE messages SET attempts = attempts + 1, taken = 1, visible_at = :hidden WHERE id ="
                " (SELECT id FROM messages WHERE topic = :topic AND visible_at <= :now ORDER BY id LIMIT 1)"
                " RETURNING id, body, attempts, crashes",
                {"topic": topic, "now": time.time(), "hidden": time.time() + VISIBILITY_SECONDS},
            ).fetchone()
        return Message(row["id"], topic, row["body"], row["attempts"], row["crashes"]) if row else None

    def _visible(self, topic: str) -> bool:
        query = "SELECT 1 FROM messages WHERE topic = ? AND visible_at <= ? LIMIT 1"
        return self.database.read().execute(query, (topic, time.time())).fetchone() is not None

    def acknowledge(self, message: Message) -> None:
        """Done with it."""
        with self.database.write() as connection:
            connection.execute("DELETE FROM messages WHERE id = ?", (message.id,))

    def refuse(self, message: Message, delay: float, *, spend: bool = True) -> None:
        """Deliver it again after `delay` seconds; without `spend` this delivery does not count as an attempt."""
        with self.database.write() as connection:
            connection.execute(
                "UPDATE messages SET visible_at = ?, taken = 0, attempts = attempts - ? WHERE id = ?",
                (time.time() + delay, 0 if spend else 1, message.id),
            )

    def recover(self) -> None:
        """Show every hidden message: whoever took them is gone. One in hand then has seen a crash, not a failure."""
        with self.database.write() as connection:
            connection.execute(
                "UPDATE messages SET attempts = attempts - taken, crashes = crashes + taken, taken = 0, visible_at = 0"
                " WHERE topic != ?",
                (COMPLETIONS,),
            )

    def backlog(self) -> dict[str, int]:
        """Messages a topic, in work or waiting; completions left out."""
        query = "SELECT topic, count(*) AS n FROM messages WHERE topic != ? GROUP BY topic"
        return {row["topic"]: row["n"] for row in self.database.read().execute(query, (COMPLETIONS,))}


class LocalCompletions:
    """The one subscription of the completion topic."""

    def __init__(self, bus: LocalBus) -> None:
        self._bus = bus

    def receive(self, timeout: float) -> Iterator[Completion]:
        """See ports.Completions."""
        patience = time.monotonic() + timeout
        while time.monotonic() < patience:
            message = self._bus.take(COMPLETIONS)
            if message is None:
                time.sleep(POLL_SECONDS)
                continue
            self._bus.acknowledge(message)
            body = json.loads(message.body)
            yield wire.completion_from_message(body["data"].encode(), body["attributes"])
            patience = time.monotonic() + timeout


def enqueue(connection: sqlite3.Connection, topic: str, body: str) -> None:
    """Add a message within the caller's transaction."""
    connection.execute("INSERT INTO messages (topic, body) VALUES (?, ?)", (topic, body))
