"""The way in to the services of the local cloud is as strict as Cloud Run's, and pushes look like Pub/Sub's."""

from __future__ import annotations

import base64
import http.client
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient

from speechpipe.contract.resources import Service, Subscription
from speechpipe.emulators import callers
from speechpipe.emulators.front import MAX_ANSWER_BYTES
from speechpipe.emulators.push import Pusher
from speechpipe.emulators.setup import exported, subscription_request
from tests.emulators.conftest import TEST_SECONDS, User, wait_for
from tests.emulators.target import Target

pytestmark = [pytest.mark.emulators, pytest.mark.timeout(TEST_SECONDS)]


def call(user: User, service: Service, **headers: str) -> int:
    """Post to a service past the front end. Returns the status."""
    connection = http.client.HTTPConnection("127.0.0.1", user.cloud.ports.services[service])
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", "/", b"{}", {"content-type": "application/json", **EVENT, **named})
    status = connection.getresponse().status
    connection.close()
    return status


EVENT = {"ce-id": "1", "ce-type": "t", "ce-source": "s", "ce-specversion": "1.0"}


@pytest.mark.parametrize("service", Service)
def test_every_service_refuses_a_call_without_its_callers_token(user: User, service: Service) -> None:
    own, other = callers.forwarded_token(service), callers.forwarded_token(_another(service))
    assert call(user, service) == 401
    assert call(user, service, authorization=f"Bearer {other}") == 403
    assert call(user, service, authorization=f"Bearer {own}", x_serverless_authorization="Bearer a.b.c") == 401
    assert call(user, service, authorization=f"Bearer {own}") in (200, 204)  # acknowledged, since it says nothing


def _another(service: Service) -> Service:
    return Service.SWEEP if service is not Service.SWEEP else Service.JOIN


@pytest.mark.parametrize(("length", "status"), [(MAX_ANSWER_BYTES, 200), (MAX_ANSWER_BYTES + 1, 500)])
def test_an_answer_that_cloud_run_would_not_pass_on_is_a_500(length: int, status: int) -> None:
    target = Target(200, length=length)
    assert target.front.post(Service.JOIN, {}, b"", 60) == status
    target.close()


class Window:
    """A window that never changes."""

    def __init__(self, size: int) -> None:
        self.size = size

    def answered(self, status: int | None) -> None:
        """Do nothing."""


@contextmanager
def pushing(user: User, target: Target, window: int = 2) -> Iterator[Callable[..., object]]:
    """Push what the given function publishes to this target; five attempts at most."""
    name, project = f"t{uuid.uuid4().hex}", user.cloud.ids.project
    subscription = Subscription(name=name, topic=name, push_to=Service.STT_WORKER, dead_letter_topic=f"{name}-dead")
    with exported(**user.cloud.environment()):
        publisher, subscriber = PublisherClient(), SubscriberClient()
    with publisher, subscriber:
        for topic in (name, f"{name}-dead"):
            publisher.create_topic(name=f"projects/{project}/topics/{topic}")
        subscriber.create_subscription(request=subscription_request(project, subscription, 5))
        dead = Subscription(name=f"{name}-dead", topic=f"{name}-dead", push_to=Service.GIVE_UP)
        subscriber.create_subscription(request=subscription_request(project, dead, 5))
        port = user.cloud.ports.pubsub
        pusher = Pusher(project, port, target.front, [subscription, dead], lambda: Window(window))
        yield partial(publisher.publish, f"projects/{project}/topics/{name}")
        pusher.stop()
        for topic in (name, f"{name}-dead"):  # ends the pulls that wait
            publisher.publish(f"projects/{project}/topics/{topic}", b"last")
        target.release()
        pusher.join()


def bodies(target: Target) -> list[dict[str, object]]:
    return [json.loads(body) for _, body in target.received]


def test_a_push_has_the_body_of_pubsub_and_its_attempts_are_counted(user: User) -> None:
    target = Target(500, 429)
    with pushing(user, target) as publish:
        publish("Grüße".encode(), stage="stt")
        wait_for(lambda: len(target.received) == 3)
        first, *again = bodies(target)
        message = first["message"]
        assert isinstance(message, dict)
        assert base64.b64decode(message["data"]).decode() == "Grüße"
        assert message["attributes"] == {"stage": "stt"}
        assert message["messageId"] == message["message_id"]
        assert message["publishTime"] == message["publish_time"]
        assert [each["deliveryAttempt"] for each in (first, *again)] == [1, 2, 3]
        assert [each["message"] for each in again] == [message] * 2
    target.close()


def test_a_message_that_nobody_acknowledges_becomes_a_dead_letter(user: User) -> None:
    target = Target(*[500] * 5)
    with pushing(user, target) as publish:
        publish(b"hopeless")
        wait_for(lambda: len(target.received) == 6)
        *tried, dead = bodies(target)
        assert {each["subscription"] for each in tried} != {dead["subscription"]}
        assert isinstance(dead["message"], dict)
        assert dead["message"]["attributes"]["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"
        assert "deliveryAttempt" not in dead  # its subscription has no dead letters
    target.close()


def test_as_many_messages_are_pushed_at_a_time_as_the_window_allows(user: User) -> None:
    target = Target(hold=True)
    with pushing(user, target, window=5) as publish:
        for number in range(12):
            publish(str(number).encode())
        wait_for(lambda: target.open == 5)
        target.release()
        wait_for(lambda: len(target.received) >= 12)
    assert target.most_open == 5
    target.close()
