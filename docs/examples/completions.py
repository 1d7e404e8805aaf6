"""Receive completion events until one is about the given recording.

    python completions.py rec_abc...

An event may come more than once; `ce-id` is then the same. To get only some, make a subscription with a filter, such
as `attributes.status = "failed"`.
"""

import json
import os
import sys
from concurrent.futures import TimeoutError

from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber.message import Message


def main(recording_id: str) -> None:
    subscriber = pubsub_v1.SubscriberClient()
    name = os.environ.get("SPEECHPIPE_COMPLETIONS_SUBSCRIPTION", "completions")
    subscription = subscriber.subscription_path(os.environ["GOOGLE_CLOUD_PROJECT"], name)

    def receive(message: Message) -> None:
        message.ack()
        event = json.loads(message.data)
        print(message.attributes["ce-type"], event["uri"], event["summary"]["dominant_emotion"], flush=True)
        if event["recording_id"] == recording_id:
            stream.cancel()

    with subscriber:
        stream = subscriber.subscribe(subscription, callback=receive)
        try:
            stream.result(timeout=600)
        except TimeoutError:
            stream.cancel()
            stream.result()
            sys.exit("no event came")


if __name__ == "__main__":
    main(*sys.argv[1:])
