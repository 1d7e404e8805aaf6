"""Topics in a table: at-least-once delivery with a visibility timeout, backoff and attempt counts, like Pub/Sub."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from speechpipe.backends.local.database import Database
from speechpipe.contract import Completion, CompletionData, Letter, Recording, Source, Stage, Summary, Task, wire

FINALIZED = "finalized"  #: an object arrived
PARTIAL_CREATED = "partial-created"  #: stands in for Eventarc's Firestore trigger
COMPLETIONS = "completions"
DEAD_TASKS = "dead-tasks"  #: for people to inspect; nothing waits for them

#: Topics that the runner does not consume.
_OUTGOING = (COMPLETIONS, DEAD_TASKS)

#: A message that is taken but neither acknowledged nor redelivered becomes visible again after this time.
VISIBILITY_SECONDS = 600.0
POLL_SECONDS = 0.1


def task_topic(stage: Stage) -> str:
    """Return the name of a stage's topic."""
    return f"{stage.value}-tasks"


@dataclass(frozen=True)
class Message:
    """One delivery of a message."""

    id: int
    topic: str
    body: str
    attempts: int  #: deliveries, including this one, that the process survived
    crashes: int  #: deliveries during which the process died


class LocalBus:
    """The Bus port, with its subscriber side."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def finalized(self, source: Source) -> None:
        """Publish that an object has arrived; repeated calls for the same generation publish nothing."""
        with self.database.write() as connection:
            row = (source.name, source.generation)
            if connection.execute("INSERT OR IGNORE INTO objects VALUES (?, ?)", row).rowcount:
                enqueue(connection, FINALIZED, source.model_dump_json())

    def publish_task(self, task: Task) -> None:
        """See ports.Bus."""
        self._publish(task_topic(task.stage), task.model_dump_json())

    def publish_completion(self, completion: Completion) -> None:
        """See ports.Bus."""
        data, attributes = wire.completion_to_message(completion)
        self._publish(COMPLETIONS, json.dumps({"data": data.decode(), "attributes": attributes}))

    def publish_dead_letter(self, task: Task, deliveries: int) -> None:
        """Publish a task as a dead letter."""
        letter = {"task": task.model_dump(mode="json"), "deliveries": deliveries, "at": datetime.now(UTC).isoformat()}
        self._publish(DEAD_TASKS, json.dumps(letter))

    def _publish(self, topic: str, body: str) -> None:
        with self.database.write() as connection:
            enqueue(connection, topic, body)

    def take(self, topic: str) -> Message | None:
        """Take the oldest visible message and hide it from others; None if there is none."""
        if not self._visible(topic):  # a cheap read first, so that idle pollers take no write lock
            return None
        with self.database.write() as connection:
            row = connection.execute(
                "UPDATE messages SET attempts = attempts + 1, taken = :process, visible_at = :hidden WHERE id ="
                " (SELECT id FROM messages WHERE topic = :topic AND visible_at <= :now ORDER BY id LIMIT 1)"
                " RETURNING id, body, attempts, crashes",
                {
                    "topic": topic,
                    "now": time.time(),
                    "hidden": time.time() + VISIBILITY_SECONDS,
                    "process": os.getpid(),
                },
            ).fetchone()
        return Message(row["id"], topic, row["body"], row["attempts"], row["crashes"]) if row else None

    def _visible(self, topic: str) -> bool:
        query = "SELECT 1 FROM messages WHERE topic = ? AND visible_at <= ? LIMIT 1"
        return self.database.read().execute(query, (topic, time.time())).fetchone() is not None

    def acknowledge(self, message: Message) -> None:
        """Delete a message that was processed."""
        with self.database.write() as connection:
            connection.execute("DELETE FROM messages WHERE id = ?", (message.id,))

    def redeliver(self, message: Message, delay: float, *, count_attempt: bool = True) -> None:
        """Redeliver a message after `delay` seconds; `count_attempt` says whether this delivery was an attempt."""
        with self.database.write() as connection:
            connection.execute(
                "UPDATE messages SET visible_at = ?, taken = 0, attempts = attempts - ? WHERE id = ?",
                (time.time() + delay, 0 if count_attempt else 1, message.id),
            )

    def recover(self, process: int | None = None) -> None:
        """Make hidden messages visible, after their consumer died: every one, or those that this process took.

        A delivery under way counts as a crash.
        """
        with self.database.write() as connection:
            connection.execute(
                "UPDATE messages SET attempts = attempts - (taken > 0), crashes = crashes + (taken > 0), taken = 0,"
                " visible_at = 0 WHERE topic NOT IN (?, ?) AND (? IS NULL OR taken = ?)",
                (*_OUTGOING, process, process),
            )

    def backlog(self) -> dict[str, int]:
        """Count the messages of each topic that the runner consumes, taken or waiting."""
        query = "SELECT topic, count(*) AS n FROM messages WHERE topic NOT IN (?, ?) GROUP BY topic"
        return {row["topic"]: row["n"] for row in self.database.read().execute(query, _OUTGOING)}


class LocalCompletions:
    """The only subscription of the completion topic."""

    def __init__(self, bus: LocalBus) -> None:
        self._bus = bus

    def receive(self, timeout: float) -> Iterator[Completion]:
        """See ports.Completions."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            message = self._bus.take(COMPLETIONS)
            if message is None:
                time.sleep(POLL_SECONDS)
                continue
            self._bus.acknowledge(message)
            body = json.loads(message.body)
            yield wire.completion_from_message(body["data"].encode(), body["attributes"])
            deadline = time.monotonic() + timeout


class LocalDeadLetters:
    """The dead letters in the message table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def peek(self) -> list[Letter]:
        """See ports.DeadLetters."""
        rows = self._database.read().execute("SELECT id, body FROM messages WHERE topic = ? ORDER BY id", (DEAD_TASKS,))
        return [Letter.model_validate({"id": str(row["id"]), **json.loads(row["body"])}) for row in rows]

    def acknowledge(self, ids: Collection[str]) -> None:
        """See ports.DeadLetters."""
        with self._database.write() as connection:
            for letter in ids:
                connection.execute("DELETE FROM messages WHERE topic = ? AND id = ?", (DEAD_TASKS, letter))


def enqueue(connection: sqlite3.Connection, topic: str, body: str) -> None:
    """Add a message within the caller's transaction."""
    connection.execute("INSERT INTO messages (topic, body) VALUES (?, ?)", (topic, body))


def forget(connection: sqlite3.Connection, recording: Recording, tombstone: Recording) -> None:
    """Remove from all messages what was uploaded with this recording, within the caller's transaction.

    A completion event that nobody has received yet keeps its id but says no more than the tombstone.
    """
    connection.execute(
        "DELETE FROM messages WHERE topic != :completions AND :id IN"
        " (json_extract(body, '$.recording_id'), json_extract(body, '$.task.recording_id'))"
        " OR topic = :finalized AND json_extract(body, '$.name') = :name"
        " AND json_extract(body, '$.generation') = :generation",
        {
            "completions": COMPLETIONS,
            "finalized": FINALIZED,
            "id": recording.id,
            "name": recording.source.name,
            "generation": recording.source.generation,
        },
    )
    announced = connection.execute("SELECT id, body FROM messages WHERE topic = ?", (COMPLETIONS,)).fetchall()
    for row in announced:
        body = json.loads(row["body"])
        data = CompletionData.model_validate_json(body["data"])
        if data.recording_id != recording.id:
            continue
        bare = {"uri": tombstone.source.uri, "ref": None, "summary": Summary(), "artifacts": None, "error": None}
        body["data"] = data.model_copy(update=bare).model_dump_json()
        body["attributes"].pop("ref", None)
        connection.execute("UPDATE messages SET body = ? WHERE id = ?", (json.dumps(body), row["id"]))
