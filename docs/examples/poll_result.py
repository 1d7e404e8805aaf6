"""Poll a recording's document in Firestore until it is finished, then print what was said and how.

    python poll_result.py rec_abc...

Set GOOGLE_CLOUD_PROJECT, and SPEECHPIPE_DATABASE unless the database is the default one.
"""

import argparse
import os
import sys
import time
from typing import Any

from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError
from google.cloud import firestore

UNFINISHED = {"queued", "processing"}
APPEARS_SECONDS = 60  # the upload event creates the document, usually within a few seconds


def poll(recording_id: str, project: str, timeout: float) -> dict[str, Any]:
    client = firestore.Client(project=project, database=os.environ.get("SPEECHPIPE_DATABASE") or None)
    document = client.collection("recordings").document(recording_id)
    started = time.monotonic()
    while (recording := document.get().to_dict()) is None or recording["status"] in UNFINISHED:
        waited = time.monotonic() - started
        if recording is None and waited >= min(timeout, APPEARS_SECONDS):
            sys.exit(f"there is no recording {recording_id} (waited {waited:.0f} s)")
        if waited >= timeout:
            sys.exit(f"{recording_id} is still {recording['status']} after {waited:.0f} s")
        time.sleep(0.5)
    return recording


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording_id", metavar="RECORDING_ID", help="as printed by drop_file.py")
    parser.add_argument("--timeout", metavar="SECONDS", type=float, default=600, help="default: %(default)s")
    arguments = parser.parse_args()
    project = os.environ.get("GOOGLE_CLOUD_PROJECT")
    if not project:
        sys.exit("GOOGLE_CLOUD_PROJECT is not set; export what `speechpipe up` or `make exports` prints")
    try:
        recording = poll(arguments.recording_id, project, arguments.timeout)
    except (GoogleAPIError, GoogleAuthError) as error:
        sys.exit(f"Firestore did not answer: {error}")

    if recording["status"] == "held":
        sys.exit("held: " + recording["hold"]["message"])
    print("status:", recording["status"])
    if recording["error"]:
        print("error:", recording["error"]["code"], "-", recording["error"]["message"])
    if recording["result"]:
        print("text:", recording["result"]["text"])
        print("emotion:", recording["summary"]["dominant_emotion"])
    elif recording["artifacts"]:  # a record over 256 KiB is only in the results bucket
        print("record:", recording["artifacts"]["record"])


if __name__ == "__main__":
    main()
