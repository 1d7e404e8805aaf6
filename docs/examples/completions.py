"""Print completion events until one is about the given recording.

    python completions.py rec_abc...

An event may be delivered more than once, always with the same `ce-id`. To receive only some events, create a
subscription with a filter, such as `attributes.status = "failed"`, and set SPEECHPIPE_COMPLETIONS_SUBSCRIPTION.
"""

import argparse
import json
import os
import sys
from concurrent.futures import TimeoutError

from google.api_core.exceptions import GoogleAPIError, NotFound
from google.auth.exceptions import GoogleAuthError
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber.message import Message


def receive(recording_id: str, project: str, name: str, timeout: float) -> None:
    subscriber = pubsub_v1.SubscriberClient()

    def handle(message: Message) -> None:
        message.ack()
        event = json.loads(message.data)
        print(message.attributes["ce-type"], event["uri"], event["summary"]["dominant_emotion"], flush=True)
        if event["recording_id"] == recording_id:
            stream.cancel()

    with subscriber:
        stream = subscriber.subscribe(subscriber.subscription_path(project, name), callback=handle)
        try:
            stream.result(timeout=timeout)
        except TimeoutError:
            stream.cancel()
            stream.result()
            sys.exit(f"no event about {recording_id} came within {timeout:g} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording_id", metavar="RECORDING_ID", help="as printed by drop_file.py")
    parser.add_argument("--timeout", metavar="SECONDS", type=float, default=600, help="default: %(default)s")
    arguments = parser.parse_args()
    project = os.environ.get("GOOGLE_CLOUD_PROJECT")
    if not project:
        sys.exit("GOOGLE_CLOUD_PROJECT is not set; export what `speechpipe up` or `make exports` prints")
    name = os.environ.get("SPEECHPIPE_COMPLETIONS_SUBSCRIPTION") or "completions"
    try:
        receive(arguments.recording_id, project, name, arguments.timeout)
    except NotFound:
        sys.exit(f"there is no subscription {name} in project {project}")
    except (GoogleAPIError, GoogleAuthError) as error:
        sys.exit(f"Pub/Sub did not answer: {error}")


if __name__ == "__main__":
    main()
