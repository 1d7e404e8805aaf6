"""What stands in the cloud besides code, described once: the emulators are set up from it, Terraform compared with it.

Names of buckets are the deployment's own; topics and subscriptions have fixed ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from speechpipe.contract import Stage


class Service(StrEnum):
    """The processes that get requests."""

    INGEST = "ingest"
    JOIN = "join"
    GIVE_UP = "give_up"
    SWEEP = "sweep"
    STT_WORKER = "stt-worker"
    SER_WORKER = "ser-worker"


FUNCTIONS = (Service.INGEST, Service.JOIN, Service.GIVE_UP, Service.SWEEP)
WORKERS = {Stage.STT: Service.STT_WORKER, Stage.SER: Service.SER_WORKER}


@dataclass(frozen=True)
class Subscription:
    """A subscription; push if it names a service."""

    name: str
    topic: str
    push_to: Service | None = None
    ack_deadline_seconds: int = 60  #: for a push also the longest request
    minimum_backoff_seconds: int = 10  #: both 0: what is not acknowledged comes back at once
    maximum_backoff_seconds: int = 600
    dead_letter_topic: str | None = None
    max_delivery_attempts: int | None = None  #: 5 to 100; a 429 counts too
    expires: bool = False  #: the platform's default deletes a subscription after 31 idle days


@dataclass(frozen=True)
class StorageTrigger:
    """An object was finalized in the uploads bucket."""

    service: Service = Service.INGEST
    event_type: str = "google.cloud.storage.object.v1.finalized"


@dataclass(frozen=True)
class FirestoreTrigger:
    """A document was created that fits a pattern."""

    service: Service = Service.JOIN
    event_type: str = "google.cloud.firestore.document.v1.created"
    document: str = "recordings/{recording}/partials/{partial}"


@dataclass(frozen=True)
class Schedule:
    """A call at fixed times."""

    service: Service = Service.SWEEP
    cron: str = "* * * * *"
    seconds: int = 60


TASK_TOPICS = {Stage.STT: "stt-tasks", Stage.SER: "ser-tasks"}
DEAD_LETTER_TOPIC = "dead-tasks"
COMPLETIONS_TOPIC = "completions"
#: Keeps what `give_up` is pushed for people to look at.
DEAD_LETTERS = "dead-letters"
TOPICS = (*TASK_TOPICS.values(), DEAD_LETTER_TOPIC, COMPLETIONS_TOPIC)

#: A busy GPU worker answers 429, and each of those counts as an attempt: with backoff doubling from 10 s to 600 s, 20
#: attempts are about two hours of backlog.
MAX_DELIVERY_ATTEMPTS = 20
#: The longest that Pub/Sub waits for an answer; the services end a request 10 s earlier.
ACK_DEADLINE_SECONDS = 600
REQUEST_SECONDS = 590

#: Where a worker answers probes: may it get work, and is the process alive.
READY_PATH = "/readyz"
ALIVE_PATH = "/healthz"

SUBSCRIPTIONS = (
    *(
        Subscription(
            name=topic,
            topic=topic,
            push_to=WORKERS[stage],
            ack_deadline_seconds=ACK_DEADLINE_SECONDS,
            dead_letter_topic=DEAD_LETTER_TOPIC,
            max_delivery_attempts=MAX_DELIVERY_ATTEMPTS,
        )
        for stage, topic in TASK_TOPICS.items()
    ),
    Subscription(name=DEAD_LETTER_TOPIC, topic=DEAD_LETTER_TOPIC, push_to=Service.GIVE_UP),
    # Without backoff: whoever looks puts all of them back, and the next one wants to see them.
    Subscription(name=DEAD_LETTERS, topic=DEAD_LETTER_TOPIC, minimum_backoff_seconds=0, maximum_backoff_seconds=0),
    Subscription(name=COMPLETIONS_TOPIC, topic=COMPLETIONS_TOPIC),
)
STORAGE_TRIGGER = StorageTrigger()
FIRESTORE_TRIGGER = FirestoreTrigger()
SCHEDULE = Schedule()
