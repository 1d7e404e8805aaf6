"""The cloud resources besides code, described once for the emulators and (as `infra/system.json`) for Terraform.

Each deployment chooses the names of its buckets; topics and subscriptions have fixed names.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from speechpipe.contract import Stage

DAY_SECONDS = 24 * 3600
LONGEST_RETENTION_SECONDS = 31 * DAY_SECONDS  #: Pub/Sub's maximum


class Service(StrEnum):
    """The services that receive requests."""

    INGEST = "ingest"
    JOIN = "join"
    GIVE_UP = "give_up"
    SWEEP = "sweep"
    RECONCILE = "reconcile"
    STT_WORKER = "stt-worker"
    SER_WORKER = "ser-worker"


FUNCTIONS = (Service.INGEST, Service.JOIN, Service.GIVE_UP, Service.SWEEP, Service.RECONCILE)
WORKERS = {Stage.STT: Service.STT_WORKER, Stage.SER: Service.SER_WORKER}


@dataclass(frozen=True)
class Subscription:
    """A subscription; push if it names a service."""

    name: str
    topic: str
    push_to: Service | None = None
    ack_deadline_seconds: int = 60  #: for push also the longest time a request may take
    minimum_backoff_seconds: int = 10  #: both 0: unacknowledged messages are redelivered immediately
    maximum_backoff_seconds: int = 600
    dead_letter_topic: str | None = None
    max_delivery_attempts: int | None = None  #: 5 to 100; a 429 counts too
    retention_seconds: int = 7 * DAY_SECONDS  #: how long an unacknowledged message is kept; at most 31 days
    expires: bool = False  #: the platform's default deletes a subscription after 31 idle days


@dataclass(frozen=True)
class Notification:
    """Publishes a message for every object that is finalized in the uploads bucket (decision 27)."""

    topic: str
    event_type: str = "OBJECT_FINALIZE"
    payload_format: str = "JSON_API_V1"


@dataclass(frozen=True)
class FirestoreTrigger:
    """Fires when a document that matches a pattern is created."""

    name: str = "speechpipe-partials"
    service: Service = Service.JOIN
    event_type: str = "google.cloud.firestore.document.v1.created"
    document: str = "recordings/{recording}/partials/{partial}"
    #: Eventarc makes the subscription, with 10 s; the deployment raises it to this (`infra/events.py`).
    ack_deadline_seconds: int = 600


@dataclass(frozen=True)
class Schedule:
    """Calls a service at fixed times (UTC)."""

    cron: str
    seconds: int  #: from one call to the next


UPLOADS_TOPIC = "upload-events"
TASK_TOPICS = {Stage.STT: "stt-tasks", Stage.SER: "ser-tasks"}
DEAD_LETTER_TOPIC = "dead-tasks"
COMPLETIONS_TOPIC = "completions"
#: The subscription that keeps dead letters for people to inspect; `give_up` gets its own copies by push.
DEAD_LETTERS = "dead-letters"
#: Upload events that ingest could not take; also the name of the subscription that keeps them for people.
DEAD_UPLOADS_TOPIC = "dead-uploads"
TOPICS = (UPLOADS_TOPIC, *TASK_TOPICS.values(), DEAD_LETTER_TOPIC, DEAD_UPLOADS_TOPIC, COMPLETIONS_TOPIC)

#: Pub/Sub's maximum. It counts each 429 of a worker whose waiting room is full, so that a message that only met full
#: workers becomes a dead letter after about three hours; `give_up` then publishes its task again (decision 26).
MAX_DELIVERY_ATTEMPTS = 100
#: The pause between two deliveries of a task, which doubles each time. The longest is also the longest that a GPU waits
#: for the last task of a backlog; the shortest is what a task costs that met a full worker once.
SHORTEST_TASK_BACKOFF_SECONDS = 1
TASK_BACKOFF_SECONDS = 120
#: How long a task stays in its queue if nobody takes it; after that, Pub/Sub drops it.
TASK_RETENTION_SECONDS = 7 * DAY_SECONDS
#: Deliveries that wait in a worker while every slot is in use. Cloud Run sends an instance as many requests as it has
#: slots and places here. As many as slots, so that the next recording is there whenever one ends.
WAITING_ROOM = 8
#: Pub/Sub's maximum. With backoff doubling from 10 s to 600 s, ingest may be down for 15 hours before an upload's event
#: becomes a dead letter.
UPLOAD_ATTEMPTS = 100
#: The longest that Pub/Sub waits for a response; the services end a request 10 s earlier.
ACK_DEADLINE_SECONDS = 600
REQUEST_SECONDS = 590

#: Where a worker answers probes: whether it is ready for work, and whether its process is alive.
READY_PATH = "/readyz"
ALIVE_PATH = "/healthz"

SUBSCRIPTIONS = (
    Subscription(
        name=UPLOADS_TOPIC,
        topic=UPLOADS_TOPIC,
        push_to=Service.INGEST,
        ack_deadline_seconds=ACK_DEADLINE_SECONDS,
        dead_letter_topic=DEAD_UPLOADS_TOPIC,
        max_delivery_attempts=UPLOAD_ATTEMPTS,
        retention_seconds=LONGEST_RETENTION_SECONDS,
    ),
    *(
        Subscription(
            name=topic,
            topic=topic,
            push_to=WORKERS[stage],
            ack_deadline_seconds=ACK_DEADLINE_SECONDS,
            minimum_backoff_seconds=SHORTEST_TASK_BACKOFF_SECONDS,
            maximum_backoff_seconds=TASK_BACKOFF_SECONDS,
            dead_letter_topic=DEAD_LETTER_TOPIC,
            max_delivery_attempts=MAX_DELIVERY_ATTEMPTS,
            retention_seconds=TASK_RETENTION_SECONDS,
        )
        for stage, topic in TASK_TOPICS.items()
    ),
    Subscription(
        name=DEAD_LETTER_TOPIC,
        topic=DEAD_LETTER_TOPIC,
        push_to=Service.GIVE_UP,
        retention_seconds=LONGEST_RETENTION_SECONDS,  # there is no further fallback
    ),
    # No backoff: listing dead letters puts them all back, and the next reader should see them immediately.
    *(
        Subscription(
            name=name,
            topic=topic,
            minimum_backoff_seconds=0,
            maximum_backoff_seconds=0,
            retention_seconds=LONGEST_RETENTION_SECONDS,
        )
        for name, topic in ((DEAD_LETTERS, DEAD_LETTER_TOPIC), (DEAD_UPLOADS_TOPIC, DEAD_UPLOADS_TOPIC))
    ),
    Subscription(name=COMPLETIONS_TOPIC, topic=COMPLETIONS_TOPIC),
)
UPLOADS_NOTIFICATION = Notification(UPLOADS_TOPIC)
FIRESTORE_TRIGGER = FirestoreTrigger()
#: Reconcile runs at an odd minute of the night: on the hour, everybody's schedules run.
SCHEDULES = {
    Service.SWEEP: Schedule("* * * * *", 60),
    Service.RECONCILE: Schedule("23 3 * * *", DAY_SECONDS),
}
