"""Creates the topics, subscriptions and Firestore trigger of `resources` on running emulators."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

from speechpipe.contract import resources
from speechpipe.contract.errors import SpeechpipeError
from speechpipe.contract.resources import Subscription

#: Default number of deliveries of a task before it is dead-lettered: Pub/Sub's maximum. Here they are a second apart,
#: and must last until a killed worker is back and its old lease has expired.
MAX_DELIVERY_ATTEMPTS = 100


@contextmanager
def exported(**variables: str) -> Iterator[None]:
    """Set environment variables for this block: Google's clients read an emulator's address when they are created."""
    before = {key: os.environ.get(key) for key in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def make_topics(project: str, pubsub_port: int, max_attempts: int) -> None:
    """Create every topic and subscription. Raises GoogleAPICallError."""
    from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient

    with exported(PUBSUB_EMULATOR_HOST=f"127.0.0.1:{pubsub_port}"):
        publisher, subscriber = PublisherClient(), SubscriberClient()
    with publisher, subscriber:
        for topic in resources.TOPICS:
            publisher.create_topic(name=f"projects/{project}/topics/{topic}")
        for subscription in resources.SUBSCRIPTIONS:
            subscriber.create_subscription(request=subscription_request(project, subscription, max_attempts))


def subscription_request(project: str, subscription: Subscription, max_attempts: int) -> dict[str, object]:
    """The API request that creates a subscription.

    It has no retry policy, because with one the emulator stops redelivering failed messages (docs/surprises.md). One
    that is pushed says so by its token only: without an endpoint the emulator leaves the pushing to `push`.
    """
    request: dict[str, object] = {
        "name": f"projects/{project}/subscriptions/{subscription.name}",
        "topic": f"projects/{project}/topics/{subscription.topic}",
        "ack_deadline_seconds": subscription.ack_deadline_seconds,
    }
    if subscription.push_to:
        request["push_config"] = {"oidc_token": {"audience": subscription.push_to.value}}
    if subscription.dead_letter_topic:
        request["dead_letter_policy"] = {
            "dead_letter_topic": f"projects/{project}/topics/{subscription.dead_letter_topic}",
            "max_delivery_attempts": max_attempts,
        }
    return request


def make_trigger(project: str, firestore_port: int) -> None:
    """Register the Firestore trigger; the emulator posts its events to the address given by `--functions_emulator`."""
    trigger = resources.FIRESTORE_TRIGGER
    body = {
        "eventType": trigger.event_type,
        "database": "(default)",
        "namespace": "(default)",
        "document": {"value": trigger.document, "matchType": "PATH_PATTERN"},
    }
    path = f"/emulator/v1/projects/{project}/eventarcTrigger?eventarcTriggerId={trigger.service.value}"
    connection = http.client.HTTPConnection("127.0.0.1", firestore_port, timeout=30)
    try:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise SpeechpipeError(f"the Firestore emulator refused the trigger: {response.status} {response.read()!r}")
    finally:
        connection.close()
